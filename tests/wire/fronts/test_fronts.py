"""Behind nginx and behind Caddy, and as two behind one address, streams are what they are alone."""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from ssl import SSLContext

import pytest

from tests.support.chromium import chromium
from tests.support.fronts import caddy, front_of_compose, nginx
from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import PATIENCE, Ending, RawClient
from tests.support.redis_process import RedisProcess
from tests.support.tokens import token
from tests.support.upstream import (
    EVENT_STREAM,
    LAST_CHUNK,
    Exchange,
    Script,
    Upstream,
    chunk,
    response,
)
from tests.wire.conftest import Connect, StartGateway

LEAVING, STAYING = "127.0.0.2", "127.0.0.3"  # two machines with the same ports
STREAMS = 8  # more than a browser opens connections to a host in HTTP/1.1
ROUTES = """\
auth: {trusted_proxies: [127.0.0.1]}
defaults: {proxy_upstream: $SERVICE, auth_required: false}
routes:
- path: /{rest:path}
- path: /mine
  auth_required: true
"""
WITH_TOKENS = """\
auth: {token_endpoint: /auth/stream-token, stream_token_secret: $GATEWAY_JWT_SECRET}
limits: {redis: $REDIS}
defaults: {proxy_upstream: $SERVICE}
routes:
- path: /stream
"""

# Opens streams of its own origin, and remembers what each got last.
OPEN = """(count) => {
  window.sources = Array.from({ length: count }, (_, number) => {
    const source = new EventSource(`/stream?${number}`);
    source.onmessage = ({ data }) => { source.last = data; };
    return source;
  });
}"""
HEARD = "(data) => sources.every(({ last }) => last === data)"
POST = "() => fetch('/mine', { method: 'POST' }).then(({ status }) => status)"
HANDSHAKE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
PROTOCOL = "() => performance.getEntriesByType('navigation')[0].nextHopProtocol"


async def stays(exchange: Exchange) -> None:
    """A script: begin an event stream, and stay in it until the other side leaves."""
    await exchange.send(EVENT_STREAM + chunk(b"data: first\n\n"))
    await exchange.until_gone()


def stays_until(is_over: asyncio.Event) -> Script:
    """A script: a stream ends with a last event when it is over; all else is answered at once."""

    async def script(exchange: Exchange) -> None:
        if exchange.request.target != "/stream":
            await exchange.read_body()
            await exchange.send(response(b"here"))
            return
        await exchange.send(EVENT_STREAM + chunk(b"data: first\n\n"))
        await is_over.wait()
        await exchange.send(chunk(b"data: last\n\n") + LAST_CHUNK)

    return script


async def opened(port: int, connect: Connect, target: str = "/stream") -> RawClient:
    """A stream that has begun."""
    client = await connect(port)
    await client.request(target, "Accept: text/event-stream")
    assert (await client.head()).status == 200
    await client.until(b"data: first\n\n")
    return client


class Load:
    """Requests without a pause, over connections that are kept, until it is over."""

    def __init__(self, port: int, connect: Connect) -> None:
        self.statuses: Counter[int] = Counter()  # what was answered so far
        self.is_over = False
        self._port, self._connect = port, connect
        self._news = asyncio.Condition()

    async def go_on(self, method: str) -> None:
        """Ask one thing after another."""
        client = await self._connect(self._port)
        body = b"{}" if method == "POST" else b""
        while not self.is_over:
            answered = await client.fetch("/x", method=method, body=body)
            self.statuses[answered.status] += 1
            async with self._news:
                self._news.notify_all()

    async def go_by(self, count: int) -> None:
        """Wait until so many more were answered."""
        wanted = self.statuses.total() + count
        async with self._news, asyncio.timeout(PATIENCE):
            await self._news.wait_for(lambda: self.statuses.total() >= wanted)


async def test_behind_nginx_events_come_one_by_one_and_a_leaving_browser_ends_the_job(
    start_gateway: StartGateway, service: Upstream, connect: Connect, tmp_path: Path
) -> None:
    service.script = stays
    gateway = start_gateway(ROUTES)
    with nginx(tmp_path, [gateway.port]) as port:
        client = await opened(port, connect)
        exchange = await service.exchange()
        # Each is sent only when the one before is there, so that a front that buffers times out.
        for number in range(3):
            await exchange.send(chunk(b"data: %d\n\n" % number))
            await client.until(b"data: %d\n\n" % number)
        client.close()
        await exchange.gone_at()
    line = await gateway.request_line(path="/stream")
    assert (line["client"], line["end_reason"]) == ("127.0.0.1", "client_closed")


