"""How fast each of many may come: a bucket for each, in bounded memory.

GCRA, the virtual scheduling algorithm of ITU-T I.371: one time for each is all that is kept.
"""

# Keys in each of two generations: some 20 MB for both.
GENERATION = 50_000
_NANOSECONDS = 1_000_000_000


class TokenBucket:
    """For each key a bucket that holds `burst`, and gets one more every `interval` seconds.

    What is written down of a key is when its bucket is full again, and who is not written down has
    a full one. So a key that nobody named for as long as a bucket takes to fill can be forgotten,
    and is, with all its generation. When more keys come meanwhile than are kept, those go first
    that nobody named for the longest time.
    """

    def __init__(self, interval: float, burst: int) -> None:
        self._interval = max(1, round(interval * _NANOSECONDS))
        self._whole = self._interval * burst  # what it takes to fill an empty one
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._turned = 0

    def __len__(self) -> int:
        """How many keys it remembers; one that is in both generations counts twice."""
        return len(self._young) + len(self._old)

    def take(self, key: str, now: int) -> float:
        """Take one, at `now` in nanoseconds. Gives 0.0, or for how many seconds there is none."""
        if now - self._turned >= self._whole or len(self._young) >= GENERATION:
            self._young, self._old, self._turned = {}, self._young, now
        full_at = max(self._young.get(key) or self._old.get(key, 0), now)
        wait = full_at + self._interval - self._whole - now
        self._young[key] = full_at if wait > 0 else full_at + self._interval
        return max(wait, 0) / _NANOSECONDS
