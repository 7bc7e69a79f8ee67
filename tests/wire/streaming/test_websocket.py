"""WebSockets pass both ways as they are, and end, count and are refused like all else."""

import asyncio
import json
import os
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web
from prometheus_client import parser

from tests.support.chromium import chromium
from tests.support.gateway_process import PATIENCE, GatewayProcess, environment
from tests.support.raw_client import Ending, RawClient, Response
from tests.support.routes import Places, listener, port_of
from tests.support.tokens import token
from tests.support.upstream import EVENT_STREAM, Exchange, Upstream, answers, chunk, response
from tests.wire.conftest import Connect, StartGateway
from tests.wire.streaming.test_backpressure import GROWTH, KERNEL_BUFFERS, until_stuck

ROUTES = """\
defaults:
  auth_required: false
  proxy_upstream: http://127.0.0.1:{raw}
routes:
- path: /raw
- path: /echo
  proxy_upstream: http://127.0.0.1:{echo}
- path: /private
  auth_required: true
- path: /private-echo
  auth_required: true
  proxy_upstream: http://127.0.0.1:{echo}
- path: /tls
  proxy_upstream: https://localhost:{tls}
- path: /list
  proxy_upstream: [http://127.0.0.1:{dead}, "http://127.0.0.1:{echo}"]
- path: /two-at-most
  limits: {{max_streams: 2}}
- path: /options
  stream: {{heartbeat: 50ms, error_event: message}}
- path: /first-byte
  first_byte_timeout: 200ms
- path: /idle
  idle_timeout: 500ms
- path: /talk
  idle_timeout: 1s
- path: /total
  timeout: 500ms
- path: /send
  send_timeout: 1s
"""
UPGRADE = ("Connection: keep-alive, Upgrade", "Upgrade: WebSocket")
KEY = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
HANDSHAKE = (*UPGRADE, *KEY)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
HELLO = b"\x81\x05hello"
CLOSE = b"\x88\x02\x03\xe8"
GOING_AWAY = b"\x88\x02\x03\xe9"
FAULT = b"\x88\x02\x03\xf3"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def echo_place() -> Iterator[socket.socket]:
    """Where the real WebSocket server is. The socket outlives each test."""
    with listener() as taken:
        yield taken


