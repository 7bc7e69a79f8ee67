"""What the service sees, and what the browser sees of the service."""

import re
import socket
import ssl
from pathlib import Path

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import RawClient
from tests.support.routes import TRUSTED, Places, port_of
from tests.support.upstream import Upstream, answers
from tests.wire.conftest import Connect

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_hop_by_hop_headers_stop_here_on_the_way_up(
    upstream: Upstream, client: RawClient
) -> None:
    await client.fetch(
        "/open/x",
        "Connection: keep-alive, X-Private",
        "Keep-Alive: timeout=5",
        "X-Private: 1",
        "Proxy-Authorization: Basic eDp5",
        "Proxy-Connection: keep-alive",
        "TE: trailers",
        "Upgrade: h2c",
        "X-Public: 1",
    )
    names = upstream.request.names()
    stopped = {"keep-alive", "x-private", "proxy-authorization", "proxy-connection", "upgrade"}
    assert not stopped & names
    assert "x-public" in names


@pytest.mark.parametrize(
    "name", ["Transfer_Encoding", "TRANSFER_ENCODING", "Content_Length", "X_Forwarded_For"]
)
async def test_a_header_that_a_service_could_take_for_framing_stops_here(
    upstream: Upstream, client: RawClient, name: str
) -> None:
    await client.fetch("/open/x", f"{name}: chunked")
    stopped = {"transfer_encoding", "content_length", "x_forwarded_for"}
    assert not stopped & upstream.request.names()


async def test_hop_by_hop_headers_stop_here_on_the_way_down(
    upstream: Upstream, client: RawClient
) -> None:
    upstream.script = answers(
        b"x", "Connection: X-Private", "X-Private: 1", "Keep-Alive: timeout=5", "X-Public: 1"
    )
    got = await client.fetch("/open/x")
    assert not got.values("X-Private") + got.values("Keep-Alive") + got.values("Connection")
    assert got.value("X-Public") == "1"


async def test_connection_cannot_name_away_what_the_gateway_says(
    upstream: Upstream, client: RawClient
) -> None:
    await client.fetch("/open/x", "Connection: X-Forwarded-For, X-Request-Id, Host, close")
    assert upstream.request.value("X-Forwarded-For") == "127.0.0.1"
    assert upstream.request.value("X-Request-Id")
    assert upstream.request.value("Host")


async def test_nothing_is_added_that_nobody_asked_for(
    upstream: Upstream, client: RawClient
) -> None:
    await client.fetch("/open/x")
    known = {"host", "x-request-id", "traceparent", "connection"}
    forwarded = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
    assert upstream.request.names() <= known | forwarded
    assert forwarded <= upstream.request.names()


async def test_request_headers_keep_number_order_case_and_bytes(
    upstream: Upstream, client: RawClient
) -> None:
    sent = ["x-b: 1", "X-A: 2", "x-b: 3", "X-Latin: caf\xe9", "ACCEPT: */*", "X-Empty:"]
    await client.fetch("/open/x", *sent)
    fields = [(name, value) for name, value in upstream.request.headers]
    expected = [
        (name.encode("latin-1"), value.strip().encode("latin-1"))
        for name, _, value in (line.partition(":") for line in sent)
    ]
    assert [field for field in fields if field in expected] == expected


async def test_an_untrusted_peer_cannot_say_where_it_comes_from(
    upstream: Upstream, client: RawClient
) -> None:
    await client.fetch(
        "/open/x",
        "X-Forwarded-For: 1.2.3.4",
        "X-Forwarded-For: 5.6.7.8",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.test",
    )
    assert upstream.request.value("X-Forwarded-For") == "127.0.0.1"
    assert upstream.request.value("X-Forwarded-Proto") == "http"
    assert upstream.request.value("X-Forwarded-Host") == "gateway.test"


