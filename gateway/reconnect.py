"""How soon an EventSource is to come back, as the `retry` of an event stream says it."""

import random
import time
from email.utils import parsedate_to_datetime

DELAY = 3.0  # seconds, where nobody says how long
LONGEST = 24 * 3600.0  # seconds: who asks for more has not asked in seconds
SPREAD = 2.0  # seconds, so that those who were lost together do not come back together


def delay(retry_after: str | None) -> int:
    """Milliseconds until the next try: not before Retry-After (RFC 9110 10.2.3), if it says."""
    seconds = DELAY if retry_after is None else _seconds(retry_after)
    return round((seconds + random.uniform(0, SPREAD)) * 1000)  # noqa: S311 - no secret


def _seconds(retry_after: str) -> float:
    """Seconds of a number or a date; the default where it is neither, or past all reason."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit() and len(text) <= len(str(int(LONGEST))):
        seconds = float(text)
    else:
        seconds = _seconds_until(text)
    return seconds if 0 <= seconds <= LONGEST else DELAY


def _seconds_until(date: str) -> float:
    """Seconds from now to a date; less than none for what is no date, or has passed."""
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, OverflowError):
        return -1.0
