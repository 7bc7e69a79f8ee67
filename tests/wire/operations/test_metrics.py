"""What Prometheus reads from the ops port, after real requests, by its own parser."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from prometheus_client import parser
from prometheus_client.samples import Sample

from tests.support.gateway_process import GatewayProcess, environment
from tests.support.raw_client import RawClient
from tests.support.routes import Places
from tests.support.tokens import token
from tests.support.upstream import (
    EVENT_STREAM,
    LAST_CHUNK,
    Exchange,
    Upstream,
    answers,
    chunk,
    never_answers,
)
from tests.wire.conftest import Connect

ROUTES = """\
auth: {{leeway: 0s}}
defaults:
  auth_required: false
  proxy_upstream: http://127.0.0.1:{service}
routes:
- path: /jobs/{{id}}
- path: /plain
- path: /live
- path: /lines
- path: /followed
  stream: {{error_event: message}}
- path: /private/{{id}}
  auth_required: true
  scopes: [jobs:read]
- path: /first-byte
  first_byte_timeout: 200ms
- path: /dead
  proxy_upstream: http://127.0.0.1:{dead}
- path: /complete
- path: /client_closed
- path: /client_stalled
  send_timeout: 1s
- path: /upstream_closed
- path: /upstream_timeout
  idle_timeout: 300ms
- path: /total_timeout
  timeout: 300ms
- path: /token_expired
  auth_required: true
  stream: {{close_on_token_expiry: true}}
- path: /refused
  max_body: 4
"""
EVENT = b"data: 1\n\n"
BLOCK = bytes(64 * 1024)

Play = Callable[[RawClient, str], Awaitable[None]]


@pytest.fixture(scope="module")
def gateway(places: Places, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway whose numbers are these tests' own."""
    service, dead = (taken.getsockname()[1] for taken in (places.service, places.dead))
    routes = ROUTES.format(service=service, dead=dead)
    directory = tmp_path_factory.mktemp("metrics")
    gateway = GatewayProcess.serve(routes, directory, env=environment())
    yield gateway
    assert gateway.stop() == 0, gateway.output
    assert gateway.error_output == ""
    assert "Traceback" not in gateway.output


