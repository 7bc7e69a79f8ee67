"""How soon an EventSource is to come back, as the `retry` of an event stream says it."""

import random
import time
from email.utils import parsedate_to_datetime

DELAY = 3.0  # seconds, where nobody says how long
# What is said holds for as long as the page lives: for later, shorter absences too.
LEAST, MOST = 1.0, 300.0
SPREAD = 2.0  # seconds, so that those who were lost together do not come back together


def delay(retry_after: str | None) -> int:
    """Milliseconds until the next try, as Retry-After asks (RFC 9110 10.2.3), within bounds."""
    asked = None if retry_after is None else _seconds(retry_after.strip())
    seconds = DELAY if asked is None else min(max(asked, LEAST), MOST)
    return round((seconds + random.uniform(0, SPREAD)) * 1000)  # noqa: S311 - no secret


def _seconds(text: str) -> float | None:
    """Seconds of a number, or until a date; None for what is neither."""
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
