"""An EventSource reconnects after the `retry:` time, and not all of them at once."""

import time
from email.utils import formatdate

import pytest

from gateway.http.event_stream import (
    LEAST_RECONNECT,
    MOST_RECONNECT,
    RECONNECT,
    RECONNECT_SPREAD,
    reconnection_time,
)


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (None, RECONNECT),
        ("1", 1),
        (" 120 ", 120),
        ("0", LEAST_RECONNECT),
        ("301", MOST_RECONNECT),
        ("9" * 5000, MOST_RECONNECT),
        ("-5", RECONNECT),
        ("1.5", RECONNECT),
        ("²", RECONNECT),
        ("soon", RECONNECT),
        ("", RECONNECT),
        ("Wed, 21 Oct 2015 07:28:00 GMT", LEAST_RECONNECT),
        ("Wed, 99 Oct 2015 07:28:00 GMT", RECONNECT),
        ("Fri, 01 Jan 9999 00:00:00 GMT", MOST_RECONNECT),
    ],
)
def test_the_delay_is_what_was_asked_for_within_bounds_or_a_few_seconds(
    retry_after: str | None, seconds: float
) -> None:
    assert seconds * 1000 <= reconnection_time(retry_after) <= (seconds + RECONNECT_SPREAD) * 1000


def test_a_date_is_waited_for() -> None:
    date = formatdate(time.time() + 60, usegmt=True)
    assert 55_000 <= reconnection_time(date) <= (60 + RECONNECT_SPREAD) * 1000


def test_those_who_were_lost_together_do_not_come_back_together() -> None:
    assert len({reconnection_time("1") for _ in range(50)}) > 10