@pytest.fixture(scope="module")
def gateway(
    places: Places,
    echo_place: socket.socket,
    tls: tuple[Path, ssl.SSLContext],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GatewayProcess]:
    taken = {"raw": places.service, "dead": places.dead, "tls": places.tls, "echo": echo_place}
    routes = ROUTES.format(**{name: port_of(each) for name, each in taken.items()})
    env = environment(SSL_CERT_FILE=str(tls[0]))
    gateway = GatewayProcess.serve(routes, tmp_path_factory.mktemp("websocket"), env=env)
    yield gateway
    assert gateway.stop() == 0, gateway.output
    assert gateway.error_output == ""
    assert "Traceback" not in gateway.output
    assert "eyJ" not in gateway.output, "a token stands in the log"


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Send each message back; `{"close": CODE}` is a wish to be closed with that."""
    answer = web.WebSocketResponse(max_msg_size=0, protocols=["chat"])
    await answer.prepare(request)
    async for message in answer:
        if message.type is WSMsgType.BINARY:
            await answer.send_bytes(message.data)
        elif message.data.startswith("{"):
            await answer.close(code=json.loads(message.data)["close"], message=b"as wished")
        else:
            await answer.send_str(message.data)
    return answer


@asynccontextmanager
async def echoing(place: socket.socket, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    """A real WebSocket server."""
    app = web.Application()
    app.router.add_get("/{path:.*}", echo)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, place.dup(), ssl_context=tls).start()
    yield
    await runner.cleanup()


@pytest.fixture
async def session(echo_place: socket.socket) -> AsyncIterator[ClientSession]:
    """A real WebSocket client, while the real server runs."""
    async with echoing(echo_place), ClientSession() as session:
        yield session


async def hold(exchange: Exchange) -> None:
    """Switch, say hello, and read on until the other side ends."""
    await exchange.send(SWITCH + HELLO)
    await exchange.until_gone()


async def flood(client: RawClient) -> None:
    """Send until the other side ends it."""
    while True:
        await client.send(bytes(65536))


async def switched(client: RawClient, target: str, *headers: str) -> Response:
    await client.request(target, *HANDSHAKE, *headers)
    head = await client.next_head()
    assert head.status == 101
    return head


# What passes


@pytest.mark.parametrize("target", ["/echo", "/list"])
async def test_messages_of_all_kinds_and_sizes_come_back(
    session: ClientSession, gateway: GatewayProcess, target: str
) -> None:
    url = f"http://127.0.0.1:{gateway.port}{target}"
    large = os.urandom(4 * MIB)
    async with session.ws_connect(url, max_msg_size=0, compress=15, protocols=["chat"]) as opened:
        assert (opened.compress, opened.protocol) == (15, "chat")
        await opened.send_str("hello")
        assert await opened.receive_str() == "hello"
        await opened.send_bytes(large)
        assert await opened.receive_bytes() == large
        await opened.ping(b"are you there")
        await opened.send_str("after the ping")
        assert await opened.receive_str() == "after the ping"


async def close_code(opened: ClientWebSocketResponse) -> int | None:
    async with asyncio.timeout(PATIENCE):
        assert (await opened.receive()).type in {WSMsgType.CLOSE, WSMsgType.CLOSED}
    return opened.close_code


async def test_the_services_close_code_passes(
    session: ClientSession, gateway: GatewayProcess
) -> None:
    headers = {"X-Request-Id": "closed-4001"}
    url = f"http://127.0.0.1:{gateway.port}/echo"
    async with session.ws_connect(url, headers=headers) as opened:
        await opened.send_str('{"close": 4001}')
        assert await close_code(opened) == 4001
    assert (await gateway.request_line(request_id="closed-4001"))["end_reason"] == "complete"


async def test_a_tls_service_is_spoken_to_and_ends_in_order(
    places: Places,
    tls: tuple[Path, ssl.SSLContext],
    gateway: GatewayProcess,
    session: ClientSession,
) -> None:
    url, headers = f"http://127.0.0.1:{gateway.port}/tls", {"X-Request-Id": "over-tls"}
    async with echoing(places.tls, tls[1]), session.ws_connect(url, headers=headers) as opened:
        await opened.send_bytes(bytes(MIB))
        assert await opened.receive_bytes() == bytes(MIB)
    assert (await gateway.request_line(request_id="over-tls"))["end_reason"] == "complete"


async def test_the_handshake_passes_less_what_is_the_gateways(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient
) -> None:
    upstream.script = hold
    extra = "Sec-WebSocket-Protocol: a, b", "Sec-WebSocket-Extensions: permessage-deflate"
    head = await switched(client, f"/private?a=1&token={token()}&b=2", *extra, "X-Request-Id: head")
    seen = upstream.request
    assert seen.target == "/private?a=1&b=2"
    assert (seen.value("Connection"), seen.value("Upgrade")) == ("Upgrade", "websocket")
    for name, value in (line.split(": ") for line in (*KEY, *extra)):
        assert seen.value(name) == value
    assert (head.value("Connection"), head.value("Upgrade")) == ("Upgrade", "websocket")
    assert head.value("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert head.value("X-Request-Id") == "head"
    assert await client.raw(len(HELLO)) == HELLO


async def test_frames_that_come_with_the_handshake_pass_once_it_is_answered(
    upstream: Upstream, client: RawClient
) -> None:
    early = bytes(200_000)  # more than is kept of it unread

    async def script(exchange: Exchange) -> None:
        await exchange.send(SWITCH)
        while data := await exchange.read_some():
            await exchange.send(data)
        exchange.finish()

    upstream.script = script
    lines = ["GET /raw HTTP/1.1", "Host: h", *HANDSHAKE, "", ""]
    sending = asyncio.create_task(client.send("\r\n".join(lines).encode() + early + b"last"))
    assert (await client.next_head()).status == 101
    assert await client.raw(len(early) + 4) == early + b"last"
    await sending


async def test_a_side_that_ended_still_gets_what_the_other_has_to_say(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(SWITCH)
        while await exchange.read_some():
            pass
        await exchange.send(HELLO + CLOSE)
        exchange.finish()

    upstream.script = script
    await switched(client, "/raw", "X-Request-Id: half-closed")
    await client.send(HELLO)
    client.half_close()
    assert await client.closed() == HELLO + CLOSE
    line = await gateway.request_line(request_id="half-closed")
    assert (line["end_reason"], line["bytes_in"], line["bytes_out"]) == ("complete", 7, 11)


async def test_the_options_of_event_streams_put_nothing_between_its_bytes(
    upstream: Upstream, client: RawClient
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(SWITCH)
        await exchange.read_some()
        await asyncio.sleep(0.2)  # some heartbeats long
        await exchange.send(HELLO)
        exchange.finish()

    upstream.script = script
    await switched(client, "/options")
    await client.send(HELLO)
    assert await client.closed() == HELLO


# Backpressure


async def test_a_browser_that_takes_nothing_stops_the_reading_from_its_service(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect
) -> None:
    async def floods(exchange: Exchange) -> None:
        await exchange.send(SWITCH)
        while True:
            await exchange.send(b"\x82\x7e\xff\xfc" + bytes(65532))

    upstream.script = floods
    resident = gateway.resident_bytes()
    client = await connect(receive_buffer=4096)
    await switched(client, "/raw")
    exchange = await upstream.exchange()
    await until_stuck(exchange)
    assert exchange.sent < KERNEL_BUFFERS
    assert gateway.resident_bytes() - resident < GROWTH
    assert len(await client.raw(MIB)) == MIB


async def test_a_service_that_takes_nothing_stops_the_reading_from_its_browser(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient
) -> None:
    is_read, total, sent = asyncio.Event(), 32 * MIB, 0

    async def script(exchange: Exchange) -> None:
        await exchange.send(SWITCH)
        await is_read.wait()
        got = 0
        while got < total:
            got += len(await exchange.read_some())
        await exchange.send(b"%d" % got)
        await exchange.until_gone()

    async def flood() -> None:
        nonlocal sent
        while sent < total:
            await client.send(bytes(65536))
            sent += 65536

    upstream.script = script
    resident = gateway.resident_bytes()
    await switched(client, "/raw")
    sending = asyncio.create_task(flood())
    before = -1
    while sent != before:
        before = sent
        await asyncio.sleep(0.5)
    assert sent < total
    assert gateway.resident_bytes() - resident < GROWTH
    is_read.set()
    await sending
    assert await client.raw(8) == b"%d" % total


@pytest.mark.parametrize("side", ["client", "service"])
async def test_a_side_that_takes_nothing_for_too_long_is_cut_off(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect, side: str
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(SWITCH)
        while side == "client":
            await exchange.send(bytes(65536))
        await exchange.gone_at()

    upstream.script = script
    client = await connect(receive_buffer=4096)
    await switched(client, "/send", f"X-Request-Id: stalled-{side}")
    if side == "service":
        with pytest.raises(ConnectionError):
            await flood(client)
        (await upstream.exchange()).note_gone()
    line = await gateway.request_line(request_id=f"stalled-{side}")
    assert line["end_reason"] == {"client": "client_stalled", "service": "upstream_timeout"}[side]
    assert line["error"] == "send_timeout"


# Ends


@pytest.mark.parametrize("way", ["reset", "finish"])
async def test_a_service_that_dies_is_a_connection_without_a_close_frame(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, way: str
) -> None:
    async def script(exchange: Exchange) -> None:
        await hold_until_asked(exchange)
        (exchange.reset if way == "reset" else exchange.finish)()

    async def hold_until_asked(exchange: Exchange) -> None:
        await exchange.send(SWITCH + HELLO)
        await exchange.read_some()

    upstream.script = script
    await switched(client, "/raw", f"X-Request-Id: service-{way}")
    await client.send(HELLO)
    assert await client.closed() == HELLO
    client.close()
    line = await gateway.request_line(request_id=f"service-{way}")
    assert line["end_reason"] == "upstream_closed"


@pytest.mark.parametrize("way", ["reset", "close"])
async def test_a_browser_that_leaves_closes_its_services_connection_at_once(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, way: str
) -> None:
    upstream.script = hold
    await switched(client, "/raw", f"X-Request-Id: browser-{way}")
    assert await client.raw(len(HELLO)) == HELLO
    exchange = await upstream.exchange()
    left = asyncio.get_running_loop().time()
    (client.reset if way == "reset" else client.close)()
    assert await exchange.gone_at() - left < 1
    line = await gateway.request_line(request_id=f"browser-{way}")
    assert (line["end_reason"], line["status"]) == ("client_closed", 101)


@pytest.mark.parametrize(
    ("target", "reason"), [("/idle", "upstream_timeout"), ("/total", "total_timeout")]
)
async def test_a_timeout_is_announced_in_a_close_frame(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, target: str, reason: str
) -> None:
    upstream.script = hold
    await switched(client, target, f"X-Request-Id: bound-{reason}")
    assert await client.closed() == HELLO + FAULT
    line = await gateway.request_line(request_id=f"bound-{reason}")
    assert (line["end_reason"], line["duration_ms"] >= 500) == (reason, True)


async def test_no_close_frame_stands_in_the_midst_of_another(
    upstream: Upstream, client: RawClient
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(SWITCH + HELLO[:-1])
        await exchange.until_gone()

    upstream.script = script
    await switched(client, "/total")
    assert await client.closed() == HELLO[:-1]


async def test_a_browser_that_talks_keeps_a_silent_service_from_being_idle(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient
) -> None:
    upstream.script = hold
    await switched(client, "/talk", "X-Request-Id: talk")
    opened_at = time.monotonic()
    await asyncio.sleep(0.2)
    silent = time.monotonic() - opened_at
    await client.send(b"x")
    assert await client.closed() == HELLO + FAULT
    line = await gateway.request_line(request_id="talk")
    assert line["duration_ms"] >= (silent + 1) * 1000


async def test_a_service_that_never_answers_is_a_504(upstream: Upstream, client: RawClient) -> None:
    upstream.script = Exchange.until_gone
    assert (await client.fetch("/first-byte", *HANDSHAKE)).status == 504


async def test_a_gateway_that_drains_says_that_it_goes_away(
    start_gateway: StartGateway, connect: Connect, service: Upstream
) -> None:
    service.script = hold
    routes = "- path: /raw\n  proxy_upstream: $SERVICE\n  auth_required: false\n"
    gateway = start_gateway(routes, "--drain-timeout", "100ms")
    client = await connect(gateway.port)
    await switched(client, "/raw", "X-Request-Id: drained")
    assert await client.raw(len(HELLO)) == HELLO
    gateway.signal(signal.SIGTERM)
    assert await client.closed() == GOING_AWAY
    assert await asyncio.to_thread(gateway.exit_code) == 0
    line = await gateway.request_line(request_id="drained")
    assert (line["end_reason"], line["status"]) == ("drained", 101)
    await (await service.exchange()).gone_at()


# Refusals


async def test_a_handshake_without_a_token_is_a_401(upstream: Upstream, client: RawClient) -> None:
    got = await client.fetch("/private", *HANDSHAKE)
    assert (got.status, got.json()["code"]) == (401, "token_missing")
    assert upstream.requests == []


async def test_a_page_of_another_site_cannot_use_the_cookie(
    upstream: Upstream, connect: Connect
) -> None:
    upstream.script = hold
    cookie = f"Cookie: gateway_token={token()}"
    foreign, own = await connect(), await connect()
    got = await foreign.fetch("/private", *HANDSHAKE, cookie, "Origin: https://evil.test")
    assert (got.status, got.json()["code"]) == (403, "origin_denied")
    assert upstream.requests == []
    await switched(own, "/private", cookie, "Origin: http://gateway.test")
    assert upstream.request.value("Cookie") is None


async def test_it_counts_under_the_routes_limits_while_it_is_open(
    upstream: Upstream, connect: Connect
) -> None:
    upstream.script = hold
    for _ in range(2):
        await switched(await connect(), "/two-at-most")
    got = await (await connect()).fetch("/two-at-most", *HANDSHAKE)
    assert (got.status, got.json()["code"]) == (429, "too_many_streams")


@pytest.mark.parametrize("status", ["200 OK", "403 Forbidden", "426 Upgrade Required"])
async def test_a_service_that_will_not_switch_is_relayed(
    upstream: Upstream, gateway: GatewayProcess, client: RawClient, status: str
) -> None:
    upstream.script = answers(b"no", "Sec-WebSocket-Version: 13", status=status)
    got = await client.fetch("/raw", *HANDSHAKE, f"X-Request-Id: will-not-{status[:3]}")
    assert (got.status, bytes(got.body)) == (int(status[:3]), b"no")
    assert (got.value("Sec-WebSocket-Version"), got.value("Connection")) == ("13", "close")
    assert await client.closed() == b""
    line = await gateway.request_line(request_id=f"will-not-{status[:3]}")
    assert (line["end_reason"], line["bytes_out"]) == ("complete", 2)


async def test_an_event_stream_in_answer_to_a_handshake_is_one(
    upstream: Upstream, client: RawClient
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
        exchange.finish()

    upstream.script = script
    got = await client.fetch("/raw", *HANDSHAKE)
    assert (bytes(got.body), got.ending) == (b"data: 1\n\n", Ending.CUT)


@pytest.mark.parametrize("header", [b"Upgrade: h2c", b"X: y"])
async def test_a_switch_to_what_nobody_asked_for_is_a_502(
    upstream: Upstream, client: RawClient, header: bytes
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(SWITCH.replace(b"Upgrade: websocket", header))
        await exchange.until_gone()

    upstream.script = script
    assert (await client.fetch("/raw", *HANDSHAKE)).status == 502


@pytest.mark.parametrize(
    ("version", "method", "headers"),
    [
        ("1.0", "GET", HANDSHAKE),
        ("1.1", "POST", (*HANDSHAKE, "Content-Length: 0")),
        ("1.1", "GET", (*KEY, "Upgrade: h2c", "Connection: Upgrade")),
        ("1.1", "GET", (*KEY, "Upgrade: websocket")),
        ("1.1", "GET", UPGRADE),
    ],
    ids=["http 1.0", "post", "another protocol", "no connection", "no key"],
)
async def test_what_is_no_handshake_is_answered_in_http(
    upstream: Upstream,
    client: RawClient,
    version: str,
    method: str,
    headers: tuple[str, ...],
) -> None:
    upstream.script = answers(b"plain")
    lines = [f"{method} /raw HTTP/{version}", "Host: h", *headers, "", ""]
    await client.send("\r\n".join(lines).encode())
    assert (await client.head()).status == 200
    assert bytes((await client.rest()).body) == b"plain"
    assert "upgrade" not in upstream.request.names()


async def test_a_connection_that_was_idle_is_not_used_for_it(
    upstream: Upstream, client: RawClient, connect: Connect
) -> None:
    async def script(exchange: Exchange) -> None:
        is_handshake = exchange.request.value("Upgrade") is not None
        await (hold(exchange) if is_handshake else exchange.send(response(b"plain")))

    upstream.script = script
    assert (await client.fetch("/raw")).status == 200
    await switched(await connect(), "/raw")
    assert upstream.connections == 2


# What operators see


async def test_it_counts_among_the_streams(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect
) -> None:
    async def reported(name: str) -> dict[tuple[str, ...], float]:
        got = await (await connect(gateway.ops_port)).fetch("/metrics")
        families = parser.text_string_to_metric_families(got.body.decode())
        return {
            tuple(value for key, value in sample.labels.items() if key != "route"): sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and sample.labels.get("route") == "/two-at-most"
        }

    upstream.script = hold
    before = await reported("gateway_streams_total"), await reported("gateway_relayed_bytes_total")
    client = await connect()
    await switched(client, "/two-at-most", "X-Request-Id: counted")
    await client.send(b"abc")
    assert await client.raw(len(HELLO)) == HELLO
    assert await reported("gateway_active_streams") == {(): 1.0}
    client.close()
    await gateway.request_line(request_id="counted")
    assert await reported("gateway_active_streams") == {(): 0.0}
    ends, relayed = (
        await reported("gateway_streams_total"),
        await reported("gateway_relayed_bytes_total"),
    )
    assert ends["client_closed",] == before[0].get(("client_closed",), 0) + 1
    assert relayed["in",] == before[1]["in",] + 3
    assert relayed["out",] == before[1]["out",] + len(HELLO)
    assert (await reported("gateway_stream_duration_seconds_count"))[()] >= 1


# A real browser

BROWSE = """([url, size]) => new Promise((resolve, reject) => {
  const socket = new WebSocket(url, "chat");
  const sent = new Uint8Array(size).map((_, at) => at);
  const seen = { protocol: null, extensions: null, text: null, isSame: null };
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    seen.protocol = socket.protocol;
    seen.extensions = socket.extensions;
    socket.send("hello");
  };
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") {
      seen.text = data;
      socket.send(sent);
      return;
    }
    const got = new Uint8Array(data);
    seen.isSame = got.length === size && got.every((byte, at) => byte === sent[at]);
    socket.send('{"close": 4001}');
  };
  socket.onclose = ({ code, reason, wasClean }) => resolve({ ...seen, code, reason, wasClean });
})"""


async def test_a_page_opens_one_with_the_token_in_its_url(
    session: ClientSession, gateway: GatewayProcess
) -> None:
    async with AsyncExitStack() as stack:
        browser = await stack.enter_async_context(chromium())
        page = await browser.new_page()
        url = f"ws://127.0.0.1:{gateway.port}/private-echo"
        assert await page.evaluate(BROWSE, [f"{url}?token={token()}", MIB]) == {
            "protocol": "chat",
            "extensions": "permessage-deflate",
            "text": "hello",
            "isSame": True,
            "code": 4001,
            "reason": "as wished",
            "wasClean": True,
        }
        refused = await page.evaluate(BROWSE, [f"{url}?token=none", 0])
        assert (refused["code"], refused["text"]) == (1006, None)
    line = await gateway.request_line(route="/private-echo", status=101)
    assert (line["end_reason"], line["subject"]) == ("complete", "ada")
