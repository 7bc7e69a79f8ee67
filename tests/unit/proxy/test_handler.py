"""The path of a request as a whole: one ending each, also where the gateway itself is at fault."""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any

import jwt
import pytest
from structlog.testing import capture_logs

from gateway.auth.service import AuthService
from gateway.config.model import RESERVED_PATHS, Auth, Config, Kind, Route, Segment
from gateway.config.model import Upstream as Candidate
from gateway.endpoints.health import HealthEndpoint
from gateway.http.own_response import OwnResponse
from gateway.limits.registry import QuotaRegistry
from gateway.proxy.active_exchanges import ActiveExchanges
from gateway.proxy.handler import Handler
from gateway.proxy.routes import Routes
from gateway.server.server import Server
from gateway.upstream.connection import Connection
from gateway.upstream.pool import Pool
from gateway.upstream.registry import UpstreamRegistry
from tests.support.raw_client import Ending, Response
from tests.support.serving import browser, running
from tests.support.upstream import EVENT_STREAM, Exchange, Upstream, answers, chunk

SECRET = "a secret of thirty-two bytes, yes"
Ask = Callable[..., Awaitable[Response]]
Line = MutableMapping[str, Any]


class Faulty(UpstreamRegistry):
    """Pools with a fault of the gateway's own, before or after the response."""

    def __init__(self, *, is_late: bool) -> None:
        super().__init__()
        self._is_late = is_late

    def pool(self, upstream: Candidate) -> Pool:
        return (LateFault if self._is_late else EarlyFault)(upstream, None)


class EarlyFault(Pool):
    def take_idle(self) -> Connection | None:
        raise RuntimeError("a fault of our own, with eyJsecret in it")


class LateFault(Pool):
    def release(self, connection: Connection) -> None:
        super().release(connection)
        raise RuntimeError("a fault of our own")


@pytest.fixture
def lines() -> list[Line]:
    """The lines that were logged for requests."""
    return []


@pytest.fixture
def ask(service: Upstream, lines: list[Line]) -> Ask:
    """Send one request to a handler of its own, and give the whole response."""

    async def ask_once(
        target: str = "/open",
        *headers: str,
        upstreams: UpstreamRegistry | None = None,
        method: str = "GET",
        body: bytes = b"",
    ) -> Response:
        place = Candidate("", "http", "127.0.0.1", service.port)
        routes = tuple(
            Route(f"/{name}", (Segment(Kind.LITERAL, name),), place, auth_required=name != "open")
            for name in ("open", "private")
        )
        pools = upstreams or UpstreamRegistry()
        config = Config(routes, Auth(secret=SECRET))
        routes_of = Routes(config, pools, QuotaRegistry(None))
        endpoints = {path: HealthEndpoint(partial(health, path)) for path in RESERVED_PATHS}
        handler = Handler(routes_of, endpoints, AuthService(config), ActiveExchanges())
        head = "\r\n".join([f"{method} {target} HTTP/1.1", "Host: h", *headers, "", ""])
        try:
            with capture_logs() as captured:
                async with running(Server(handler), 0.1) as port, browser(port) as client:
                    await client.send(head.encode() + body)
                    await client.head(method)
                    response = await client.rest()
            lines.extend(captured)
        finally:
            pools.close()
        return response

    return ask_once


def health(path: str) -> OwnResponse:
    return OwnResponse(200, [], f"health at {path}".encode())


def token() -> str:
    return jwt.encode({"sub": "ada", "exp": int(time.time()) + 60}, SECRET)


def requests(lines: list[Line]) -> list[Line]:
    return [line for line in lines if line["event"] == "request"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_the_reserved_paths_are_answered_without_a_line(
    ask: Ask, lines: list[Line], path: str
) -> None:
    assert (await ask(f"{path}?any")).body == f"health at {path}".encode()
    assert requests(lines) == []


async def test_a_fault_of_our_own_before_the_head_is_a_500_and_is_logged_whole(
    ask: Ask, lines: list[Line]
) -> None:
    response = await ask(upstreams=Faulty(is_late=False))
    assert (response.status, response.json()["code"]) == (500, "internal_error")
    assert b"fault of our own" not in response.body
    [line] = requests(lines)
    assert (line["status"], line["end_reason"]) == (500, "error")
    [reported] = [line for line in lines if line["event"] == "internal_error"]
    assert reported["exc_info"]
    assert reported["request_id"] == line["request_id"]


async def test_a_fault_of_our_own_after_the_head_is_a_cut(
    ask: Ask, lines: list[Line], service: Upstream
) -> None:
    async def half(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
        exchange.finish()

    service.script = half
    response = await ask(upstreams=Faulty(is_late=True))
    assert (response.status, response.ending is Ending.CLEAN) == (200, False)
    [line] = requests(lines)
    assert (line["status"], line["end_reason"]) == (200, "upstream_closed")
    assert [line["log_level"] for line in lines if line["event"] == "internal_error"] == ["error"]


@pytest.mark.parametrize(
    "target", ["/private?a#&token=", "/private?a=1&b=#x&token=", "/open#?token=", "/open?token=#"]
)
async def test_a_hash_in_the_target_is_a_400_and_carries_no_token_on(
    ask: Ask, lines: list[Line], service: Upstream, target: str
) -> None:
    """A request target has no fragment (RFC 9112 3.2): readers differ on where the query ends."""
    secret = token()
    response = await ask(target + secret)
    assert (response.status, response.json()["code"]) == (400, "bad_request")
    assert service.requests == []
    assert secret not in str(lines)


async def test_a_token_is_taken_from_an_open_route_too(ask: Ask, service: Upstream) -> None:
    await ask(f"/open?token={token()}&a=1", f"Cookie: gateway_token={token()}")
    [request] = service.requests
    assert request.target == "/open?a=1"
    assert request.value("Cookie") is None


async def test_the_subject_of_a_token_that_was_verified_is_logged(
    ask: Ask, lines: list[Line]
) -> None:
    await ask(f"/private?token={token()}")
    [line] = requests(lines)
    assert (line["subject"], line["route"], line["path"]) == ("ada", "/private", "/private")


async def test_a_coding_that_no_service_could_read_is_a_400(ask: Ask, service: Upstream) -> None:
    response = await ask(
        "/open", "Transfer-Encoding: gzip, chunked", method="POST", body=b"0\r\n\r\n"
    )
    assert (response.status, response.json()["code"]) == (400, "bad_request")
    assert service.requests == []


async def test_each_exchange_has_one_line(ask: Ask, lines: list[Line], service: Upstream) -> None:
    service.script = answers(b"hello")
    await ask()
    [line] = requests(lines)
    assert (line["status"], line["bytes_out"], line["end_reason"]) == (200, 5, "complete")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (("Content-Length: 5",), b"ab"),
        (("Transfer-Encoding: chunked",), b"2\r\nab\r\n"),
        (("Content-Length: 5", "Expect: 100-continue"), b""),
    ],
)
async def test_a_refusal_while_a_body_is_owed_is_the_last_of_its_connection(
    ask: Ask, headers: tuple[str, ...], body: bytes
) -> None:
    response = await ask("/private", *headers, method="POST", body=body)
    assert (response.status, response.value("Connection")) == (401, "close")


async def test_a_refusal_of_a_whole_request_leaves_the_connection_to_the_next(ask: Ask) -> None:
    response = await ask("/private", "Content-Length: 2", method="POST", body=b"hi")
    assert (response.status, response.value("Connection")) == (401, None)
