"""Log lines: structured, on stdout, and never a reason for a request to fail."""

import contextlib
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

LogFormat = Literal["json", "console"]


@dataclass(slots=True)
class _Requests:
    """Where the lines of exchanges go: nowhere of their own until logging is configured."""

    sink: "_Sink | None" = None
    are_told: bool = True
    as_json: list[structlog.typing.Processor] | None = None  # what makes JSON of them


_requests = _Requests()


def configure_logging(log_format: LogFormat, level: str) -> None:
    """Send structured lines to stdout; `level` is a name of the standard library's logging."""
    is_json = log_format == "json"
    factory = structlog.BytesLoggerFactory if is_json else structlog.WriteLoggerFactory
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        *(_json_processors() if is_json else _console_processors()),
    ]
    _requests.sink = _Sink()
    _requests.as_json = processors if is_json else None
    _requests.are_told = logging.getLevelNamesMapping()[level.upper()] <= logging.INFO
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory(_requests.sink),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )


def log_request(fields: dict[str, object]) -> None:
    """Write the line of an exchange that ended.

    It is written as all others are, by structlog's processors, but without a bound logger: that
    would cost more than all else in the line. So would the processors where nobody added one: then
    what they come to is done at once.
    """
    sink = _requests.sink
    if sink is None:
        log.info("request", **fields)
    elif _requests.are_told:
        line: Any = fields
        line["event"] = "request"
        if structlog.get_config()["processors"] is _requests.as_json:
            line["level"] = "info"
            sink.write(_to_json(_stamp(None, "info", line)) + b"\n")
            return
        try:
            for process in structlog.get_config()["processors"]:
                line = process(None, "info", line)
        except structlog.DropEvent:
            return
        sink.write(line + (b"\n" if isinstance(line, bytes) else "\n"))


# Local variables stay out of tracebacks: a token could be among them.


def _json_processors() -> list[structlog.typing.Processor]:
    transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        _stamp,
        structlog.processors.ExceptionRenderer(transform),
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]


def _console_processors() -> list[structlog.typing.Processor]:
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
        ),
    ]


def _stamp(
    _logger: object, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Add the time, left to orjson to be written: to do that here is dear."""
    event["timestamp"] = datetime.now(UTC)
    return event


def _to_json(
    event: structlog.typing.EventDict, default: Callable[[Any], Any] | None = None
) -> bytes:
    """A line as JSON, in whatever characters a client may have sent."""
    try:
        return orjson.dumps(event, default=default, option=orjson.OPT_UTC_Z)
    except TypeError:  # a byte that is no UTF-8, in a path: orjson writes no lone surrogate
        timestamp = event["timestamp"].isoformat().replace("+00:00", "Z")
        return json.dumps({**event, "timestamp": timestamp}, default=default).encode()


class _Sink:
    """Standard output, unbuffered. A line that cannot be written fails nothing but itself.

    The first one that is lost is told on stderr.
    """

    def __init__(self) -> None:
        self._file = getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)
        self._has_failed = False

    def write(self, line: str | bytes) -> None:
        try:
            self._write_whole(line.encode() if isinstance(line, str) else line)
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                with contextlib.suppress(OSError):
                    sys.stderr.write(f"gateway: cannot write the log: {error}\n")

    def flush(self) -> None:
        """Nothing is held back."""

    def _write_whole(self, data: bytes) -> None:
        while data:
            written = self._file.write(data)
            if written is None:
                raise BlockingIOError("standard output takes no more for now")
            data = data[written:]
