"""Reads the borders of an event stream, and writes the events of the gateway itself. Pure.

The stream is read as the HTML standard says (9.2.6). Lines end with LF, CR or CRLF. A blank line
ends an event. A line that begins with a colon is a comment.
"""

import random
import time
from email.utils import parsedate_to_datetime
from typing import Final

import orjson

BOM: Final = b"\xef\xbb\xbf"
# There is one line only, because many client libraries read a blank line as an event without data.
HEARTBEAT: Final = b": keep-alive\n"
# Bytes that are kept of an event to read its progress. Longer events are ignored.
MAX_EVENT: Final = 16 * 1024
# Seconds until an EventSource reconnects. It keeps the value for as long as its page lives, so that
# a long one would hold for later, shorter interruptions too.
RECONNECT: Final = 3.0
LEAST_RECONNECT: Final = 1.0
MOST_RECONNECT: Final = 300.0
RECONNECT_SPREAD: Final = 2.0

_CR: Final = 13
_LF: Final = 10
_PROGRESS: Final = b'"progress"'


class EventStream:
    """Follows a stream by its bytes, in whatever pieces they come.

    A comment may stand between two events. There every line is complete, and no field has come
    since the last blank line or the start. A comment there changes nothing of what a client reads,
    with one exception: a byte order mark counts only at the very start. Behind bytes of the gateway
    it would spoil the first line, so that it is left out there.

    A CR may be half of a CRLF whose LF is still to come. Behind a comment that LF would be a blank
    line, which some clients read as an event. So only a last event is put behind a CR. A stream
    whose lines end with a bare CR has no place for a comment.
    """

    def __init__(self) -> None:
        self.count = 0  # complete events that have data, which are those that a browser dispatches
        self._is_opening = True  # the stream may still begin with a byte order mark
        self._opening = b""  # the part of the byte order mark that came
        self._is_interrupted = False  # bytes of the gateway went before
        self._line = b""  # what is kept of the incomplete line
        self._is_in_line = False
        self._is_in_event = False
        self._is_after_cr = False
        self._has_data = False
        self._data: list[bytes] = []
        self._size = 0
        self._last = b""  # the data of the last event that reported progress

    @property
    def takes_comment(self) -> bool:
        """Whether a comment line may be put here, with more of the stream behind it."""
        return self.is_between and not self._is_after_cr

    @property
    def is_between(self) -> bool:
        """Whether an event of the gateway may be put here, as the last of the stream."""
        if self._is_in_line or self._is_in_event:
            return False
        return self._is_interrupted or not self._opening

    def interrupt(self) -> None:
        """Record that bytes of the gateway are put here."""
        self._is_interrupted = True

    def take(self, data: bytes) -> bytes:
        """Follow these bytes. Returns those to forward: all but a byte order mark."""
        if self._is_opening:
            return self._open(data)
        if not self._is_one_event(data):
            self._follow(data)
            return data
        self._is_after_cr = False
        self.count += 1
        if _PROGRESS in data:
            self._last = data[5:-2]
        return data

    def _is_one_event(self, data: bytes) -> bool:
        """Whether these bytes are one complete event with a single line of data, the usual case.

        The state of the stream is the same after it, so that nothing has to be followed.
        """
        return (
            data.startswith(b"data:")
            and data.find(b"\n") == len(data) - 2
            and data.endswith(b"\n\n")
            and b"\r" not in data
            and len(data) <= MAX_EVENT
            and not self._is_in_line
            and not self._is_in_event
        )

    @property
    def progress(self) -> int | float:
        """The `progress` of the last event whose data is a JSON object that has one; 0 without."""
        if not self._last:
            return 0
        try:
            report = orjson.loads(self._last)
        except ValueError:
            return 0
        progress = report.get("progress") if isinstance(report, dict) else None
        if isinstance(progress, bool) or not isinstance(progress, int | float):
            return 0
        return progress

    def _open(self, data: bytes) -> bytes:
        came = self._opening + data
        if len(came) < len(BOM) and BOM.startswith(came):
            self._opening = came
            return b"" if self._is_interrupted else data
        self._is_opening = False
        self._opening = b""
        text = came.removeprefix(BOM)
        self._follow(text)
        return text if self._is_interrupted else data

    def _follow(self, data: bytes) -> None:
        if not data:
            return
        start = 1 if self._is_after_cr and data[0] == _LF else 0
        self._is_after_cr = data[-1] == _CR
        for line in data[start:].splitlines(keepends=True):
            text = line.rstrip(b"\r\n")
            if len(text) == len(line):
                self._begin_line(text)
            else:
                self._end_line(self._line + text)

    def _begin_line(self, text: bytes) -> None:
        self._is_in_line = True
        if len(self._line) <= MAX_EVENT:
            self._line = (self._line + text)[: MAX_EVENT + 1]

    def _end_line(self, line: bytes) -> None:
        self._line = b""
        self._is_in_line = False
        if not line:
            self._end_event()
        elif not line.startswith(b":"):
            self._is_in_event = True
            name, _, value = line.partition(b":")
            self._size += len(line)
            if name == b"data":
                self._has_data = True
                if self._size <= MAX_EVENT:
                    self._data.append(value.removeprefix(b" "))

    def _end_event(self) -> None:
        data = b"\n".join(self._data)
        if self._size <= MAX_EVENT and _PROGRESS in data:
            self._last = data
        if self._has_data:
            self.count += 1
        self._is_in_event = self._has_data = False
        self._data = []
        self._size = 0


def error_event(
    name: str,
    *,
    progress: int | float,  # noqa: PYI041 - compiled, a float alone would make 40 into 40.0
    code: str,
    message: str,
    retry: int | None = None,
) -> bytes:
    """Returns the last event of a stream that the gateway ends, in the form of a progress report.

    `retry` is the time until an EventSource reconnects, in milliseconds.
    """
    report = {
        "status": "error",
        "progress": progress,
        "message": message,
        "step": "gateway",
        "data": {"code": code},
    }
    # An event without a type is a message (HTML standard, 9.2.6).
    kind = b"" if name == "message" else b"event: %b\n" % name.encode()
    pause = b"" if retry is None else b"retry: %d\n" % retry
    return b"%b%bdata: %b\n\n" % (kind, pause, orjson.dumps(report))


def reconnection_time(retry_after: str | None) -> int:
    """Returns the milliseconds for `retry:`, from a Retry-After header (RFC 9110 10.2.3) if any.

    The result is within bounds, with a random part, so that clients that lost their streams
    together do not reconnect together.
    """
    asked = None if retry_after is None else _seconds(retry_after.strip())
    seconds = RECONNECT if asked is None else min(max(asked, LEAST_RECONNECT), MOST_RECONNECT)
    return round((seconds + random.uniform(0, RECONNECT_SPREAD)) * 1000)  # noqa: S311 - no secret


def _seconds(text: str) -> float | None:
    """Returns the seconds of a number or until a date; None for any other text."""
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
