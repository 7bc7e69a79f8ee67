"""The server speaks as the gateway does where aiohttp would speak for itself."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from gateway.accept import BrowserConnection, Relayed, Server, remote_of
from gateway.account import EndReason, Exchange
from gateway.answer import answer
from gateway.errors import (
    INTERNAL_ERROR,
    TOKEN_MISSING,
    UPSTREAM_BAD_RESPONSE,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNREACHABLE,
    Failure,
    Refusal,
)

PATIENCE = 10.0
Serve = Callable[[web.BaseRequest], web.StreamResponse]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[int]:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        return serve(request)

    runner = web.ServerRunner(Server(handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def said_to(port: int, data: bytes) -> bytes:
    """All that comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(PATIENCE):
        writer.write(data)
        answered = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answered


def exchange() -> Exchange:
    return Exchange("GET", "/", "id-1", "", "10.0.0.9")


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (TOKEN_MISSING, EndReason.REFUSED),
        (UPSTREAM_UNREACHABLE, EndReason.ERROR),
        (UPSTREAM_BAD_RESPONSE, EndReason.ERROR),
        (UPSTREAM_TIMEOUT, EndReason.UPSTREAM_TIMEOUT),
        (INTERNAL_ERROR, EndReason.ERROR),
    ],
)
def test_a_refusal_leaves_its_trace_in_the_record(failure: Failure, reason: EndReason) -> None:
    refused = exchange()
    answer(Refusal(failure, reason="for the log"), refused)
    assert (refused.status, refused.code, refused.error, refused.end_reason) == (
        failure.status,
        failure.code,
        "for the log",
        reason,
    )


def test_an_end_that_was_told_before_the_answer_stands() -> None:
    refused = exchange()
    refused.end(EndReason.TOTAL_TIMEOUT)
    answer(Refusal(UPSTREAM_TIMEOUT), refused)
    assert refused.end_reason is EndReason.TOTAL_TIMEOUT


def test_an_answer_carries_the_headers_of_its_kind_and_of_its_request() -> None:
    response = answer(Refusal(TOKEN_MISSING, headers=(("X-More", "1"),)), exchange())
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert response.headers["X-More"] == "1"
    assert response.headers["X-Request-Id"] == "id-1"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.content_type == "application/problem+json"


def malformed(request: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError(request)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET / HTTP/1.1\r\nX\r\n\r\n", "bad_request"),
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * 300 + b"\r\n", "headers_too_large"),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n\r\n", "headers_too_large"),
    ],
)
async def test_what_the_parser_refuses_is_a_problem_with_a_line_of_its_own(
    data: bytes, code: str
) -> None:
    with capture_logs() as lines:
        async with serving(malformed) as port:
            head, _, body = (await said_to(port, data)).partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert problem["code"] == code
    assert problem["request_id"].encode() in head
    [line] = [line for line in lines if line["event"] == "request"]
    assert (line["code"], line["request_id"]) == (code, problem["request_id"])
    assert (line["client"], line["end_reason"]) == ("127.0.0.1", "refused")


async def test_a_fault_outside_the_handlers_own_care_is_a_500_that_tells_nothing() -> None:
    def serve(request: web.BaseRequest) -> web.StreamResponse:
        raise RuntimeError("eyJsecret")

    with capture_logs() as lines:
        async with serving(serve) as port:
            answered = await said_to(port, b"GET /?token=eyJsecret HTTP/1.1\r\nHost: h\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 500 ")
    assert b'"internal_error"' in answered
    assert b"eyJsecret" not in answered
    assert [line["code"] for line in lines if line["event"] == "request"] == ["internal_error"]
    assert "eyJsecret" not in str(lines)


async def test_a_relayed_response_adds_nothing_to_the_wire() -> None:
    def serve(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        return Relayed(keep_alive=request.path == "/first")

    async with serving(serve) as port:
        both = [b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % path for path in (b"first", b"last")]
        assert await said_to(port, b"".join(both)) == b"HTTP/1.1 204 No Content\r\n\r\n" * 2


class Flow:
    """A flow that counts what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def malformed(self) -> None:
        self.told.append("malformed")


async def test_a_flow_is_told_when_the_browser_takes_no_more_and_takes_again() -> None:
    flow = Flow()

    def serve(request: web.BaseRequest) -> web.StreamResponse:
        browser = request.protocol
        assert isinstance(browser, BrowserConnection)
        browser.pause_writing()
        browser.resume_writing()
        browser.flow = flow
        browser.pause_writing()
        browser.resume_writing()
        return web.Response(headers={"Connection": "close"})

    async with serving(serve) as port:
        assert b" 200 " in await said_to(port, b"GET / HTTP/1.0\r\n\r\n")
    assert flow.told == ["pause", "resume"]


async def test_a_connection_that_is_gone_has_no_address() -> None:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError(request)

    assert remote_of(Server(handle)()) == ""
