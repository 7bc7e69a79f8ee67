"""A span says how an exchange went, is begun only where it is sampled, and is never waited for."""

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from structlog.testing import capture_logs

from gateway.server.request import Request
from gateway.telemetry.exchange import EndReason
from gateway.telemetry.opentelemetry import CLOSE_TIMEOUT, Tracer
from tests.support.collector import Collector, attributes
from tests.support.receiving import Received
from tests.support.routes import listener, port_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GET = b"GET /jobs/7?token=sesame HTTP/1.1\r\nHost: h\r\n"
Start = Callable[..., Tracer]
SLACK = 5.0  # seconds that a busy machine may add


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector.listening() as collector:
        yield collector


@pytest.fixture
def start(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Make a tracer under these variables.

    Its threads end with the test. They use `random`, which disturbs the tests of hypothesis.
    """
    others = set(threading.enumerate())

    def make(**variables: str) -> Tracer:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, **variables}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        return Tracer()

    yield make
    for thread in set(threading.enumerate()) - others:
        thread.join(SLACK * 2)
        assert not thread.is_alive()


async def came(received: Received, flags: str = "01") -> Request:
    return await received(GET + f"traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n\r\n".encode())


def begin(tracer: Tracer, incoming: Request) -> None:
    exchange, trace = incoming.exchange, incoming.trace
    trace.parent = tracer.begin(exchange, trace, incoming.client.scheme)


async def reported(tracer: Tracer, incoming: Request, collector: Collector) -> Span:
    """The span of a request whose exchange is over."""
    tracer.ended(incoming.exchange, time.monotonic())
    await tracer.close()
    return await collector.span(incoming.exchange.trace_id)


async def test_a_path_that_is_no_text_is_logged_as_well_as_it_can_be(
    received: Received, start: Start, collector: Collector
) -> None:
    tracer, incoming = start(), await came(received)
    incoming.exchange.path = "/café/\udcff"  # a byte that is no UTF-8
    begin(tracer, incoming)
    span = await reported(tracer, incoming, collector)
    assert attributes(span)["url.path"] == "/café/\ufffd"
    assert span.name == "GET"
    assert "sesame" not in str(span)


ENDINGS = {
    (EndReason.COMPLETE, 200, ""): None,
    (EndReason.CLIENT_CLOSED, 0, ""): None,
    (EndReason.REFUSED, 401, "token_missing"): None,
    (EndReason.REFUSED, 503, "draining"): "draining",
    (EndReason.COMPLETE, 500, ""): "500",
    (EndReason.UPSTREAM_CLOSED, 200, ""): "upstream_closed",
    (EndReason.UPSTREAM_TIMEOUT, 200, ""): "upstream_timeout",
    (EndReason.TOTAL_TIMEOUT, 200, ""): "total_timeout",
    (EndReason.ERROR, 502, "upstream_unreachable"): "upstream_unreachable",
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_span_failed_where_the_gateway_or_the_service_did(
    received: Received, start: Start, collector: Collector, ending: tuple[EndReason, int, str]
) -> None:
    tracer, incoming = start(), await came(received)
    begin(tracer, incoming)
    reason, status, code = ending
    exchange = incoming.exchange
    exchange.status, exchange.code = status, code
    exchange.end(reason)
    span = await reported(tracer, incoming, collector)
    assert attributes(span).get("error.type") == ENDINGS[ending]
    assert (span.status.code == Status.STATUS_CODE_ERROR) is (ENDINGS[ending] is not None)
    assert attributes(span).get("http.response.status_code", 0) == status


@pytest.mark.parametrize(
    ("sampler", "flags"),
    [("parentbased_always_on", "00"), ("always_off", "01"), ("parentbased_always_off", "00")],
)
async def test_what_is_not_sampled_passes_as_it_came(
    received: Received, start: Start, collector: Collector, sampler: str, flags: str
) -> None:
    tracer, incoming = start(OTEL_TRACES_SAMPLER=sampler), await came(received, flags)
    before = incoming.trace.parent
    begin(tracer, incoming)
    tracer.ended(incoming.exchange, time.monotonic())
    await tracer.close()
    assert incoming.trace.parent == before
    assert collector.spans == []


async def test_a_name_among_the_resource_s_attributes_is_kept(
    received: Received, start: Start, collector: Collector
) -> None:
    tracer = start(OTEL_RESOURCE_ATTRIBUTES="service.name=front,zone=a")
    incoming = await came(received)
    begin(tracer, incoming)
    await reported(tracer, incoming, collector)
    resource = collector.resources[0].resource
    named = {each.key: each.value.string_value for each in resource.attributes}
    assert (named["service.name"], named["zone"]) == ("front", "a")


async def test_a_collector_that_never_answers_is_not_waited_for(
    received: Received, start: Start
) -> None:
    with listener() as deaf:
        endpoint = f"http://127.0.0.1:{port_of(deaf)}"
        tracer = start(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="4")
        incoming = await came(received)
        begin(tracer, incoming)
        tracer.ended(incoming.exchange, time.monotonic())
        began = time.monotonic()
        with capture_logs() as lines:
            await tracer.close()
        assert time.monotonic() - began < CLOSE_TIMEOUT + SLACK
    assert [line["event"] for line in lines if line["event"] == "spans_dropped"]


async def test_the_sdk_s_complaints_are_logged_as_our_own_line_and_not_each_time(
    start: Start,
) -> None:
    tracer = start()
    with capture_logs() as lines:
        for _ in range(3):
            logging.getLogger("opentelemetry.sdk").warning("Queue full, dropping %s.", "Span")
    assert [(line["event"], line["reason"]) for line in lines] == [
        ("spans_export_failed", "Queue full, dropping Span.")
    ]
    await tracer.close()
