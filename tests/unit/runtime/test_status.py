"""What a scraper reads: every family by its name, what is under way included, nothing twice."""

import pytest
from prometheus_client import parser
from prometheus_client.metrics_core import Metric

from gateway.config.model import Config, Route, RouteLimits, Upstream
from gateway.limits.registry import QuotaRegistry
from gateway.proxy.active_exchanges import ActiveExchanges
from gateway.runtime.status import Metrics, ReloadResult
from gateway.server.admission import Admission
from gateway.telemetry.exchange import EndReason, Exchange
from gateway.telemetry.report import Condition
from gateway.upstream.passive_health import EJECT_AFTER
from gateway.upstream.registry import UpstreamRegistry

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
NAMES = {
    "gateway_requests": "counter",
    "gateway_request_duration_seconds": "histogram",
    "gateway_first_byte_seconds": "histogram",
    "gateway_active_streams": "gauge",
    "gateway_streams": "counter",
    "gateway_stream_duration_seconds": "histogram",
    "gateway_relayed_bytes": "counter",
    "gateway_relayed_events": "counter",
    "gateway_auth_failures": "counter",
    "gateway_upstream_up": "gauge",
    "gateway_upstream_errors": "counter",
    "gateway_config_reloads": "counter",
    "gateway_log_lines_dropped": "counter",
    "gateway_connections_rejected": "counter",
}


class Live:
    """An exchange under way."""

    condition: Condition = "streaming"

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def end(self, reason: EndReason) -> None: ...

    def record(self) -> Exchange:
        return self.exchange

    def silence(self) -> float | None: ...


def metrics_of(
    streams: ActiveExchanges | None = None,
    upstreams: UpstreamRegistry | None = None,
    quotas: QuotaRegistry | None = None,
) -> Metrics:
    # One that is empty is false too.
    return Metrics(
        ActiveExchanges() if streams is None else streams,
        upstreams or UpstreamRegistry(),
        quotas or QuotaRegistry(None),
        Admission(),
    )


def exchange(route: str = "/jobs/{id}", *, is_stream: bool = False) -> Exchange:
    made = Exchange("GET", "/jobs/7", "id-1", "", "10.0.0.9")
    made.route, made.status, made.is_stream = route, 200, is_stream
    return made


def families(metrics: Metrics) -> dict[str, Metric]:
    """The metrics, as Prometheus's own parser reads them."""
    body, _ = metrics.snapshot().encode("")
    read = list(parser.text_string_to_metric_families(body.decode()))
    assert len({family.name for family in read}) == len(read), "a family stands there twice"
    return {family.name: family for family in read}


def value(metrics: Metrics, sample: str, **labels: str) -> float | None:
    """The value of one sample; None where there is none. Two of it are a failure."""
    found = [
        each.value
        for family in families(metrics).values()
        for each in family.samples
        if (each.name, each.labels) == (sample, labels)
    ]
    assert len(found) < 2, f"{sample}{labels} stands there {len(found)} times"
    return found[0] if found else None


def test_every_family_has_its_name_its_kind_and_a_text() -> None:
    reported = families(metrics_of())
    assert {name: reported[name].type for name in NAMES} == NAMES
    assert all(reported[name].documentation for name in NAMES)
    assert "gateway_config_info" in reported


def test_the_process_and_its_garbage_collector_are_in_the_metrics() -> None:
    reported = families(metrics_of())
    assert reported["process_resident_memory_bytes"].samples
    assert reported["python_gc_collections"].samples


def test_two_gateways_in_a_process_count_apart() -> None:
    one, other = metrics_of(), metrics_of()
    ended = exchange()
    one.ended(ended, ended.started)
    labels = {"route": "/jobs/{id}", "method": "GET", "status": "200"}
    assert value(one, "gateway_requests_total", **labels) == 1
    assert value(other, "gateway_requests_total", **labels) is None


def test_a_request_without_a_route_is_counted_as_none() -> None:
    metrics = metrics_of()
    lost = exchange("")
    lost.status = 404
    metrics.ended(lost, lost.started)
    assert value(metrics, "gateway_requests_total", route="none", method="GET", status="404") == 1


@pytest.mark.parametrize("seconds", [0.003, 0.0025])
def test_buckets_add_up_to_the_last(seconds: float) -> None:
    metrics = metrics_of()
    ended = exchange()
    metrics.ended(ended, ended.started + seconds)
    name, route = "gateway_request_duration_seconds", "/jobs/{id}"
    for bound, count in (("0.001", 0), ("0.005", 1), ("+Inf", 1)):
        assert value(metrics, f"{name}_bucket", route=route, le=bound) == count
    assert value(metrics, f"{name}_sum", route=route) == pytest.approx(seconds, abs=1e-6)
    assert value(metrics, f"{name}_count", route=route) == 1


def test_what_nothing_was_observed_of_has_no_buckets() -> None:
    metrics = metrics_of()
    ended = exchange()
    metrics.ended(ended, ended.started)
    assert families(metrics)["gateway_stream_duration_seconds"].samples == []


