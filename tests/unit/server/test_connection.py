"""A client's connection: its requests in turn, its faults, its pace and its end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from structlog.testing import capture_logs

from gateway.config.model import Limits
from gateway.http.own_response import OwnResponse
from gateway.server import connection
from gateway.server.connection import KEEPING, AlreadySent, ClientConnection, ParsedRequest
from gateway.server.server import Server
from tests.support.raw_client import RawClient
from tests.support.serving import (
    GET,
    PATIENCE,
    Served,
    browser,
    malformed,
    ok,
    running,
    said_to,
    serving,
    until,
)


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


async def test_a_fault_outside_the_handlers_own_care_is_a_500_that_reveals_nothing() -> None:
    def serve(request: ParsedRequest) -> Served:
        raise RuntimeError("eyJsecret")

    with capture_logs() as lines:
        async with serving(serve) as port:
            answered = await said_to(port, b"GET /?token=eyJsecret HTTP/1.1\r\nHost: h\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 500 ")
    assert b'"internal_error"' in answered
    assert b"eyJsecret" not in answered
    assert [line["code"] for line in lines if line["event"] == "request"] == ["internal_error"]
    assert "eyJsecret" not in str(lines)


async def test_a_fault_in_serving_itself_is_logged_and_closes_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_server: Server, _request: ParsedRequest) -> None:
        raise AttributeError("a fault of our own")

    monkeypatch.setattr(Server, "start", fail)
    with capture_logs() as lines:
        async with serving(ok) as port:
            client = await RawClient.connect(port)
            await client.send(GET)
            assert await client.closed() == b""
            client.close()
    [line] = [line for line in lines if line["event"] == "connection_failed"]
    assert (line["log_level"], line["client"], line["exc_info"]) == ("error", "127.0.0.1", True)


async def test_a_relayed_response_adds_nothing_to_the_wire() -> None:
    def serve(request: ParsedRequest) -> Served:
        request.connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")
        return AlreadySent(keep_alive=request.head.target == b"/first")

    async with serving(serve) as port:
        both = [b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % path for path in (b"first", b"last")]
        assert await said_to(port, b"".join(both)) == b"HTTP/1.1 204 No Content\r\n\r\n" * 2


class ConnectionListener:
    """A flow that records its calls."""

    def __init__(self) -> None:
        self.reported: list[str] = []

    def pause(self) -> None:
        self.reported.append("pause")

    def resume(self) -> None:
        self.reported.append("resume")

    def client_gone(self) -> None:
        self.reported.append("gone")

    def client_malformed(self) -> None:
        self.reported.append("malformed")


async def test_a_flow_is_called_when_the_client_takes_no_more_and_takes_again() -> None:
    flow = ConnectionListener()

    def serve(request: ParsedRequest) -> Served:
        browser = request.connection
        browser.pause_writing()
        browser.resume_writing()
        browser.listener = flow
        browser.pause_writing()
        browser.resume_writing()
        return OwnResponse(200, [])

    async with serving(serve) as port:
        assert b" 200 " in await said_to(port, b"GET / HTTP/1.0\r\n\r\n")
    assert flow.reported == ["pause", "resume", "gone"]


# Connections too many


async def test_a_connection_too_many_gets_503_and_makes_room_for_none() -> None:
    full = Limits(max_connections=2)
    with capture_logs() as lines:
        async with serving(ok, full) as port, browser(port) as one, browser(port) as other:
            await asked(one)
            await asked(other)
            for _ in range(3):
                async with browser(port) as third:
                    assert await asked(third) == 503
                    await third.closed()
            assert await asked(one) == 200
            other.close()
            await until_served(port)
    codes = [line.get("code") for line in lines if line["event"] == "request"]
    assert set(codes) == {"too_many_connections"}


async def asked(client: RawClient) -> int:
    await client.send(GET)
    status = (await client.head()).status
    await client.rest()
    return status


async def until_served(port: int) -> None:
    """Wait until there is room: the server learns in its own time that a browser left."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with browser(port) as client:
                if await asked(client) == 200:
                    return


