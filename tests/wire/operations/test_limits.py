"""Limits of a route, of a user and of the gateway: alone, over replicas, and without Redis."""

import asyncio
import signal
from typing import NamedTuple

import pytest
from redis.asyncio import Redis

from gateway.limits.redis_leases import LEASE, STREAMS
from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import RawClient, Response
from tests.support.redis_process import RedisProcess
from tests.support.tokens import token
from tests.support.upstream import EVENT_STREAM, Exchange, Upstream, answers, chunk
from tests.wire.conftest import Connect, StartGateway

PATIENCE = 30.0
ROUTES = """\
cors:
  origins: https://app.example
auth:
  token_endpoint: /auth/stream-token
  trusted_proxies: [127.0.0.2/32]
defaults:
  proxy_upstream: $SERVICE
routes:
- path: /few
  auth_required: false
  limits: {max_streams: 2}
- path: /each
  limits: {max_streams_per_user: 1}
- path: /two
  limits: {max_streams_per_user: 2}
- path: /paced
  limits: {rate: 2/h}
- path: /burst
  auth_required: false
  limits: {rate: 1/h, burst: 3}
- path: /quick
  limits: {rate: 2/s, burst: 1}
- path: /free
"""
SHARED = ROUTES + "limits: {redis: $REDIS_URL}\n"


def bearer(sub: str = "ada") -> str:
    return f"Authorization: Bearer {token(sub)}"


async def stays(exchange: Exchange) -> None:
    """A script: begin an event stream, and stay in it until the other side leaves."""
    await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
    await exchange.until_gone()


async def opened(client: RawClient, path: str, *headers: str) -> RawClient:
    """A stream that has begun."""
    await client.request(path, *headers)
    head = await client.head()
    assert head.status == 200, await client.rest()
    await client.until(b"data: 1")
    return client


async def refused(client: RawClient, path: str, *headers: str) -> Response:
    response = await client.fetch(path, *headers)
    assert response.status == 429, response
    return response


async def code(client: RawClient, path: str, *headers: str) -> str:
    return str((await refused(client, path, *headers)).json()["code"])


async def until_opened(connect: Connect, port: int, path: str, *headers: str) -> RawClient:
    """A stream that begins as soon as there is room: the gateway learns by and by who left."""
    async with asyncio.timeout(PATIENCE):
        while True:
            client = await connect(port)
            await client.request(path, *headers)
            if (await client.head()).status == 200:
                return client
            await client.rest()
            client.close()


@pytest.fixture
def alone(start_gateway: StartGateway, service: Upstream) -> GatewayProcess:
    service.script = stays
    return start_gateway(ROUTES)


# How many at a time


async def test_a_route_serves_as_many_at_a_time_as_it_may(
    alone: GatewayProcess, connect: Connect, service: Upstream
) -> None:
    first, _ = [await opened(await connect(alone.port), "/few") for _ in range(2)]
    client = await connect(alone.port)
    response = await refused(client, "/few", "Origin: https://app.example")
    assert response.json()["code"] == "too_many_streams"
    assert response.value("Retry-After") == "5"
    assert response.value("Access-Control-Allow-Origin") == "https://app.example"
    assert len(service.requests) == 2
    line = await alone.request_line(code="too_many_streams")
    assert (line["status"], line["end_reason"], line["route"]) == (429, "refused", "/few")
    first.close()
    await until_opened(connect, alone.port, "/few")


async def test_each_user_has_a_count_of_ones_own(
    alone: GatewayProcess, connect: Connect, service: Upstream
) -> None:
    first = await opened(await connect(alone.port), "/each", bearer())
    await opened(await connect(alone.port), "/each", bearer("grace"))
    client = await connect(alone.port)
    response = await refused(client, "/each", bearer())
    assert response.json()["code"] == "too_many_streams"
    assert response.json()["detail"].endswith("on this route, 1: close one.")
    await opened(client, "/free", bearer())
    first.close()
    await until_opened(connect, alone.port, "/each", bearer())


async def test_what_ends_in_whatever_way_makes_room(
    alone: GatewayProcess, connect: Connect, service: Upstream
) -> None:
    client = await connect(alone.port)

    async def breaks(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM)
        exchange.reset()

    service.script = breaks
    await client.request("/each", bearer())
    await client.head()
    await client.rest()
    service.script = answers()
    for _ in range(3):
        client = await connect(alone.port)
        assert (await client.fetch("/each", bearer())).status == 200
    service.script = stays
    await opened(client, "/each", bearer())


async def test_a_stream_token_that_was_refused_is_not_used_up(
    alone: GatewayProcess, connect: Connect, service: Upstream
) -> None:
    first = await opened(await connect(alone.port), "/each", bearer())
    client = await connect(alone.port)
    got = await client.fetch(
        "/auth/stream-token", bearer(), method="POST", body=b'{"path": "/each"}'
    )
    secret = got.json()["token"]
    for _ in range(2):
        assert await code(client, f"/each?token={secret}") == "too_many_streams"
    first.close()
    await until_opened(connect, alone.port, f"/each?token={secret}")