def test_what_is_under_way_counts_and_its_end_takes_nothing_back() -> None:
    streams = ActiveExchanges()
    metrics = metrics_of(streams)
    stream, upload = exchange(is_stream=True), exchange()
    stream.bytes_out, stream.events, upload.bytes_in = 100, 4, 30
    live = [Live(stream), Live(upload)]
    for each in live:
        streams.admit(each)
    reported = {
        ("gateway_relayed_bytes_total", "out"): 100.0,
        ("gateway_relayed_bytes_total", "in"): 30.0,
    }

    def relayed() -> dict[tuple[str, str], float | None]:
        return {
            (name, way): value(metrics, name, route="/jobs/{id}", direction=way)
            for name, way in reported
        }

    assert relayed() == reported
    assert value(metrics, "gateway_relayed_events_total", route="/jobs/{id}") == 4
    assert value(metrics, "gateway_active_streams", route="/jobs/{id}") == 1
    for each in live:
        streams.release(each)
        metrics.ended(each.exchange, each.exchange.started)
    assert relayed() == reported
    assert value(metrics, "gateway_relayed_events_total", route="/jobs/{id}") == 4
    assert value(metrics, "gateway_active_streams", route="/jobs/{id}") == 0


@pytest.mark.parametrize(
    "code", ["token_missing", "token_invalid", "token_expired", "scope_missing", "origin_denied"]
)
def test_a_refused_token_counts_from_zero(code: str) -> None:
    metrics = metrics_of()
    assert value(metrics, "gateway_auth_failures_total", code=code) == 0
    refused = exchange()
    refused.code = code
    metrics.ended(refused, refused.started)
    assert value(metrics, "gateway_auth_failures_total", code=code) == 1


def test_other_refusals_are_no_failures_of_authentication() -> None:
    metrics = metrics_of()
    refused = exchange()
    refused.code = "body_too_large"
    metrics.ended(refused, refused.started)
    samples = families(metrics)["gateway_auth_failures"].samples
    assert {sample.value for sample in samples} == {0}


def test_the_service_s_failures_are_reported_by_route_and_code() -> None:
    metrics = metrics_of()
    failed = exchange()
    failed.code = "upstream_unreachable"
    metrics.ended(failed, failed.started)
    labels = {"route": "/jobs/{id}", "code": "upstream_unreachable"}
    assert value(metrics, "gateway_upstream_errors_total", **labels) == 1


def test_an_upstream_is_up_or_down_as_it_is_known_now_for_as_long_as_it_is_served() -> None:
    upstreams, place = UpstreamRegistry(), Upstream("http://jobs:8080", "http", "jobs", 8080)
    metrics = metrics_of(upstreams=upstreams)
    metrics.serves(Config((Route("/jobs/{id}", (), place),)))
    labels = {"route": "/jobs/{id}", "upstream": "http://jobs:8080"}
    health = upstreams.pool(place).health
    assert value(metrics, "gateway_upstream_up", **labels) == 1
    for _ in range(EJECT_AFTER):
        health.connect_failed(0)
    assert value(metrics, "gateway_upstream_up", **labels) == 0
    health.connected()
    assert value(metrics, "gateway_upstream_up", **labels) == 1
    metrics.serves(Config(()))
    assert value(metrics, "gateway_upstream_up", **labels) is None


async def test_limits_that_are_shared_are_reported_and_others_are_not() -> None:
    names = ("gateway_limits_shared", "gateway_limits_fallbacks_total")
    place = Upstream("", "http", "127.0.0.1", 1)
    for redis, reported in ((None, (None, None)), ("redis://127.0.0.1:1", (1, 0))):
        quotas = QuotaRegistry(redis)
        quota = quotas.of(Route("/", (), place, limits=RouteLimits(max_streams=1)))
        assert quota is not None
        assert tuple(value(metrics_of(quotas=quotas), name) for name in names) == reported
        await quotas.close()


def test_what_is_served_is_reported_and_its_routes_before_the_first_request() -> None:
    metrics = metrics_of()
    place = Upstream("", "http", "127.0.0.1", 1)
    for digest in ("aa11", "bb22"):
        metrics.serves(Config((Route(f"/{digest}", (), place),), digest=digest))
        assert value(metrics, "gateway_config_info", sha256=digest) == 1
        assert value(metrics, "gateway_active_streams", route=f"/{digest}") == 0
    assert value(metrics, "gateway_config_info", sha256="aa11") is None


@pytest.mark.parametrize("result", ["success", "failure"])
def test_files_that_were_read_are_counted_by_what_came_of_it(result: ReloadResult) -> None:
    metrics = metrics_of()
    assert value(metrics, "gateway_config_reloads_total", result=result) == 0
    metrics.reloaded(result)
    assert value(metrics, "gateway_config_reloads_total", result=result) == 1


def test_what_was_read_once_does_not_change_any_more() -> None:
    metrics = metrics_of()
    ended = exchange(is_stream=True)
    ended.code, ended.events = "token_missing", 1
    metrics.ended(ended, ended.started)
    before = metrics.snapshot()
    reported = list(before.collect())
    metrics.ended(ended, ended.started)
    metrics.reloaded("success")
    assert list(before.collect()) == reported
    assert list(metrics.snapshot().collect()) != reported
