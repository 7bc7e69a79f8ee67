"""What a route makes of a request: the head for its service, and the pipe for the response."""

from dataclasses import replace

import pytest

from gateway.auth.authenticator import Identity
from gateway.auth.cors import CorsPolicy
from gateway.auth.credentials import TokenSource
from gateway.config.loader import loads
from gateway.config.model import Auth, Route
from gateway.proxy.compiled_route import CompiledRoute
from gateway.proxy.router import Match
from gateway.upstream.load_balancer import LoadBalancer
from gateway.upstream.registry import UpstreamRegistry
from tests.support.receiving import Received

ROUTES = """\
- path: /jobs/{id}
  proxy_upstream: http://service:9000/base
  request_headers: {set: {X-Route: jobs}, remove: [X-Gone]}
  cors: {origins: ["https://page.example"]}
  stream: {transient_errors: retry}
- path: /plain
  proxy_upstream: http://service
  preserve_host: true
  auth_required: false
"""
AUTH = Auth(secret="0123456789abcdef0123456789abcdef")
EVENTS = "Accept: text/event-stream"
IDENTITY = Identity("u-1", frozenset(), 1e10, TokenSource.QUERY, ((b"X-User-Id", b"u-1"),))


@pytest.fixture
def routes() -> tuple[Route, Route]:
    jobs, plain = loads(ROUTES, {"GATEWAY_JWT_SECRET": "0123456789abcdef0123456789abcdef"}).routes
    return jobs, plain


def prepared(route: Route) -> CompiledRoute:
    policy = CorsPolicy(route.cors) if route.cors is not None else None
    return CompiledRoute(route, AUTH, policy, LoadBalancer.of(route, UpstreamRegistry()))


def get(target: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: h", *headers, "", ""]).encode()


async def test_the_service_sees_the_request_less_its_token_and_under_the_routes_rules(
    routes: tuple[Route, Route], received: Received
) -> None:
    incoming = await received(
        get("/jobs/7?token=t&a=%20", "X-Gone: 1", "X-Kept: 2", "Cookie: a=b; gateway_token=t")
    )
    match = Match(routes[0], incoming.path)
    head = prepared(routes[0]).request_head(incoming, match, IDENTITY)
    line, *headers = head.to(b"/base", b"service:9000").split(b"\r\n")
    assert line == b"GET /base/jobs/7?a=%20 HTTP/1.1"
    assert headers[0] == b"Host: service:9000"
    assert {b"X-Kept: 2", b"Cookie: a=b", b"X-User-Id: u-1", b"X-Route: jobs"} <= set(headers)
    assert not any(header.startswith(b"X-Gone") for header in headers)


async def test_the_host_is_the_clients_where_the_route_says_so(
    routes: tuple[Route, Route], received: Received
) -> None:
    incoming = await received(get("/plain"))
    match = Match(routes[1], incoming.path)
    head = prepared(routes[1]).request_head(incoming, match, None)
    assert head.to(b"", b"service").startswith(b"GET /plain HTTP/1.1\r\nHost: h\r\n")


async def test_a_request_is_met_with_what_its_refusals_need(
    routes: tuple[Route, Route], received: Received
) -> None:
    incoming = await received(get("/jobs/7", EVENTS, "Origin: https://page.example"))
    prepared(routes[0]).apply_error_format(incoming)
    assert incoming.wants_retry
    assert incoming.access is not None
    prepared(routes[1]).apply_error_format(incoming)
    assert incoming.access is None


async def test_an_event_source_alone_is_asked_to_reconnect(
    routes: tuple[Route, Route], received: Received
) -> None:
    incoming = await received(get("/jobs/7"))
    prepared(routes[0]).apply_error_format(incoming)
    assert not incoming.wants_retry
    incoming = await received(get("/jobs/7", EVENTS))
    prepared(replace(routes[0], stream=routes[1].stream)).apply_error_format(incoming)
    assert not incoming.wants_retry