async def test_a_trusted_proxy_is_believed(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect
) -> None:
    client = await connect(source=TRUSTED)
    await client.fetch(
        "/open/x",
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: public.test",
        "X-Request-Id: trusted-1",
    )
    assert upstream.request.value("X-Forwarded-For") == f"203.0.113.9, {TRUSTED}"
    assert upstream.request.value("X-Forwarded-Proto") == "https"
    assert upstream.request.value("X-Forwarded-Host") == "public.test"
    line = await gateway.request_line(request_id="trusted-1")
    assert line["client"] == "203.0.113.9"


async def test_a_request_id_is_made_forwarded_and_logged(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient
) -> None:
    got = await client.fetch("/open/x")
    request_id = upstream.request.value("X-Request-Id")
    assert request_id
    assert got.value("X-Request-Id") == request_id
    await gateway.request_line(request_id=request_id)


async def test_a_request_id_is_passed_on(upstream: Upstream, client: RawClient) -> None:
    got = await client.fetch("/open/x", "X-Request-Id: from-the-page-1")
    assert upstream.request.value("X-Request-Id") == "from-the-page-1"
    assert got.value("X-Request-Id") == "from-the-page-1"


async def test_a_trace_is_carried_on(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient
) -> None:
    await client.fetch("/open/x", f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01")
    assert (upstream.request.value("traceparent") or "").startswith(f"00-{TRACE}-")
    await gateway.request_line(trace_id=TRACE)


async def test_the_state_of_a_trace_goes_on_with_it(upstream: Upstream, client: RawClient) -> None:
    states = ("tracestate: a=1,b=2", "tracestate: c=3")
    await client.fetch("/open/x", f"traceparent: 00-{TRACE}-00f067aa0ba902b7-01", *states)
    assert upstream.request.values("tracestate") == ["a=1,b=2", "c=3"]


@pytest.mark.parametrize("given", [[], ["traceparent: nonsense"]])
async def test_the_state_of_a_trace_ends_where_another_trace_begins(
    upstream: Upstream, client: RawClient, given: list[str]
) -> None:
    await client.fetch("/open/x", "tracestate: a=1", *given)
    assert upstream.request.values("tracestate") == []


@pytest.mark.parametrize("given", [[], ["traceparent: nonsense"], [f"traceparent: 00-{'0' * 32}"]])
async def test_a_trace_begins_where_none_came(
    upstream: Upstream, client: RawClient, given: list[str]
) -> None:
    await client.fetch("/open/x", *given)
    made = upstream.request.value("traceparent") or ""
    assert re.fullmatch(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", made)


async def test_the_service_is_asked_by_its_own_name(
    upstream: Upstream, client: RawClient, places: Places
) -> None:
    await client.fetch("/open/x")
    assert upstream.request.value("Host") == f"127.0.0.1:{port_of(places.service)}"


async def test_the_browsers_host_is_kept_where_the_route_says_so(
    upstream: Upstream, client: RawClient
) -> None:
    await client.fetch("/same-host/x")
    assert upstream.request.value("Host") == "gateway.test"


async def test_where_no_host_came_to_be_kept_the_service_is_asked_by_its_own_name(
    upstream: Upstream, client: RawClient, places: Places
) -> None:
    await client.send(b"GET /same-host/x HTTP/1.0\r\n\r\n")
    assert (await client.head()).status == 200
    assert upstream.request.value("Host") == f"127.0.0.1:{port_of(places.service)}"


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ("/open/a%2Fb//c?x=1&x=%2F", "/open/a%2Fb//c?x=1&x=%2F"),
        ("/open/?", "/open/?"),
        ("/open/x?a?b", "/open/x?a?b"),
        ("/base/a%20b?q", "/service/v1/base/a%20b?q"),
        ("/stripped/a%2Fb?q=1", "/a%2Fb?q=1"),
        ("/stripped/", "/"),
        ("/rewritten/7/a/b%20c?q=1", "/v2/a/b%20c/of/7?q=1"),
        ("/jobs/mine/stream", "/literal"),
        ("/jobs/other/stream", "/jobs/other/stream"),
    ],
)
async def test_the_path_goes_up_as_the_route_says(
    upstream: Upstream, client: RawClient, asked: str, seen: str
) -> None:
    assert (await client.fetch(asked)).status == 200
    assert upstream.request.target == seen