# How fast


async def test_a_rate_holds_for_each_user_and_says_when_to_come_again(
    alone: GatewayProcess, connect: Connect, service: Upstream
) -> None:
    service.script = answers()
    client = await connect(alone.port)
    for _ in range(2):
        assert (await client.fetch("/paced", bearer())).status == 200
    response = await refused(client, "/paced", bearer())
    assert response.json()["code"] == "rate_limited"
    assert 1750 < int(response.value("Retry-After") or 0) <= 1800
    assert (await client.fetch("/paced", bearer("grace"))).status == 200
    assert len(service.requests) == 3


async def test_without_a_subject_it_holds_for_an_address_which_a_trusted_proxy_names(
    alone: GatewayProcess, connect: Connect, service: Upstream
) -> None:
    service.script = answers()
    direct, other = await connect(alone.port), await connect(alone.port, source="127.0.0.3")
    proxy = await connect(alone.port, source="127.0.0.2")
    for _ in range(3):
        assert (await direct.fetch("/burst")).status == 200
    assert await code(direct, "/burst") == "rate_limited"
    assert await code(direct, "/burst", "X-Forwarded-For: 192.0.2.1") == "rate_limited"
    assert (await other.fetch("/burst")).status == 200
    for host in ("1", "2", "3"):
        header = f"X-Forwarded-For: 2001:db8::{host}"
        assert (await proxy.fetch("/burst", header)).status == 200
    assert await code(proxy, "/burst", "X-Forwarded-For: 2001:db8::4") == "rate_limited"
    assert (await proxy.fetch("/burst", "X-Forwarded-For: 2001:db8:0:1::1")).status == 200


async def test_a_client_that_waits_as_asked_is_accepted(
    alone: GatewayProcess, connect: Connect, service: Upstream
) -> None:
    service.script = answers()
    client = await connect(alone.port)
    assert (await client.fetch("/quick", bearer())).status == 200
    response = await refused(client, "/quick", bearer())
    await asyncio.sleep(int(response.value("Retry-After") or 0))
    assert (await client.fetch("/quick", bearer())).status == 200


async def test_what_has_no_leave_to_be_there_does_not_count(
    alone: GatewayProcess, connect: Connect, service: Upstream
) -> None:
    service.script = answers()
    client = await connect(alone.port)
    for _ in range(5):
        assert (await client.fetch("/paced")).status == 401
    assert (await client.fetch("/paced", bearer())).status == 200


# The gateway as a whole


async def test_a_connection_too_many_gets_503_and_the_ops_port_has_no_such_limit(
    start_gateway: StartGateway, connect: Connect, service: Upstream
) -> None:
    service.script = stays
    gateway = start_gateway(ROUTES + "limits: {max_connections: 2}\n")
    first, _ = [await opened(await connect(gateway.port), "/free", bearer()) for _ in range(2)]
    client = await connect(gateway.port)
    response = await client.fetch("/free", bearer())
    assert (response.status, response.value("Retry-After")) == (503, "1")
    assert response.json()["code"] == "too_many_connections"
    await client.closed()
    line = await gateway.request_line(code="too_many_connections")
    assert (line["status"], line["client"], line["path"]) == (503, "127.0.0.1", "")
    for _ in range(3):
        assert (await (await connect(gateway.ops_port)).fetch("/readyz")).status == 200
    first.close()
    await until_opened(connect, gateway.port, "/free", bearer())


async def test_a_head_has_the_bounds_of_the_file(
    start_gateway: StartGateway, connect: Connect, service: Upstream
) -> None:
    service.script = answers()
    gateway = start_gateway(ROUTES + "limits: {max_header_size: 64KiB, header_timeout: 500ms}\n")
    client = await connect(gateway.port)
    fields = [f"X-{number}: {'x' * 10_000}" for number in range(6)]
    assert (await client.fetch("/free", bearer(), *fields)).status == 200
    response = await client.fetch("/free", bearer(), *fields, f"X-7: {'x' * 10_000}")
    assert (response.status, response.json()["code"]) == (431, "headers_too_large")
    slow = await connect(gateway.port)
    await slow.send(b"GET /free HTTP/1.1\r\nHost: h\r\n")
    response = await slow.head()
    assert (response.status, (await slow.rest()).json()["code"]) == (408, "request_timeout")
    await slow.closed()
    line = await gateway.request_line(code="request_timeout")
    assert (line["status"], line["end_reason"]) == (408, "refused")
    assert await (await connect(gateway.port)).closed() == b""
    assert len(service.requests) == 1


