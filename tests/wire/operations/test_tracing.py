"""Spans of real requests reach a real OTLP receiver; without one nothing waits."""

import re
import signal
import time
from collections.abc import AsyncIterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.collector import Collector, attributes
from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import RawClient
from tests.support.routes import Places, port_of
from tests.support.tokens import token
from tests.support.upstream import EVENT_STREAM, Exchange, Upstream, answers, chunk
from tests.wire.conftest import Connect, StartGateway

ROUTES = """\
defaults:
  proxy_upstream: $SERVICE
  auth_required: false
routes:
- path: /jobs/{id}
- path: /private
  auth_required: true
- path: /stream
"""
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
AT_ONCE = {"OTEL_BSP_SCHEDULE_DELAY": "50"}  # milliseconds


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector.listening() as collector:
        yield collector


@pytest.fixture
def traced(collector: Collector, start_gateway: StartGateway) -> GatewayProcess:
    """A gateway with the address of the collector."""
    return start_gateway(ROUTES, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, **AT_ONCE)


@pytest.fixture
async def client(traced: GatewayProcess, connect: Connect) -> RawClient:
    return await connect(traced.port)


def seen(service: Upstream) -> tuple[str, str, str]:
    """Trace, parent and flags, as the service got them."""
    found = re.fullmatch(
        "00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", service.request.value("traceparent") or ""
    )
    assert found
    return found[1], found[2], found[3]


async def test_a_request_is_a_span_that_the_service_s_own_hang_on(
    service: Upstream, client: RawClient, collector: Collector
) -> None:
    service.script = answers(b"hello")
    before = time.time_ns()
    await client.fetch("/jobs/7?token=sesame", "X-Request-Id: traced-1")
    trace, parent, flags = seen(service)
    span = await collector.span(trace)
    assert (span.name, span.kind) == ("GET /jobs/{id}", Span.SPAN_KIND_SERVER)
    assert (span.span_id.hex(), span.parent_span_id, flags) == (parent, b"", "01")
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert before - 1_000_000_000 < span.start_time_unix_nano < span.end_time_unix_nano
    assert span.end_time_unix_nano <= time.time_ns()
    reported = attributes(span)
    assert reported.pop("client.address") == "127.0.0.1"
    assert reported == {
        "http.request.method": "GET",
        "http.route": "/jobs/{id}",
        "http.response.status_code": 200,
        "http.request.body.size": 0,
        "http.response.body.size": 5,
        "url.path": "/jobs/7",
        "url.scheme": "http",
        "gateway.request_id": "traced-1",
        "gateway.end_reason": "complete",
    }
    [name] = [
        each.value.string_value
        for each in collector.resources[0].resource.attributes
        if each.key == "service.name"
    ]
    assert name == "gateway"


async def test_a_sampled_trace_goes_on_through_our_span(
    service: Upstream, client: RawClient, collector: Collector, traced: GatewayProcess
) -> None:
    states = ("tracestate: a=1", "tracestate: b=2")
    await client.fetch("/jobs/7", f"traceparent: 00-{TRACE}-{PARENT}-01", *states)
    trace, parent, flags = seen(service)
    assert (trace, flags) == (TRACE, "01")
    assert parent != PARENT
    assert service.request.values("tracestate") == ["a=1", "b=2"]
    span = await collector.span(TRACE)
    assert (span.span_id.hex(), span.parent_span_id.hex()) == (parent, PARENT)
    assert span.trace_state == "a=1,b=2"
    await traced.request_line(trace_id=TRACE)


async def test_a_trace_that_is_not_sampled_has_no_span_and_passes_as_it_came(
    service: Upstream, client: RawClient, collector: Collector
) -> None:
    await client.fetch("/jobs/7", f"traceparent: 00-{TRACE}-{PARENT}-00")
    assert seen(service) == (TRACE, PARENT, "00")
    other = TRACE[::-1]
    await client.fetch("/jobs/8", f"traceparent: 00-{other}-{PARENT}-01")
    await collector.span(other)
    assert [span.trace_id.hex() for span in collector.spans] == [other]


async def test_a_refusal_is_a_span_too_and_holds_no_token(
    client: RawClient, collector: Collector
) -> None:
    secret = token(ttl=-60)
    parent = f"traceparent: 00-{TRACE}-{PARENT}-01"
    assert (await client.fetch(f"/private?token={secret}", parent)).status == 401
    span = await collector.span(TRACE)
    assert span.name == "GET /private"
    assert attributes(span)["http.response.status_code"] == 401
    assert span.status.code == Status.STATUS_CODE_UNSET
    assert secret not in str(span)


async def test_a_stream_that_broke_off_is_a_span_that_failed(
    service: Upstream, client: RawClient, collector: Collector
) -> None:
    async def breaks(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
        exchange.finish()

    service.script = breaks
    await client.request("/stream", f"traceparent: 00-{TRACE}-{PARENT}-01")
    await client.head()
    await client.rest()
    span = await collector.span(TRACE)
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert attributes(span)["error.type"] == "upstream_closed"


async def test_the_last_spans_are_sent_before_the_end(
    service: Upstream, collector: Collector, start_gateway: StartGateway, connect: Connect
) -> None:
    hourly = {"OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_SERVICE_NAME": "front"}
    gateway = start_gateway(ROUTES, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint, **hourly)
    client = await connect(gateway.port)
    await client.fetch("/jobs/7", f"traceparent: 00-{TRACE}-{PARENT}-01")
    await gateway.request_line(trace_id=TRACE)
    assert collector.spans == []
    gateway.signal(signal.SIGTERM)
    await collector.span(TRACE)
    assert "front" in str(collector.resources[0].resource)


async def test_a_collector_that_is_away_holds_nothing_up_and_is_logged_once(
    service: Upstream, places: Places, start_gateway: StartGateway, connect: Connect
) -> None:
    service.script = answers(b"hello")
    gateway = start_gateway(
        ROUTES, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port_of(places.dead)}", **AT_ONCE
    )
    client = await connect(gateway.port)
    assert (await client.fetch("/jobs/7")).status == 200
    gateway.await_output("spans_export_failed")
    assert (await client.fetch("/jobs/8")).status == 200
    assert gateway.stop() == 0
    assert gateway.output.count("spans_export_failed") == 1
    assert gateway.error_output == ""
