"""Spans of exchanges by the OpenTelemetry SDK, sent by OTLP over HTTP in a thread of the SDK.

The SDK reads the standard OTEL_* variables itself. The module is imported only if one of them names
a collector. A request that is not sampled has no span, and its traceparent is forwarded as it came.
"""

import asyncio
import contextlib
import logging
import os
import random
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    TraceFlags,
    TraceState,
    set_span_in_context,
)
from opentelemetry.trace.status import Status, StatusCode

from gateway.http.trace_context import TraceContext
from gateway.telemetry.counters import METHODS, upstream_code
from gateway.telemetry.exchange import EndReason, Exchange

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

CLOSE_TIMEOUT = 2.0  # seconds for the last spans, so that a collector that is down delays no end
REPORT_INTERVAL = 60.0  # seconds between two lines about a collector that does not answer
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
# End reasons that are no error of a server's span.
_FINE = {
    EndReason.COMPLETE,
    EndReason.CLIENT_CLOSED,
    EndReason.REFUSED,
    EndReason.TOKEN_EXPIRED,
    EndReason.DRAINED,
}

Attributes = dict[str, str | int]


@dataclass(frozen=True, slots=True)
class _Begun:
    """A span that has not ended: its own context, and that of the caller, if there is one."""

    own: SpanContext
    parent: SpanContext | None
    scheme: str


class Tracer:
    """Begins a span if a request is sampled, and sends it when the exchange has ended."""

    def __init__(self) -> None:
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._sampler, self._resource = provider.sampler, provider.resource
        self._scope = InstrumentationScope("gateway", version("gateway"))
        _log_sdk_errors()
        self._processor = BatchSpanProcessor(OTLPSpanExporter())

    def begin(self, exchange: Exchange, trace: TraceContext, scheme: str) -> bytes:
        """Begin a span where the request is sampled. Returns the traceparent for the upstream."""
        trace_id = int(trace.trace_id, 16)
        parent = _parent(trace, trace_id) if trace.is_continued else None
        # The context is empty, because no other span of this process is a parent of the request.
        context = Context()
        if parent is not None:
            context = set_span_in_context(NonRecordingSpan(parent), context)
        result = self._sampler.should_sample(context, trace_id, "request", SpanKind.SERVER)
        if not result.decision.is_sampled():  # type: ignore[no-untyped-call]
            return trace.parent
        span_id = random.getrandbits(64) or 1
        own = SpanContext(trace_id, span_id, False, _SAMPLED, result.trace_state)
        exchange.span = _Begun(own, parent, scheme)
        return b"00-%032x-%016x-01" % (trace_id, span_id)

    def ended(self, exchange: Exchange, now: float) -> None:
        """Send the span of an exchange that ends now, by `time.monotonic`, if it has one."""
        begun = exchange.span
        if not isinstance(begun, _Begun):
            return
        end = time.time_ns()
        method = exchange.method if exchange.method in METHODS else "HTTP"
        span = ReadableSpan(
            name=f"{method} {exchange.route}".rstrip(),
            context=begun.own,
            parent=begun.parent,
            resource=self._resource,
            attributes={"url.scheme": begun.scheme, **_attributes(exchange)},
            kind=SpanKind.SERVER,
            status=_status(exchange),
            start_time=end - int((now - exchange.started) * 1e9),
            end_time=end,
            instrumentation_scope=self._scope,
        )
        self._processor.on_end(span)

    async def close(self) -> None:
        """Send the remaining spans, in at most `CLOSE_TIMEOUT` seconds."""
        loop = asyncio.get_running_loop()
        closed = asyncio.Event()

        def close() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]
            with contextlib.suppress(RuntimeError):  # the loop may be closed already
                loop.call_soon_threadsafe(closed.set)

        # No executor, because the end of the process would wait for its threads.
        threading.Thread(target=close, daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await closed.wait()
        except TimeoutError:
            log.warning("spans_dropped", reason="the collector does not answer")


def _resource() -> Resource:
    """Returns the resource: what OTEL_* variables say, and a default service name."""
    attributes = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    is_named = os.environ.get("OTEL_SERVICE_NAME") or f"{SERVICE_NAME}=" in attributes
    return Resource.create({} if is_named else {SERVICE_NAME: "gateway"})


def _parent(trace: TraceContext, trace_id: int) -> SpanContext:
    """Returns the caller's span, by its traceparent (W3C Trace Context 3.2)."""
    parts = trace.parent.split(b"-")
    states = [state.decode("latin-1") for state in trace.states]
    return SpanContext(
        trace_id,
        int(parts[2], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(parts[3], 16)),
        trace_state=TraceState.from_header(states),
    )


def _attributes(exchange: Exchange) -> Attributes:
    """Returns the attributes of the semantic conventions for HTTP servers, and two of our own."""
    path = exchange.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    attributes: Attributes = {
        "http.request.method": exchange.method if exchange.method in METHODS else "_OTHER",
        "url.path": path,
        "client.address": exchange.client,
        "http.request.body.size": exchange.bytes_in,
        "http.response.body.size": exchange.bytes_out,
        "gateway.request_id": exchange.request_id,
        "gateway.end_reason": exchange.ending.value,
    }
    if exchange.route:
        attributes["http.route"] = exchange.route
    if exchange.status:
        attributes["http.response.status_code"] = exchange.status
    if _is_error(exchange):
        attributes["error.type"] = (
            exchange.code or upstream_code(exchange) or _named(exchange.status, exchange.ending)
        )
    return attributes


def _named(status: int, ending: EndReason) -> str:
    return ending.value if ending not in _FINE else str(status)


def _is_error(exchange: Exchange) -> bool:
    return exchange.status >= HTTPStatus.INTERNAL_SERVER_ERROR or exchange.ending not in _FINE


def _status(exchange: Exchange) -> Status:
    return Status(StatusCode.ERROR if _is_error(exchange) else StatusCode.UNSET)


class _SdkErrors(logging.Handler):
    """Logs what the SDK complains of, at most once in `REPORT_INTERVAL`."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + REPORT_INTERVAL
            log.warning("spans_export_failed", reason=record.getMessage())


def _log_sdk_errors() -> None:
    logger = logging.getLogger("opentelemetry")
    logger.handlers = [_SdkErrors()]
    logger.propagate = False
