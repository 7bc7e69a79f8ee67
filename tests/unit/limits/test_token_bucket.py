"""What comes at its pace is let through, what comes faster waits, and memory is bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits import token_bucket
from gateway.limits.token_bucket import TokenBucket

SECOND = 1_000_000_000
NOW = 5_000 * SECOND


def test_a_burst_goes_through_at_once_and_then_one_for_each_interval() -> None:
    bucket = TokenBucket(0.5, burst=3)
    assert [bucket.take("a", NOW) for _ in range(3)] == [0, 0, 0]
    assert bucket.take("a", NOW) == 0.5
    assert bucket.take("a", NOW + SECOND // 2 - 1) == pytest.approx(1e-9)
    assert bucket.take("a", NOW + SECOND // 2) == 0
    assert bucket.take("a", NOW + SECOND // 2) == 0.5


def test_one_does_not_wait_for_another() -> None:
    bucket = TokenBucket(1, burst=1)
    assert bucket.take("a", NOW) == 0
    assert bucket.take("b", NOW) == 0
    assert bucket.take("a", NOW) == 1


def test_what_was_refused_costs_nothing() -> None:
    bucket = TokenBucket(1, burst=1)
    bucket.take("a", NOW)
    for _ in range(100):
        assert bucket.take("a", NOW) == 1
    assert bucket.take("a", NOW + SECOND) == 0


class Bucket:
    """The same in the words of the README: a bucket of whole requests, without forgetting."""

    def __init__(self, interval: int, burst: int) -> None:
        self.interval, self.whole = interval, interval * burst
        self.level, self.at = self.whole, 0

    def take(self, now: int) -> bool:
        self.level = min(self.whole, self.level + now - self.at)
        self.at = now
        if self.level < self.interval:
            return False
        self.level -= self.interval
        return True


@given(
    st.integers(1, 10),
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), max_size=60),
)
def test_it_lets_through_what_buckets_that_forget_nothing_do(
    interval: int, burst: int, arrivals: list[tuple[str, int]]
) -> None:
    bucket, now = TokenBucket(interval / SECOND, burst), NOW
    buckets = {key: Bucket(interval, burst) for key in "abc"}
    for key, pause in arrivals:
        now += pause
        assert (bucket.take(key, now) == 0) is buckets[key].take(now)


def test_whose_bucket_is_full_again_is_forgotten() -> None:
    bucket = TokenBucket(1, burst=2)
    for number in range(100):
        bucket.take(str(number), NOW)
    for later in (2, 4):
        bucket.take("last", NOW + later * SECOND)
    assert len(bucket) <= 2


def test_at_the_bound_those_go_first_that_came_the_longest_time_ago(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(token_bucket, "GENERATION", 100)
    metered = TokenBucket(3600, burst=1)
    for number in range(10_000):
        assert metered.take(f"early {number}", NOW + number) == 0
        assert (metered.take("always", NOW + number) == 0) is (number == 0)
        assert len(metered) <= 201
    assert metered.take("always", NOW + 10_000) > 0
    assert metered.take("early 9999", NOW + 10_000) > 0
    assert metered.take("early 0", NOW + 10_000) == 0