async def test_behind_nginx_the_service_learns_who_the_client_is(
    start_gateway: StartGateway, service: Upstream, connect: Connect, tmp_path: Path
) -> None:
    gateway = start_gateway(ROUTES)
    with nginx(tmp_path, [gateway.port]) as port:
        client = await connect(port, source="127.0.0.9")
        await client.fetch("/x", "X-Forwarded-For: 10.9.9.9", "X-Forwarded-Host: evil.test")
    assert service.request.value("X-Forwarded-For") == "10.9.9.9, 127.0.0.9, 127.0.0.1"
    assert service.request.value("X-Forwarded-Host") == "gateway.test"
    line = await gateway.request_line(path="/x")
    assert line["client"] == "127.0.0.9"  # what the client said of itself counts for nothing


async def test_behind_nginx_the_cookie_is_good_for_pages_of_its_own_origin(
    start_gateway: StartGateway, service: Upstream, connect: Connect, tmp_path: Path
) -> None:
    gateway = start_gateway(ROUTES)
    with nginx(tmp_path, [gateway.port]) as port:
        client = await connect(port)
        for origin, status in ((f"http://localhost:{port}", 200), ("http://localhost", 403)):
            await client.send(
                f"POST /mine HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: {origin}\r\n"
                f"Cookie: gateway_token={token()}\r\nContent-Length: 0\r\n\r\n".encode()
            )
            assert (await client.head()).status == status
            await client.rest()


async def test_behind_nginx_a_websocket_passes(
    start_gateway: StartGateway, service: Upstream, connect: Connect, tmp_path: Path
) -> None:
    async def script(exchange: Exchange) -> None:
        assert exchange.request.value("Upgrade") == "websocket"
        await exchange.send(SWITCH)
        await exchange.send((await exchange.read_some()).upper())

    service.script = script
    gateway = start_gateway(ROUTES)
    with nginx(tmp_path, [gateway.port]) as port:
        client = await connect(port)
        await client.request("/chat", *HANDSHAKE)
        assert (await client.next_head()).status == 101
        await client.send(b"hello")
        assert await client.raw(5) == b"HELLO"


@dataclass(frozen=True, slots=True)
class Replicas:
    """Two behind one address, of which one is about to leave."""

    port: int
    leaving: GatewayProcess
    staying: GatewayProcess
    methods: tuple[str, ...]  # of the requests that are not to notice


# nginx asks nobody whether he is well: what may not be asked twice it may lose as a door closes.
@pytest.fixture(
    params=[(nginx, (), ("GET",)), (caddy, ("--drain-delay", "2s"), ("GET", "POST"))],
    ids=["nginx", "caddy"],
)
def replicas(
    request: pytest.FixtureRequest, start_gateway: StartGateway, tmp_path: Path
) -> Iterator[Replicas]:
    front, options, methods = request.param
    leaving, staying = (start_gateway(ROUTES, *options) for _ in range(2))
    with front(tmp_path, [leaving.port, staying.port]) as port:
        yield Replicas(port, leaving, staying, methods)


async def test_a_replica_that_drains_costs_no_request_and_no_stream(
    replicas: Replicas, service: Upstream, connect: Connect
) -> None:
    is_over = asyncio.Event()
    service.script = stays_until(is_over)
    leaving = replicas.leaving
    clients = [await opened(replicas.port, connect) for _ in range(4)]
    load = Load(replicas.port, connect)
    async with asyncio.TaskGroup() as group:
        for method in replicas.methods * 2:
            group.create_task(load.go_on(method))
        await load.go_by(40)
        leaving.signal(signal.SIGTERM)
        await leaving.await_lines("draining")
        await load.go_by(40)
        is_over.set()
        for client in clients:
            ended = await client.rest()
            assert ended.ending is Ending.CLEAN
            assert b"data: last\n\n" in ended.body
        await leaving.await_lines("stopped")
        await load.go_by(40)
        load.is_over = True
    assert leaving.exit_code() == 0
    assert set(load.statuses) == {200}
    for each in (leaving, replicas.staying):
        assert len(await each.await_request_lines(2, path="/stream")) == 2


