"""Log lines: structured, on stdout, and never a reason for a request to fail."""

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any, Literal

import orjson
import structlog

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

LogFormat = Literal["json", "console"]


def configure_logging(log_format: LogFormat, level: str) -> None:
    """Send structured lines to stdout; `level` is a name of the standard library's logging."""
    is_json = log_format == "json"
    factory = structlog.BytesLoggerFactory if is_json else structlog.WriteLoggerFactory
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_json_processors() if is_json else _console_processors()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=factory(_Sink()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )


# Local variables stay out of tracebacks: a token could be among them.


def _json_processors() -> list[structlog.typing.Processor]:
    transform = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.ExceptionRenderer(transform),
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]


def _console_processors() -> list[structlog.typing.Processor]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    ]


def _to_json(event: object, default: Callable[[Any], Any]) -> bytes:
    """A line as JSON, in whatever characters a client may have sent."""
    try:
        return orjson.dumps(event, default=default)
    except TypeError:  # a byte that is no UTF-8, in a path: orjson writes no lone surrogate
        return json.dumps(event, default=default).encode()


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
