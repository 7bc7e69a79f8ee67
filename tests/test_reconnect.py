"""An EventSource comes back when it was told to, and not all of them at once."""

import time
from email.utils import formatdate

import pytest

from gateway.http.reconnect import DELAY, LEAST, MOST, SPREAD, delay


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        (None, DELAY),
        ("1", 1),
        (" 120 ", 120),
        ("0", LEAST),
        ("301", MOST),
        ("9" * 5000, MOST),
        ("-5", DELAY),
        ("1.5", DELAY),
        ("²", DELAY),
        ("soon", DELAY),
        ("", DELAY),
        ("Wed, 21 Oct 2015 07:28:00 GMT", LEAST),
        ("Wed, 99 Oct 2015 07:28:00 GMT", DELAY),
        ("Fri, 01 Jan 9999 00:00:00 GMT", MOST),
    ],
)
def test_the_delay_is_what_was_asked_for_within_bounds_or_a_few_seconds(
    retry_after: str | None, seconds: float
) -> None:
    assert seconds * 1000 <= delay(retry_after) <= (seconds + SPREAD) * 1000


def test_a_date_is_waited_for() -> None:
    date = formatdate(time.time() + 60, usegmt=True)
    assert 55_000 <= delay(date) <= (60 + SPREAD) * 1000


def test_those_who_were_lost_together_do_not_come_back_together() -> None:
    assert len({delay("1") for _ in range(50)}) > 10
