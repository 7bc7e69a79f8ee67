"""A WebSocket ends once, when both sides have, and its end is put down to who made it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from gateway.config.model import Timeouts
from gateway.http.header_edits import Edits
from gateway.http.message_heads import Reply
from gateway.http.own_response import OwnResponse
from gateway.http.problem import problem_response
from gateway.proxy.websocket_tunnel import LINGER, WebSocketTunnel
from gateway.server.connection import CLOSING, AlreadySent, ParsedRequest
from gateway.server.server import Server
from gateway.telemetry.exchange import EndReason, Exchange
from gateway.upstream.connection import Connection
from tests.support import upstream
from tests.support.raw_client import RawClient
from tests.support.serving import running
from tests.support.stage import PATIENCE, UNBOUNDED
from tests.support.upstream import Upstream

SWITCH = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
HANDSHAKE = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
HELLO = b"\x81\x05hello"
CLOSE = b"\x88\x02\x03\xe8"
SOON = 0.2  # seconds


class Stage:
    """A tunnel between a real browser's connection and a real service's."""

    tunnel: WebSocketTunnel
    connection: Connection

    def __init__(self, service: Upstream, timeouts: Timeouts, linger: float) -> None:
        self.exchange = Exchange("GET", "/", "id-1", "", "")
        self.is_over = asyncio.Event()
        self._service, self._timeouts, self._linger = service, timeouts, linger

    async def handle(self, arrival: ParsedRequest) -> OwnResponse | AlreadySent:
        browser = arrival.connection
        assert browser.may_switch
        reply = Reply(True, False, False, False, "id-1", Edits.of())
        tunnel = WebSocketTunnel(browser, self.exchange, reply, self._timeouts, self._linger)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, "127.0.0.1", self._service.port)
        self.tunnel, self.connection = tunnel, connection
        ended = tunnel.attach(connection, is_repeatable=False)
        connection.start(HANDSHAKE, tunnel, is_head=False, has_body=False)
        try:
            await ended
        except asyncio.CancelledError:
            self.exchange.end(EndReason.CLIENT_CLOSED)
            raise
        finally:
            tunnel.close()
            connection.abort()
            self.is_over.set()
        if tunnel.rejection is None:
            return CLOSING
        self.exchange.reject(tunnel.rejection)
        return problem_response(tunnel.rejection, "id-1")

    async def ending(self) -> EndReason | None:
        async with asyncio.timeout(PATIENCE):
            await self.is_over.wait()
        return self.exchange.end_reason


Open = Callable[..., Awaitable[tuple[Stage, RawClient]]]


@pytest.fixture
async def open_tunnel(service: Upstream) -> AsyncIterator[Open]:
    """Opens a tunnel to the service, up to its handshake."""
    clients: list[RawClient] = []

    async def open_tunnel(
        timeouts: Timeouts = UNBOUNDED, linger: float = LINGER, *, early: bytes = b""
    ) -> tuple[Stage, RawClient]:
        stage = Stage(service, timeouts, linger)
        port = await servers.enter_async_context(running(Server(stage.handle), 0.1))
        client = await RawClient.connect(port)
        clients.append(client)
        await client.send(HANDSHAKE + early)
        return stage, client

    async with AsyncExitStack() as servers:
        yield open_tunnel
        for client in clients:
            client.close()


def says(*words: bytes) -> upstream.Script:
    """A script: switch, say this, and read on until the other side ends."""

    async def script(exchange: upstream.Exchange) -> None:
        await exchange.send(b"".join([SWITCH, *words]))
        await exchange.until_gone()

    return script


async def test_bytes_pass_both_ways_and_are_counted(service: Upstream, open_tunnel: Open) -> None:
    body = bytes(8 * 1024 * 1024)  # more than is taken at once
    message = b"\x82\x7f" + len(body).to_bytes(8, "big") + body

    async def script(exchange: upstream.Exchange) -> None:
        await exchange.send(SWITCH)
        while data := await exchange.read_some():
            await exchange.send(data)
        await exchange.send(CLOSE)
        exchange.finish()

    service.script = script
    stage, client = await open_tunnel(replace(UNBOUNDED, send=60.0))
    assert (await client.next_head()).status == 101
    sending = asyncio.create_task(client.send(message))
    assert await client.raw(len(message)) == message
    await sending
    client.half_close()
    assert await client.closed() == CLOSE
    assert await stage.ending() is EndReason.COMPLETE
    exchange = stage.exchange
    assert (exchange.bytes_in, exchange.bytes_out) == (len(message), len(message) + len(CLOSE))
    assert exchange.is_stream


@pytest.mark.parametrize("size", [1, 200_000])  # the latter is more than is kept unread
async def test_what_came_with_the_handshake_waits_for_the_answer(
    service: Upstream, open_tunnel: Open, size: int
) -> None:
    go_on = asyncio.Event()

    async def script(exchange: upstream.Exchange) -> None:
        await go_on.wait()
        await exchange.send(SWITCH)
        while len(exchange.request.body) < size + 1:
            await exchange.read_some()
        await exchange.send(CLOSE)
        exchange.finish()

    service.script = script
    stage, client = await open_tunnel(early=bytes(size))
    exchange = await service.exchange()
    go_on.set()
    await client.next_head()
    await client.send(b"x")
    assert await client.closed() == CLOSE
    client.close()
    assert exchange.request.body == bytes(size) + b"x"
    assert await stage.ending() is EndReason.COMPLETE


@pytest.mark.parametrize(
    ("first", "words", "reason"),
    [
        ("service", HELLO, EndReason.UPSTREAM_CLOSED),
        ("service", CLOSE, EndReason.COMPLETE),
        ("browser", HELLO, EndReason.CLIENT_CLOSED),
        ("browser", CLOSE, EndReason.COMPLETE),
    ],
)
async def test_a_side_that_does_not_end_after_the_other_did_is_not_waited_for(
    service: Upstream, open_tunnel: Open, first: str, words: bytes, reason: EndReason
) -> None:
    async def script(exchange: upstream.Exchange) -> None:
        await exchange.send(SWITCH + words)
        if first == "service":
            exchange.finish()
        else:
            await exchange.gone_at()

    service.script = script
    stage, client = await open_tunnel(linger=SOON)
    await client.next_head()
    if first == "browser":
        client.half_close()
    assert await client.closed() == words
    assert await stage.ending() is reason
    (await service.exchange()).note_gone()


@pytest.mark.parametrize(
    ("words", "reason"), [(HELLO, EndReason.CLIENT_CLOSED), (CLOSE, EndReason.COMPLETE)]
)
async def test_a_browser_may_leave_once_the_service_has_closed(
    service: Upstream, open_tunnel: Open, words: bytes, reason: EndReason
) -> None:
    service.script = says(words)
    stage, client = await open_tunnel()
    await client.next_head()
    assert await client.raw(len(words)) == words
    client.reset()
    assert await stage.ending() is reason


@pytest.mark.parametrize(
    ("words", "reason"), [(HELLO, EndReason.UPSTREAM_CLOSED), (CLOSE, EndReason.COMPLETE)]
)
async def test_a_service_may_leave_once_it_has_closed(
    service: Upstream, open_tunnel: Open, words: bytes, reason: EndReason
) -> None:
    async def script(exchange: upstream.Exchange) -> None:
        await exchange.send(SWITCH + words)
        await exchange.read_some()
        exchange.reset()

    service.script = script
    stage, client = await open_tunnel()
    await client.next_head()
    assert await client.raw(len(words)) == words
    await client.send(b"x")
    assert await client.closed() == b""
    client.close()
    assert await stage.ending() is reason


async def test_a_service_that_takes_nothing_is_cut_off(
    service: Upstream, open_tunnel: Open
) -> None:
    async def script(exchange: upstream.Exchange) -> None:
        await exchange.send(SWITCH)
        await exchange.gone_at()

    async def flood() -> None:
        while True:
            await client.send(bytes(65536))

    service.script = script
    stage, client = await open_tunnel(replace(UNBOUNDED, send=SOON))
    await client.next_head()
    with pytest.raises(ConnectionError):
        await flood()
    assert await stage.ending() is EndReason.UPSTREAM_TIMEOUT
    assert stage.exchange.error == "send_timeout"
    (await service.exchange()).note_gone()


@pytest.mark.parametrize(
    ("words", "reason", "last"),
    [
        (HELLO, EndReason.DRAINED, b"\x88\x02\x03\xe9"),
        (HELLO, EndReason.TOTAL_TIMEOUT, b"\x88\x02\x03\xf3"),
        (HELLO, EndReason.ERROR, b""),
        (HELLO[:3], EndReason.DRAINED, b""),
        (CLOSE, EndReason.DRAINED, b""),
    ],
)
async def test_the_client_gets_the_reason_of_an_end_where_a_frame_may_stand(
    service: Upstream, open_tunnel: Open, words: bytes, reason: EndReason, last: bytes
) -> None:
    service.script = says(words)
    stage, client = await open_tunnel()
    await client.next_head()
    assert await client.raw(len(words)) == words
    stage.tunnel.end(reason)
    assert await client.closed() == last
    assert await stage.ending() is reason


async def test_what_comes_after_the_end_goes_nowhere(service: Upstream, open_tunnel: Open) -> None:
    service.script = says(HELLO)
    stage, client = await open_tunnel()
    await client.next_head()
    await client.raw(len(HELLO))
    tunnel = stage.tunnel
    tunnel.end(EndReason.DRAINED)
    tunnel.sent(b"late")
    tunnel.body(HELLO)
    assert not tunnel.sent_all()
    assert not tunnel.ended()
    assert not tunnel.switched(b"", [(b"Upgrade", b"websocket"), (b"Connection", b"upgrade")])
    tunnel.complete([])
    assert await stage.ending() is EndReason.DRAINED
    assert stage.exchange.bytes_in == 0


@pytest.mark.parametrize(
    "head",
    [
        SWITCH.replace(b"websocket", b"h2c"),
        SWITCH.replace(b"Upgrade: websocket\r\n", b""),
        SWITCH.replace(b"Connection: upgrade\r\n", b""),
    ],
)
async def test_a_switch_to_another_protocol_is_a_502(
    service: Upstream, open_tunnel: Open, head: bytes
) -> None:
    async def script(exchange: upstream.Exchange) -> None:
        await exchange.send(head)
        await exchange.until_gone()

    service.script = script
    stage, client = await open_tunnel()
    assert (await client.head()).status == 502
    assert await stage.ending() is EndReason.UPSTREAM_CLOSED


async def test_any_other_answer_is_a_response(service: Upstream, open_tunnel: Open) -> None:
    service.script = upstream.answers(b"no", status="403 Forbidden")
    stage, client = await open_tunnel()
    assert (await client.head()).status == 403
    assert bytes((await client.rest()).body) == b"no"
    assert await stage.ending() is EndReason.COMPLETE
    assert not stage.exchange.is_stream


async def test_a_response_that_breaks_off_is_cut(service: Upstream, open_tunnel: Open) -> None:
    service.script = upstream.sends(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe")
    stage, client = await open_tunnel()
    await client.head()
    assert bytes((await client.rest()).body) == b"he"
    assert await stage.ending() is EndReason.UPSTREAM_CLOSED
