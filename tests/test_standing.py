"""An upstream whose connections fail is let be for a while, and a longer one each time."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.passive_health import (
    EJECT_AFTER,
    FIRST_PAUSE,
    JITTER,
    LAST_PAUSE,
    PassiveHealth,
)


def failing(now: float = 100.0) -> tuple[PassiveHealth, float]:
    """One that is just let be, and for how long."""
    standing = PassiveHealth()
    pauses = [standing.failed(now) for _ in range(EJECT_AFTER)]
    assert pauses[:-1] == [None] * (EJECT_AFTER - 1)
    assert pauses[-1] is not None
    return standing, pauses[-1]


def test_fewer_failures_than_it_takes_change_nothing() -> None:
    standing = PassiveHealth()
    for _ in range(10):
        assert [standing.failed(1.0) for _ in range(EJECT_AFTER - 1)] == [None] * (EJECT_AFTER - 1)
        assert not standing.connected()
    assert not standing.is_failing
    assert not standing.is_out(1.0)


def test_failures_in_a_row_let_it_be_for_a_while() -> None:
    standing, pause = failing(100.0)
    assert FIRST_PAUSE * (1 - JITTER) <= pause <= FIRST_PAUSE * (1 + JITTER)
    assert standing.is_out(100.0)
    assert standing.is_out(100.0 + pause - 0.001)
    assert not standing.is_out(100.0 + pause)
    assert standing.is_failing


def test_failures_of_what_was_begun_before_do_not_lengthen_the_pause() -> None:
    standing, pause = failing(100.0)
    for _ in range(50):
        assert standing.failed(100.1) is None
    assert not standing.is_out(100.0 + pause)


def test_after_the_pause_one_request_is_a_trial_and_the_others_wait() -> None:
    standing, pause = failing(100.0)
    now = 100.0 + pause
    standing.try_again(now)
    assert standing.is_out(now)


def test_a_trial_that_fails_begins_a_longer_pause() -> None:
    standing, pause = failing(0.0)
    now, pauses = pause, [pause]
    for _ in range(10):
        standing.try_again(now)
        longer = standing.failed(now + 0.01)
        assert longer is not None
        assert standing.failed(now + 0.01) is None
        now += 0.01 + longer
        pauses.append(longer)
    for number, each in enumerate(pauses):
        due = min(FIRST_PAUSE * 2**number, LAST_PAUSE)
        assert due * (1 - JITTER) <= each <= due * (1 + JITTER)


def test_a_trial_that_succeeds_makes_it_well_again() -> None:
    standing, pause = failing(0.0)
    standing.try_again(pause)
    assert standing.connected()
    assert not standing.is_failing
    assert not standing.is_out(pause)
    assert standing.failed(pause) is None


def test_a_trial_that_nobody_hears_of_is_followed_by_another() -> None:
    """Its browser left, say, before there was a connection."""
    standing, pause = failing(0.0)
    standing.try_again(pause)
    assert not standing.is_out(pause + 2 * FIRST_PAUSE)


def test_a_request_to_one_that_is_well_is_no_trial() -> None:
    standing = PassiveHealth()
    standing.try_again(5.0)
    assert not standing.is_out(5.0)


@given(st.lists(st.tuples(st.sampled_from(["failed", "connected", "try_again"]), st.floats(0, 9))))
def test_whatever_happens_it_is_let_be_no_longer_than_the_longest_pause(
    events: list[tuple[str, float]],
) -> None:
    standing, now = PassiveHealth(), 0.0
    for event, passed in events:
        now += passed
        if event == "connected":
            standing.connected()
        elif event == "failed":
            standing.failed(now)
        else:
            standing.try_again(now)
        assert not standing.is_out(now + LAST_PAUSE * (1 + JITTER) + 0.001)
        assert standing.is_failing or not standing.is_out(now)