async def test_the_time_for_a_head_bounds_no_stream(
    start_gateway: StartGateway, connect: Connect, service: Upstream
) -> None:
    async def lasts(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
        await asyncio.sleep(1)
        await exchange.send(chunk(b"data: 2\n\n"))
        await exchange.until_gone()

    service.script = lasts
    gateway = start_gateway(ROUTES + "limits: {header_timeout: 200ms}\n")
    client = await opened(await connect(gateway.port), "/free", bearer())
    await client.until(b"data: 2")


# More than one replica


class Replicas(NamedTuple):
    one: GatewayProcess
    other: GatewayProcess


@pytest.fixture
def replicas(start_gateway: StartGateway, service: Upstream, redis: RedisProcess) -> Replicas:
    service.script = stays
    return Replicas(*(start_gateway(SHARED, REDIS_URL=redis.url) for _ in range(2)))


async def test_a_user_has_as_many_streams_as_one_may_on_all_replicas_together(
    replicas: Replicas, connect: Connect
) -> None:
    one, other = replicas
    first = await opened(await connect(one.port), "/two", bearer())
    await opened(await connect(other.port), "/two", bearer())
    for gateway in replicas:
        client = await connect(gateway.port)
        assert await code(client, "/two", bearer()) == "too_many_streams"
        await opened(client, "/two", bearer("grace"))
    first.close()
    await until_opened(connect, other.port, "/two", bearer())


async def test_a_rate_is_that_of_all_replicas_together(
    replicas: Replicas, connect: Connect, service: Upstream
) -> None:
    service.script = answers()
    clients = [await connect(gateway.port) for gateway in replicas]
    for client in clients:
        assert (await client.fetch("/paced", bearer())).status == 200
    for client in clients:
        response = await refused(client, "/paced", bearer())
        assert response.json()["code"] == "rate_limited"
        assert 1750 < int(response.value("Retry-After") or 0) <= 1800


async def test_without_redis_streams_go_on_and_each_replica_holds_the_limits_alone(
    replicas: Replicas, connect: Connect, redis: RedisProcess, service: Upstream
) -> None:
    one, other = replicas
    running = await opened(await connect(one.port), "/each", bearer())
    exchange = await service.exchange()
    assert await code(await connect(other.port), "/each", bearer()) == "too_many_streams"
    redis.kill()
    assert await code(await connect(one.port), "/each", bearer()) == "too_many_streams"
    await opened(await connect(other.port), "/each", bearer())
    assert await code(await connect(other.port), "/each", bearer()) == "too_many_streams"
    await exchange.send(chunk(b"data: 2\n\n"))
    await running.until(b"data: 2")
    other.await_output("limit_store_unavailable")
    redis.start()
    other.await_output("limit_store_available")
    running.close()
    await one.request_line(route="/each", status=200)
    assert await code(await connect(one.port), "/each", bearer()) == "too_many_streams"
    assert (
        other.output.count("limit_store_unavailable")
        == other.output.count("limit_store_available")
        == 1
    )


async def test_a_redis_that_hangs_holds_back_a_request_for_a_moment_and_the_next_not_at_all(
    replicas: Replicas, connect: Connect, redis: RedisProcess, service: Upstream
) -> None:
    service.script = answers()
    client = await connect(replicas.one.port)
    assert (await client.fetch("/two", bearer())).status == 200
    redis.freeze()
    for _ in range(20):
        assert (await client.fetch("/two", bearer())).status == 200
    lines = await replicas.one.await_request_lines(21, route="/two", status=200)
    waits = sorted(line["duration_ms"] for line in lines)
    assert 200 < waits[-1] < 1000
    assert sum(waits[:-1]) < 2000
    redis.thaw()
    replicas.one.await_output('"limit_store_available"')


async def test_the_streams_of_a_replica_that_was_killed_make_room_when_their_leases_run_out(
    replicas: Replicas, connect: Connect, redis: RedisProcess
) -> None:
    one, other = replicas
    await opened(await connect(one.port), "/each", bearer())
    one.signal(signal.SIGKILL)
    one.exit_code()
    client = await connect(other.port)
    assert await code(client, "/each", bearer()) == "too_many_streams"
    async with Redis.from_url(redis.url) as store:
        [key] = await store.keys(STREAMS + "*")
        [lease] = await store.zrange(key, 0, -1)
        assert isinstance(lease, bytes)
        end, now = await store.zscore(key, lease), await store.time()
        assert float(end or 0) / 1e6 <= now[0] + 1 + LEASE
        assert await store.pttl(key) <= LEASE * 1000
        await store.zadd(key, {lease: now[0] * 1e6})
    await opened(client, "/each", bearer())


async def test_a_replica_that_ends_in_order_leaves_nothing_behind(
    replicas: Replicas, connect: Connect
) -> None:
    one, other = replicas
    client = await opened(await connect(one.port), "/each", bearer())
    client.close()
    await one.request_line(route="/each")
    assert one.stop() == 0
    await opened(await connect(other.port), "/each", bearer())
