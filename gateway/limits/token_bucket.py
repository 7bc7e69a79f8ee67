"""Token buckets in bounded memory: how fast each of many users may send requests.

The algorithm is GCRA, the virtual scheduling algorithm of ITU-T I.371: it needs one time for each
user.
"""

# Keys in each of two generations: some 20 MB for both.
GENERATION = 50_000
_NANOSECONDS = 1_000_000_000


class TokenBucket:
    """A bucket for each key, which holds `burst` tokens and gets one every `interval` seconds.

    For each key the time is kept at which its bucket is full again. A key without an entry has a
    full bucket. A key that was not used for as long as a bucket takes to fill can be forgotten,
    with its whole generation. If more keys come than are kept, the keys that were unused for the
    longest time are forgotten first.
    """

    def __init__(self, interval: float, burst: int) -> None:
        self._interval = max(1, round(interval * _NANOSECONDS))
        self._whole = self._interval * burst  # the time that an empty bucket takes to fill
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}
        self._turned = 0

    def __len__(self) -> int:
        """Returns how many keys are kept; a key in both generations counts twice."""
        return len(self._young) + len(self._old)

    def take(self, key: str, now: int) -> float:
        """Take a token at `now`, in nanoseconds. Returns 0.0, or the seconds until there is one."""
        if now - self._turned >= self._whole or len(self._young) >= GENERATION:
            self._young, self._old, self._turned = {}, self._young, now
        full_at = max(self._young.get(key) or self._old.get(key, 0), now)
        wait = full_at + self._interval - self._whole - now
        self._young[key] = full_at if wait > 0 else full_at + self._interval
        return max(wait, 0) / _NANOSECONDS