# A browser that does not read


async def sent_for_ever(client: RawClient) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            await client.send(GET * 100)


async def test_a_browser_that_pipelines_and_never_reads_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "SEND_TIMEOUT", 0.1)
    transports: set[asyncio.Transport | None] = set()

    def serve(request: ParsedRequest) -> Served:
        transports.add(request.connection.transport)
        request.connection.send(OwnResponse(200, [], b"x" * 100_000).to_bytes(is_last=False))
        return KEEPING

    async with serving(serve) as port, browser(port, receive_buffer=4096) as client:
        with pytest.raises(ConnectionError):
            await sent_for_ever(client)
    assert len(transports) == 1


class Held:
    """A server whose only request stays under way, with a flow that records its calls."""

    browser: ClientConnection

    def __init__(self) -> None:
        self.listener = ConnectionListener()
        self.has_begun = asyncio.Event()
        self.is_over = asyncio.Event()

    async def handle(self, arrival: ParsedRequest) -> Served:
        self.client = arrival.connection
        self.client.listener = self.listener
        self.has_begun.set()
        try:
            await asyncio.get_running_loop().create_future()
            raise AssertionError("a future that nobody sets was set")
        finally:
            self.client.listener = None
            self.is_over.set()

    async def over(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.is_over.wait()


@asynccontextmanager
async def holding(request: bytes = GET) -> AsyncIterator[tuple[Held, RawClient]]:
    """A request under way, and its browser."""
    held = Held()
    async with (
        running(Server(held.handle), 0.1) as port,
        browser(port, receive_buffer=4096) as client,
    ):
        await client.send(request)
        async with asyncio.timeout(PATIENCE):
            await held.has_begun.wait()
        yield held, client


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_browser_that_leaves_behind_requests_that_nobody_reads_ends_the_exchange(
    how: str,
) -> None:
    async with holding() as (held, client):
        with suppress(ConnectionError):
            await client.send(GET * 5000)
        await until(lambda: bool(held.client._serving.disconnects._watched))
        client.close() if how == "close" else client.reset()
        await held.over()


async def test_who_is_read_from_again_is_heard_by_the_event_loop_alone() -> None:
    async with holding() as (held, client):
        held.client.hold()
        held.client.unhold()
        assert not held.client._serving.disconnects._watched
        client.close()
        await held.over()


async def test_a_stalled_browser_that_half_closes_is_reset() -> None:
    async with holding() as (held, client):
        held.client.send(b"x" * (16 << 20))
        assert held.listener.reported == ["pause"]
        client.half_close()
        await held.over()
        assert held.client.unsent() == 0


@pytest.mark.parametrize(
    "start", [b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked", GET]
)
async def test_nonsense_behind_a_request_under_way_is_reported_once(start: bytes) -> None:
    async with holding(start.removesuffix(b"\r\n\r\n") + b"\r\n\r\n") as (held, client):
        for _ in range(3):
            await client.send(b"\x01\x02\r\n")
        await until(lambda: bool(held.listener.reported))
        assert set(held.listener.reported) == {"malformed"}


async def test_a_request_that_waits_its_turn_is_no_nonsense() -> None:
    async with holding() as (held, client):
        await client.send(GET)
        await until(lambda: held.client._following is not None)
        assert held.listener.reported == []


async def test_a_connection_that_is_gone_takes_every_call_in_peace() -> None:
    async with holding() as (held, client):
        client.reset()
        await held.over()
        await until(lambda: held.client.transport is None)
        held.client.send(b"x")
        held.client.reset()
        held.client.writer.write(b"x")
        held.client.writer.writelines([b"x", b"y"])
        assert held.client.is_flushed()
        assert held.client.unsent() == 0