async def test_the_front_of_compose_sends_all_to_the_other_while_a_replica_ends(
    start_gateway: StartGateway, service: Upstream, connect: Connect, tmp_path: Path
) -> None:
    is_over = asyncio.Event()
    service.script = stays_until(is_over)
    leaving = start_gateway(ROUTES, "--host", LEAVING, "--drain-delay", "2s")
    ports = ("--port", str(leaving.port), "--ops-port", str(leaving.ops_port))
    staying = start_gateway(ROUTES, "--host", STAYING, *ports)
    with front_of_compose(tmp_path, [LEAVING, STAYING], leaving.port, leaving.ops_port) as port:
        clients = [await opened(port, connect) for _ in range(4)]
        leaving.signal(signal.SIGTERM)
        count = 0
        while await _takes_connections(LEAVING, leaving.port) or count < 20:
            answered = await (await connect(port)).fetch("/x")
            assert (answered.status, bytes(answered.body)) == (200, b"here")
            count += 1
        is_over.set()
        for client in clients:
            ended = await client.rest()
            assert (ended.ending, ended.body.endswith(b"data: last\n\n")) == (Ending.CLEAN, True)
        assert leaving.exit_code() == 0
        assert (await (await connect(port)).fetch("/x")).status == 200
    for each in (leaving, staying):
        assert len(await each.await_request_lines(2, path="/stream")) == 2


async def _takes_connections(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except ConnectionError:
        return False
    writer.close()
    return True


async def test_a_token_of_one_use_is_used_on_all_replicas(
    start_gateway: StartGateway,
    service: Upstream,
    connect: Connect,
    redis: RedisProcess,
    tmp_path: Path,
) -> None:
    service.script = stays
    replicas = [start_gateway(WITH_TOKENS, REDIS=redis.url) for _ in range(2)]
    with nginx(tmp_path, [replica.port for replica in replicas]) as port:
        client = await connect(port)
        bearer = f"Authorization: Bearer {token()}"
        reported = await client.fetch(
            "/auth/stream-token", bearer, method="POST", body=b'{"path": "/stream"}'
        )
        target = f"/stream?token={reported.json()['token']}"
        await opened(port, connect, target)
        refused = await (await connect(port)).fetch(target)
        assert (refused.status, refused.json()["code"]) == (401, "token_invalid")
        counts = [await _streams(await connect(replica.ops_port)) for replica in replicas]
        assert sorted(counts) == [0, 1]
        await replicas[counts.index(0)].request_line(status=401)


async def _streams(ops: RawClient) -> int:
    return int((await ops.fetch("/streams")).json()["count"])


@pytest.fixture
def certificate(tls: tuple[Path, SSLContext]) -> Path:
    return tls[0].with_name("localhost.pem")


async def test_over_http_2_a_page_has_more_streams_than_six(
    start_gateway: StartGateway, service: Upstream, certificate: Path, tmp_path: Path
) -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.request.target.startswith("/stream"):
            await stays(exchange)
        else:
            await exchange.send(response(b"<title>page</title>", "Content-Type: text/html"))

    service.script = script
    gateways = [start_gateway(ROUTES) for _ in range(2)]
    with caddy(tmp_path, [gateway.port for gateway in gateways], certificate) as port:
        async with chromium() as browser:
            context = await browser.new_context(ignore_https_errors=True)
            url = f"https://localhost:{port}"
            cookie = {"name": "gateway_token", "value": token(), "url": url}
            await context.add_cookies([cookie])  # type: ignore[list-item]
            page = await context.new_page()
            await page.goto(f"{url}/page")
            assert await page.evaluate(PROTOCOL) == "h2"
            await page.evaluate(OPEN, STREAMS)
            await page.wait_for_function(HEARD, arg="first")
            exchanges = await _streaming(service)
            for exchange in exchanges:
                await exchange.send(chunk(b"data: second\n\n"))
            await page.wait_for_function(HEARD, arg="second")
            assert await page.evaluate(POST) == 200  # by the cookie, so the origin was known
            assert service.requests[-1].value("X-Forwarded-Proto") == "https"
            await page.close()
            for exchange in exchanges:
                await exchange.gone_at()


async def _streaming(service: Upstream) -> list[Exchange]:
    """The streams that have begun, without the browser's request for an icon."""
    exchanges = [await service.exchange() for _ in list(service.requests)]
    return [each for each in exchanges if each.request.target.startswith("/stream")]
