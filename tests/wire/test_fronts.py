"""Behind nginx and behind Caddy, and as two behind one address, streams are what they are alone."""

import asyncio
import signal
from pathlib import Path
from ssl import SSLContext

import pytest
from playwright.async_api import Page

from tests.chromium import chromium
from tests.redis_process import RedisProcess
from tests.wire.conftest import Connect, StartGateway
from tests.wire.fronts import caddy, front_of_compose, nginx
from tests.wire.raw_client import Ending, RawClient
from tests.wire.tokens import token
from tests.wire.upstream import EVENT_STREAM, LAST_CHUNK, Exchange, Upstream, chunk, response

LEAVING, STAYING = "127.0.0.2", "127.0.0.3"  # two machines with the same ports
STREAMS = 8  # more than a browser opens connections to a host in HTTP/1.1
ROUTES = """\
auth: {trusted_proxies: [127.0.0.1]}
defaults: {proxy_upstream: $SERVICE, auth_required: false}
routes:
- path: /{rest:path}
"""
WITH_TOKENS = """\
auth: {token_endpoint: /auth/stream-token, stream_token_secret: $GATEWAY_JWT_SECRET}
limits: {redis: $REDIS}
defaults: {proxy_upstream: $SERVICE}
routes:
- path: /stream
"""

# Opens streams of its own origin, and gives back what each got first.
LISTEN = """(count) => Promise.all(Array.from({ length: count }, (_, number) =>
  new Promise((resolve, reject) => {
    const source = new EventSource(`/stream?${number}`);
    source.onmessage = ({ data }) => resolve(data);
    source.onerror = () => reject(new Error(`stream ${number} failed`));
  })))"""
PROTOCOL = "() => performance.getEntriesByType('navigation')[0].nextHopProtocol"


async def stays(exchange: Exchange) -> None:
    """A script: begin an event stream, and stay in it until the other side leaves."""
    await exchange.send(EVENT_STREAM + chunk(b"data: first\n\n"))
    await exchange.until_gone()


async def opened(port: int, connect: Connect, target: str = "/stream") -> RawClient:
    """A stream that has begun."""
    client = await connect(port)
    await client.request(target, "Accept: text/event-stream")
    assert (await client.head()).status == 200
    await client.until(b"data: first\n\n")
    return client


async def test_behind_nginx_events_come_one_by_one_and_a_leaving_browser_ends_the_job(
    start_gateway: StartGateway, service: Upstream, connect: Connect, tmp_path: Path
) -> None:
    service.script = stays
    gateway = start_gateway(ROUTES)
    with nginx(tmp_path, [gateway.port]) as port:
        client = await opened(port, connect)
        exchange = await service.exchange()
        # Each is sent only when the one before is there: what is held back is waited for in vain.
        for number in range(3):
            await exchange.send(chunk(b"data: %d\n\n" % number))
            await client.until(b"data: %d\n\n" % number)
        client.close()
        await exchange.gone_at()
    line = await gateway.request_line(path="/stream")
    assert (line["client"], line["end_reason"]) == ("127.0.0.1", "client_closed")


async def test_behind_nginx_the_service_is_told_who_the_client_is(
    start_gateway: StartGateway, service: Upstream, connect: Connect, tmp_path: Path
) -> None:
    gateway = start_gateway(ROUTES)
    with nginx(tmp_path, [gateway.port]) as port:
        client = await connect(port, source="127.0.0.9")
        await client.fetch("/x", "X-Forwarded-For: 10.9.9.9")
    assert service.request.value("X-Forwarded-For") == "10.9.9.9, 127.0.0.9, 127.0.0.1"
    assert service.request.value("X-Forwarded-Host") == "gateway.test"
    line = await gateway.request_line(path="/x")
    assert line["client"] == "127.0.0.9"  # what the client said of itself counts for nothing


async def test_a_replica_that_drains_costs_no_request_and_no_stream(
    start_gateway: StartGateway, service: Upstream, connect: Connect, tmp_path: Path
) -> None:
    is_over = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if exchange.request.target != "/stream":
            await exchange.send(response(b"here"))
            return
        await exchange.send(EVENT_STREAM + chunk(b"data: first\n\n"))
        await is_over.wait()
        await exchange.send(chunk(b"data: last\n\n") + LAST_CHUNK)

    service.script = script
    leaving, staying = (start_gateway(ROUTES) for _ in range(2))
    with nginx(tmp_path, [leaving.port, staying.port]) as port:
        clients = [await opened(port, connect) for _ in range(4)]
        leaving.signal(signal.SIGTERM)
        await leaving.await_lines("draining")
        for _ in range(20):
            answered = await (await connect(port)).fetch("/x")
            assert (answered.status, bytes(answered.body)) == (200, b"here")
        is_over.set()
        for client in clients:
            ended = await client.rest()
            assert ended.ending is Ending.CLEAN
            assert b"data: last\n\n" in ended.body
        assert leaving.exit_code() == 0
    streams = [len(each.request_lines(path="/stream")) for each in (leaving, staying)]
    assert streams == [2, 2]
    assert len(staying.request_lines(path="/x")) >= 10


async def test_the_front_of_compose_sends_all_to_the_other_while_a_replica_ends(
    start_gateway: StartGateway, service: Upstream, connect: Connect, tmp_path: Path
) -> None:
    is_over = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if exchange.request.target != "/stream":
            await exchange.send(response(b"here"))
            return
        await exchange.send(EVENT_STREAM + chunk(b"data: first\n\n"))
        await is_over.wait()
        await exchange.send(chunk(b"data: last\n\n") + LAST_CHUNK)

    service.script = script
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
    streams = [len(each.request_lines(path="/stream")) for each in (leaving, staying)]
    assert streams == [2, 2]


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
        told = await client.fetch(
            "/auth/stream-token", bearer, method="POST", body=b'{"path": "/stream"}'
        )
        target = f"/stream?token={told.json()['token']}"
        await opened(port, connect, target)
        for _ in replicas:  # in turn, so that each is asked
            refused = await (await connect(port)).fetch(target)
            assert (refused.status, refused.json()["code"]) == (401, "token_invalid")


@pytest.fixture
def certificate(tls: tuple[Path, SSLContext]) -> Path:
    return tls[0].with_name("localhost.pem")


async def test_over_http_2_a_page_has_more_streams_than_six(
    start_gateway: StartGateway, service: Upstream, certificate: Path, tmp_path: Path
) -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.request.target == "/page":
            await exchange.send(response(b"<title>page</title>", "Content-Type: text/html"))
        else:
            await stays(exchange)

    service.script = script
    gateways = [start_gateway(ROUTES) for _ in range(2)]
    with caddy(tmp_path, [gateway.port for gateway in gateways], certificate) as port:
        async with chromium() as browser:
            context = await browser.new_context(ignore_https_errors=True)
            page = await context.new_page()
            await page.goto(f"https://localhost:{port}/page")
            assert await page.evaluate(PROTOCOL) == "h2"
            assert await _listened(page) == ["first"] * STREAMS
            [asked, *_] = [each for each in service.requests if each.target != "/page"]
            assert asked.value("X-Forwarded-Proto") == "https"
            exchanges = [await service.exchange() for _ in service.requests]
            streaming = [each for each in exchanges if each.request.target != "/page"]
            await page.close()
            for exchange in streaming:
                await exchange.gone_at()


async def _listened(page: Page) -> list[str]:
    async with asyncio.timeout(30):
        got: list[str] = await page.evaluate(LISTEN, STREAMS)
        return got