async def test_header_rules_hold_both_ways(upstream: Upstream, client: RawClient) -> None:
    upstream.script = answers(b"x", "Server: secret/1.0", "X-Frame-Options: ALLOW", "X-Kept: 1")
    got = await client.fetch("/rules/x", "x-set: by the page", "x-unwanted: 1", "X-Kept: 1")
    assert upstream.request.value("X-Set") == "by the gateway"
    assert upstream.request.value("X-Unwanted") is None
    assert upstream.request.value("X-Kept") == got.value("X-Kept") == "1"
    assert got.value("X-Frame-Options") == "DENY"
    assert got.value("Server") is None


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect"])
async def test_redirects_are_the_browsers_to_follow(
    upstream: Upstream, client: RawClient, status: str
) -> None:
    upstream.script = answers(b"", "Location: /elsewhere?x=1", status=status)
    got = await client.fetch("/open/x")
    assert got.status == int(status[:3])
    assert got.value("Location") == "/elsewhere?x=1"
    assert len(upstream.requests) == 1


async def test_no_cookie_is_kept_between_requests(upstream: Upstream, client: RawClient) -> None:
    upstream.script = answers(b"", "Set-Cookie: session=of-somebody; Path=/")
    await client.fetch("/open/x")
    await client.fetch("/open/x")
    assert [request.value("Cookie") for request in upstream.requests] == [None, None]


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("text/event-stream", "identity"),
        ("text/html, Text/Event-Stream;q=0.5", "identity"),
        ("*/*", "gzip, br"),
        ("text/event-streams", "gzip, br"),
    ],
)
async def test_event_streams_are_asked_for_without_compression(
    upstream: Upstream, client: RawClient, accept: str, encoding: str
) -> None:
    await client.fetch("/open/x", f"Accept: {accept}", "Accept-Encoding: gzip, br")
    assert upstream.request.value("Accept-Encoding") == encoding


async def test_a_unix_socket_is_an_upstream(places: Places, client: RawClient) -> None:
    places.unix.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(places.unix))
    listener.listen()
    upstream = Upstream()
    upstream.start(listener)
    got = await client.fetch("/unix/a%2Fb?x=1")
    await upstream.stop()
    assert got.status == 200
    assert upstream.request.target == "/unix/a%2Fb?x=1"
    assert upstream.request.value("Host") == "localhost"


async def test_a_missing_unix_socket_is_a_502(places: Places, client: RawClient) -> None:
    places.unix.unlink(missing_ok=True)
    got = await client.fetch("/unix/x")
    assert (got.status, got.json()["code"]) == (502, "upstream_unreachable")
    assert str(places.unix).encode() not in got.body


async def test_a_tls_upstream_is_asked_and_its_name_checked(
    places: Places, tls: tuple[Path, ssl.SSLContext], client: RawClient
) -> None:
    upstream = Upstream()
    upstream.start(places.tls.dup(), tls[1])
    got = await client.fetch("/tls/x")
    await upstream.stop()
    assert got.status == 200
    assert upstream.request.value("Host") == f"localhost:{port_of(places.tls)}"
    assert upstream.request.value("X-Forwarded-Proto") == "http"


async def test_a_tls_upstream_with_another_name_is_a_502(
    places: Places, tls: tuple[Path, ssl.SSLContext], client: RawClient
) -> None:
    upstream = Upstream()
    upstream.start(places.tls.dup(), tls[1])
    got = await client.fetch("/tls-misnamed/x")
    await upstream.stop()
    assert (got.status, got.json()["code"]) == (502, "upstream_unreachable")
    assert upstream.requests == []