class Scrapes:
    """Reads /metrics as often as it is asked."""

    def __init__(self, gateway: GatewayProcess, connect: Connect) -> None:
        self._gateway, self._connect = gateway, connect

    async def samples(self) -> list[Sample]:
        client = await self._connect(self._gateway.ops_port)
        got = await client.fetch("/metrics")
        assert got.status == 200
        assert (got.value("Content-Type") or "").startswith("text/plain; version=")
        families = parser.text_string_to_metric_families(got.body.decode())
        return [sample for family in families for sample in family.samples]

    async def reported(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """The samples of this name with these labels, by their other labels' values in order."""
        return {
            tuple(value for key, value in sample.labels.items() if key not in labels): sample.value
            for sample in await self.samples()
            if sample.name == name and labels.items() <= sample.labels.items()
        }


@pytest.fixture
def scrapes(gateway: GatewayProcess, connect: Connect) -> Scrapes:
    return Scrapes(gateway, connect)


async def ended(gateway: GatewayProcess, client: RawClient, target: str, *headers: str) -> str:
    """Make a request, read all of it, and wait for its line: then it was counted. Its reason."""
    name = f"metrics-{time.monotonic_ns()}"
    await client.request(target, f"X-Request-Id: {name}", *headers)
    await client.head()
    await client.rest()
    return str((await gateway.request_line(request_id=name))["end_reason"])


async def streams(exchange: Exchange) -> None:
    """Send two events, and end well when the test says so by its path."""
    await exchange.send(EVENT_STREAM + chunk(EVENT) + chunk(b": no event\n\n") + chunk(EVENT))
    if exchange.request.target == "/complete":
        await exchange.send(LAST_CHUNK)
    elif exchange.request.target == "/upstream_closed":
        exchange.finish()
    elif exchange.request.target == "/client_stalled":
        while True:
            await exchange.send(chunk(BLOCK))
    else:
        await exchange.until_gone()


# Requests


async def test_a_request_is_counted_by_its_pattern_method_and_status(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, scrapes: Scrapes
) -> None:
    upstream.script = answers(b"hello")
    for number in range(3):
        await ended(gateway, client, f"/jobs/{number}?a=1")
    assert await scrapes.reported("gateway_requests_total", route="/jobs/{id}") == {
        ("GET", "200"): 3
    }
    relayed = await scrapes.reported("gateway_relayed_bytes_total", route="/jobs/{id}")
    assert relayed == {("in",): 0, ("out",): 15}
    for name in ("gateway_request_duration_seconds", "gateway_first_byte_seconds"):
        assert await scrapes.reported(f"{name}_count", route="/jobs/{id}") == {(): 3}
        within = await scrapes.reported(f"{name}_bucket", route="/jobs/{id}")
        assert list(within.values()) == sorted(within.values())
        assert within["+Inf",] == 3


async def test_what_no_route_has_is_one_series_whatever_it_was(
    gateway: GatewayProcess, client: RawClient, connect: Connect, scrapes: Scrapes
) -> None:
    before = await scrapes.reported("gateway_requests_total", route="none")
    for path in ("/nowhere/1", "/nowhere/2"):
        await ended(gateway, client, path)
    broken = await connect(gateway.port)
    await broken.send(b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n")
    await broken.closed()
    after = await scrapes.reported("gateway_requests_total", route="none")
    added = {key: after[key] - before.get(key, 0) for key in after}
    assert {key: count for key, count in added.items() if count} == {
        ("GET", "404"): 2,
        ("other", "400"): 1,
    }


async def test_a_refused_token_is_counted_by_its_code(
    gateway: GatewayProcess, client: RawClient, scrapes: Scrapes
) -> None:
    before = await scrapes.reported("gateway_auth_failures_total")
    for query in ("", "?token=eyJhbGciOiJub25lIn0.e30.", f"?token={token(ttl=-60)}"):
        await ended(gateway, client, f"/private/1{query}")
    await ended(gateway, client, f"/private/1?token={token()}")
    after = await scrapes.reported("gateway_auth_failures_total")
    codes = ("token_missing", "token_invalid", "token_expired", "scope_missing")
    assert {code: after[code,] - before[code,] for code in codes} == dict.fromkeys(codes, 1)


async def test_a_service_s_failure_is_counted_by_its_code(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, scrapes: Scrapes
) -> None:
    upstream.script = never_answers
    await ended(gateway, client, "/dead")
    await ended(gateway, client, "/first-byte")
    name = "gateway_upstream_errors_total"
    assert await scrapes.reported(name, route="/dead") == {("upstream_unreachable",): 1}
    assert await scrapes.reported(name, route="/first-byte") == {("upstream_timeout",): 1}


# Streams


@pytest.mark.parametrize("media_type", ["application/x-ndjson", "application/grpc-web+proto"])
async def test_whatever_streams_counts_as_a_stream(
    upstream: Upstream,
    gateway: GatewayProcess,
    client: RawClient,
    scrapes: Scrapes,
    media_type: str,
) -> None:
    async def script(exchange: Exchange) -> None:
        head = EVENT_STREAM.replace(b"text/event-stream", media_type.encode())
        await exchange.send(head + chunk(b'{"progress": 1}\n'))
        await exchange.until_gone()

    upstream.script = script
    before = (await scrapes.reported("gateway_streams_total", route="/lines")).get(
        ("client_closed",), 0
    )
    name = f"streams-{media_type.partition('/')[2]}"
    await client.request("/lines", f"X-Request-Id: {name}")
    await client.head()
    await client.until(b'{"progress": 1}\n')
    assert await scrapes.reported("gateway_active_streams", route="/lines") == {(): 1}
    client.close()
    await gateway.request_line(request_id=name)
    after = await scrapes.reported("gateway_streams_total", route="/lines")
    assert after["client_closed",] == before + 1


async def test_a_stream_under_way_is_seen_with_its_bytes(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, scrapes: Scrapes
) -> None:
    upstream.script = streams
    await client.request("/live", "X-Request-Id: seen-live")
    await client.head()
    await client.until(EVENT + b": no event\n\n" + EVENT)
    assert await scrapes.reported("gateway_active_streams", route="/live") == {(): 1}
    assert (await scrapes.reported("gateway_relayed_bytes_total", route="/live"))["out",] == 30
    assert await scrapes.reported("gateway_streams_total", route="/live") == {}
    client.close()
    await gateway.request_line(request_id="seen-live")
    assert await scrapes.reported("gateway_active_streams", route="/live") == {(): 0}
    assert (await scrapes.reported("gateway_relayed_bytes_total", route="/live"))["out",] == 30


async def test_events_are_counted_where_they_are_followed_and_not_elsewhere(
    upstream: Upstream, client: RawClient, scrapes: Scrapes
) -> None:
    upstream.script = streams
    await client.request("/followed")
    await client.head()
    await client.until(EVENT + b": no event\n\n" + EVENT)
    assert await scrapes.reported("gateway_relayed_events_total", route="/followed") == {(): 2}
    assert await scrapes.reported("gateway_relayed_events_total", route="/live") == {}


async def stalls(client: RawClient, name: str) -> None:
    await client.request(f"/{name}", f"X-Request-Id: {name}")
    await client.head()  # and nothing more


async def leaves(client: RawClient, name: str) -> None:
    await client.request(f"/{name}", f"X-Request-Id: {name}")
    await client.head()
    client.close()


async def reads_on(client: RawClient, name: str) -> None:
    expiring = f"?token={token(ttl=2)}" if name == "token_expired" else ""
    await client.request(f"/{name}{expiring}", f"X-Request-Id: {name}")
    await client.head()
    await client.rest()


async def sends_too_much(client: RawClient, name: str) -> None:
    headers = ("Transfer-Encoding: chunked", f"X-Request-Id: {name}")
    await client.request(f"/{name}", *headers, method="POST")
    await client.head("POST")
    await client.send(chunk(b"12345"))
    await client.rest()


PLAYS: dict[str, Play] = {
    "complete": reads_on,
    "client_closed": leaves,
    "client_stalled": stalls,
    "upstream_closed": reads_on,
    "upstream_timeout": reads_on,
    "total_timeout": reads_on,
    "token_expired": reads_on,
    "refused": sends_too_much,
}


@pytest.mark.parametrize("reason", PLAYS)
async def test_a_stream_is_counted_once_by_why_it_ended_and_its_life_apart(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect, scrapes: Scrapes, reason: str
) -> None:
    upstream.script = streams
    client = await connect(gateway.port, receive_buffer=4096)
    await PLAYS[reason](client, reason)
    await gateway.request_line(request_id=reason)
    route = f"/{reason}"
    assert await scrapes.reported("gateway_streams_total", route=route) == {(reason,): 1}
    assert await scrapes.reported("gateway_stream_duration_seconds_count", route=route) == {(): 1}
    assert await scrapes.reported("gateway_first_byte_seconds_count", route=route) == {(): 1}
    assert await scrapes.reported("gateway_request_duration_seconds_count", route=route) == {}


# All of it


async def test_no_label_holds_a_path_a_query_or_a_token(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, scrapes: Scrapes
) -> None:
    upstream.script = answers(b"hello")
    secret = token(scope="jobs:read")
    await ended(gateway, client, f"/private/sesame?token={secret}")
    await ended(gateway, client, f"/nowhere/sesame?token={secret}")
    labels = str([sample.labels for sample in await scrapes.samples()])
    assert "/private/{id}" in labels
    assert not [word for word in ("sesame", "eyJ", "?", "nowhere") if word in labels]


async def test_it_says_which_file_is_served_and_how_often_one_was_read(scrapes: Scrapes) -> None:
    assert await scrapes.reported("gateway_config_reloads_total") == {
        ("success",): 1,
        ("failure",): 0,
    }
    [(digest,)] = await scrapes.reported("gateway_config_info")
    assert len(digest) == 64


async def test_the_public_port_shows_nothing(gateway: GatewayProcess, client: RawClient) -> None:
    got = await client.fetch("/metrics")
    assert (got.status, got.json()["code"]) == (404, "route_not_found")


async def test_two_scrapes_at_once_are_both_whole(scrapes: Scrapes) -> None:
    one, other = await asyncio.gather(scrapes.samples(), scrapes.samples())
    assert {sample.name for sample in one} == {sample.name for sample in other}
