"""Structured log lines on stdout. They never delay a request and never make it fail."""

import atexit
import json
import logging
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import orjson
import structlog

from gateway.telemetry.log_writer import LogWriter, RawFile

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

LogFormat = Literal["json", "console"]


@dataclass(slots=True)
class _Requests:
    """Where the lines of exchanges go; nowhere until logging is configured."""

    sink: LogWriter | None = None
    are_logged: bool = True
    as_json: list[structlog.typing.Processor] | None = None  # the processors that render JSON


_requests = _Requests()


class _LibraryHandler(logging.Handler):
    """Logs what libraries log, because the standard library's fallback, stderr, blocks."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record under its level."""
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - a library's arguments do not fit its text
            message = str(record.msg)
        log.log(
            min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL),  # a known level
            "library_message",
            logger=record.name,
            message=message,
            exc_info=record.exc_info,
        )


_library_handler = _LibraryHandler()


def configure_logging(log_format: LogFormat, level: str) -> None:
    """Writes structured lines to stdout from now on; `level` is a name of the logging module."""
    close_logging()
    is_json = log_format == "json"
    factory = structlog.BytesLoggerFactory if is_json else structlog.WriteLoggerFactory
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        *(_json_processors() if is_json else _console_processors()),
    ]
    least = logging.getLevelNamesMapping()[level.upper()]
    notice = partial(_dropped_line, processors if least <= logging.WARNING else None)
    _requests.sink = LogWriter(_raw_stdout(), notice)
    _requests.as_json = processors if is_json else None
    _requests.are_logged = least <= logging.INFO
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory(_requests.sink),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )
    logging.getLogger().addHandler(_library_handler)
    atexit.register(close_logging)


def close_logging() -> None:
    """Writes the lines that wait, for two seconds at most. No line is written after it."""
    logging.getLogger().removeHandler(_library_handler)
    if _requests.sink is not None:
        _requests.sink.close()


def log_lines_dropped() -> int:
    """Returns how many lines of this process were dropped."""
    return 0 if _requests.sink is None else _requests.sink.dropped


def log_request(fields: dict[str, object]) -> None:
    """Write the line of an exchange that has ended.

    structlog's processors render it, like all lines, but without a bound logger, which would cost
    more than all the rest. If nobody has added a processor, the result of the default ones is
    written directly.
    """
    sink = _requests.sink
    if sink is None:
        log.info("request", **fields)
    elif _requests.are_logged:
        line: Any = fields
        line["event"] = "request"
        if structlog.get_config()["processors"] is _requests.as_json:
            line["level"] = "info"
            sink.write(_to_json(_stamp(None, "info", line)) + b"\n")
            return
        try:
            sink.write(_processed(structlog.get_config()["processors"], "info", line))
        except structlog.DropEvent:
            return


def _processed(processors: Iterable[structlog.typing.Processor], level: str, line: Any) -> bytes:
    """Returns the line that structlog's processors render."""
    for process in processors:
        line = process(None, level, line)
    return line + b"\n" if isinstance(line, bytes) else f"{line}\n".encode()


def _dropped_line(processors: list[structlog.typing.Processor] | None, count: int) -> bytes:
    """Returns the line that reports dropped lines; empty if warnings are not logged."""
    if processors is None:
        return b""
    return _processed(processors, "warning", {"event": "log_lines_dropped", "count": count})


def _raw_stdout() -> RawFile:
    if sys.stdout is None:  # stdout was closed before the process began
        return open(os.devnull, "wb", buffering=0)  # noqa: PTH123 - open as long as we are
    return getattr(sys.stdout.buffer, "raw", sys.stdout.buffer)


# Local variables are left out of tracebacks, because a token could be among them.


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
            colors=sys.stdout is not None and sys.stdout.isatty(),
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _stamp(
    _logger: object, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Adds the time. orjson writes it, which is much cheaper than doing that here."""
    event["timestamp"] = datetime.now(UTC)
    return event


def _to_json(
    event: structlog.typing.EventDict, default: Callable[[Any], Any] | None = None
) -> bytes:
    """Returns a line as JSON, whatever characters a client has sent."""
    try:
        return orjson.dumps(event, default=default, option=orjson.OPT_UTC_Z)
    except TypeError:  # a byte of a path that is no UTF-8: orjson writes no lone surrogate
        timestamp = event["timestamp"].isoformat().replace("+00:00", "Z")
        return json.dumps({**event, "timestamp": timestamp}, default=default).encode()
