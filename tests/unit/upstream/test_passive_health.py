"""An upstream whose connections fail is ejected for a time, which grows with each failure."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.passive_health import (
    EJECT_AFTER,
    FIRST_EJECTION,
    JITTER,
    LAST_EJECTION,
    PassiveHealth,
)


def failing(now: float = 100.0) -> tuple[PassiveHealth, float]:
    """Returns an upstream that was just ejected, and for how long."""
    health = PassiveHealth()
    pauses = [health.connect_failed(now) for _ in range(EJECT_AFTER)]
    assert pauses[:-1] == [None] * (EJECT_AFTER - 1)
    assert pauses[-1] is not None
    return health, pauses[-1]


def test_fewer_failures_than_it_takes_change_nothing() -> None:
    health = PassiveHealth()
    for _ in range(10):
        assert [health.connect_failed(1.0) for _ in range(EJECT_AFTER - 1)] == [None] * (
            EJECT_AFTER - 1
        )
        assert not health.connected()
    assert not health.is_failing
    assert not health.is_ejected(1.0)


def test_failures_in_a_row_let_it_be_for_a_while() -> None:
    health, pause = failing(100.0)
    assert FIRST_EJECTION * (1 - JITTER) <= pause <= FIRST_EJECTION * (1 + JITTER)
    assert health.is_ejected(100.0)
    assert health.is_ejected(100.0 + pause - 0.001)
    assert not health.is_ejected(100.0 + pause)
    assert health.is_failing


def test_failures_of_what_was_begun_before_do_not_lengthen_the_pause() -> None:
    health, pause = failing(100.0)
    for _ in range(50):
        assert health.connect_failed(100.1) is None
    assert not health.is_ejected(100.0 + pause)


def test_after_the_pause_one_request_is_a_trial_and_the_others_wait() -> None:
    health, pause = failing(100.0)
    now = 100.0 + pause
    health.begin_attempt(now)
    assert health.is_ejected(now)


def test_a_trial_that_fails_begins_a_longer_pause() -> None:
    health, pause = failing(0.0)
    now, pauses = pause, [pause]
    for _ in range(10):
        health.begin_attempt(now)
        longer = health.connect_failed(now + 0.01)
        assert longer is not None
        assert health.connect_failed(now + 0.01) is None
        now += 0.01 + longer
        pauses.append(longer)
    for number, each in enumerate(pauses):
        due = min(FIRST_EJECTION * 2**number, LAST_EJECTION)
        assert due * (1 - JITTER) <= each <= due * (1 + JITTER)


def test_a_trial_that_succeeds_makes_it_well_again() -> None:
    health, pause = failing(0.0)
    health.begin_attempt(pause)
    assert health.connected()
    assert not health.is_failing
    assert not health.is_ejected(pause)
    assert health.connect_failed(pause) is None


def test_a_trial_that_nobody_hears_of_is_followed_by_another() -> None:
    """Its browser left, say, before there was a connection."""
    health, pause = failing(0.0)
    health.begin_attempt(pause)
    assert not health.is_ejected(pause + 2 * FIRST_EJECTION)


def test_a_request_to_one_that_is_well_is_no_trial() -> None:
    health = PassiveHealth()
    health.begin_attempt(5.0)
    assert not health.is_ejected(5.0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["connect_failed", "connected", "begin_attempt"]), st.floats(0, 9)
        )
    )
)
def test_whatever_happens_it_is_ejected_no_longer_than_the_longest_pause(
    events: list[tuple[str, float]],
) -> None:
    health, now = PassiveHealth(), 0.0
    for event, passed in events:
        now += passed
        if event == "connected":
            health.connected()
        elif event == "failed":
            health.connect_failed(now)
        else:
            health.begin_attempt(now)
        assert not health.is_ejected(now + LAST_EJECTION * (1 + JITTER) + 0.001)
        assert health.is_failing or not health.is_ejected(now)
