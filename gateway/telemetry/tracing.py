"""Decides from the standard OTEL_* variables whether spans are sent.

See the OpenTelemetry specification: SDK environment variables, and OTLP exporter.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Protocol

import structlog

from gateway.http.trace_context import TraceContext
from gateway.telemetry.exchange import Exchange

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

_PLACES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"


class Tracer(Protocol):
    """Records exchanges as spans."""

    def begin(self, exchange: Exchange, trace: TraceContext, scheme: str) -> bytes:
        """Begin the span of an exchange. Returns the traceparent for the upstream."""

    def ended(self, exchange: Exchange, now: float) -> None:
        """Record the end of an exchange, which is now, by `time.monotonic`."""

    async def close(self) -> None:
        """Send the remaining spans, within a bound."""


def tracer(environ: Mapping[str, str]) -> Tracer | None:
    """Returns what records spans; None if nobody asks for spans, or if they cannot be sent.

    The latter is a warning in the log, because a gateway without traces is better than none.
    """
    if not any(environ.get(name) for name in _PLACES) or _is_off(environ):
        return None
    fault = _fault(environ)
    if fault:
        log.warning("tracing_disabled", reason=fault)
        return None
    # The SDK takes a third of a second to import, which only its users pay.
    from gateway.telemetry.opentelemetry import Tracer  # noqa: PLC0415

    return Tracer()


def _is_off(environ: Mapping[str, str]) -> bool:
    is_disabled = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return is_disabled or environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none"


def _fault(environ: Mapping[str, str]) -> str:
    """Returns why spans cannot be sent and what to do, or ""."""
    for name in _PROTOCOLS:
        if environ.get(name, _PROTOCOL) != _PROTOCOL:
            return f"{name} is {environ[name]}; the gateway speaks {_PROTOCOL}: set it to that"
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter") is None:
        return "OpenTelemetry is not installed: pip install 'gateway[otel]'"
    return ""
