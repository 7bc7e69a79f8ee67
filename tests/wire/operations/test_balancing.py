"""Several services behind one route: each gets its share, and one that is gone costs nobody."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import RawClient, Response
from tests.support.routes import dead, port_of
from tests.support.upstream import EVENT_STREAM, Exchange, Upstream, answers, chunk
from tests.wire.conftest import Connect, StartGateway

OPEN = "defaults: {auth_required: false}\nroutes:\n"
LIST = OPEN + "- path: /{rest:path}\n  proxy_upstream: $MANY\n"
CHECKED = LIST + "  health_check: {path: /healthz, interval: 50ms, unhealthy_after: 2}\n"


class Replica:
    """A service on an address of its own, which can go away and come back there."""

    def __init__(self, name: str, address: str = "127.0.0.1") -> None:
        self.name = name
        self._place = socket.create_server((address, 0), backlog=128)
        self.port = port_of(self._place)
        self.url = f"http://{address}:{self.port}"
        self.service = Upstream()
        self.health = 200
        self._address = address

    def start(self) -> None:
        self.service = Upstream()
        self.service.script = self.script
        self.service.start(self._place)

    async def script(self, exchange: Exchange) -> None:
        if exchange.request.target == "/healthz":
            await answers(b"", status=f"{self.health} So")(exchange)
        else:
            await answers(self.name.encode())(exchange)

    async def kill(self) -> None:
        """Close its port and every connection, and keep the port from anyone else."""
        await self.service.stop()
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind((self._address, self.port))

    def revive(self) -> None:
        self._place.listen(128)
        self.start()

    async def close(self) -> None:
        await self.service.stop()
        self._place.close()


Replicas = Callable[..., list[Replica]]
Start = Callable[..., Awaitable[GatewayProcess]]


@pytest.fixture
async def replicas() -> AsyncIterator[Replicas]:
    async with AsyncExitStack() as stack:

        def make(*names: str, addresses: tuple[str, ...] = ()) -> list[Replica]:
            places = addresses or ("127.0.0.1",) * len(names)
            made = [Replica(*each) for each in zip(names, places, strict=True)]
            for replica in made:
                replica.start()
                stack.push_async_callback(replica.close)
            return made

        yield make


@pytest.fixture
def start(start_gateway: StartGateway) -> Start:
    """Start a gateway whose `$MANY` are these replicas."""

    async def start(routes: str, *replicas: Replica, **variables: str) -> GatewayProcess:
        many = ", ".join(replica.url for replica in replicas)
        return await asyncio.to_thread(start_gateway, routes, **{"MANY": many, **variables})

    return start


async def names(client: RawClient, count: int) -> Counter[str]:
    """Who answered so many requests; each must have been answered."""
    counts: Counter[str] = Counter()
    for _ in range(count):
        got = await client.fetch("/x")
        assert got.status == 200, bytes(got.body)
        counts[bytes(got.body).decode()] += 1
    return counts


async def until(client: RawClient, is_so: Callable[[Response], bool], target: str) -> Response:
    """Ask again until the answer is as wanted."""
    async with asyncio.timeout(15):
        while not is_so(got := await client.fetch(target)):
            pass
        return got


async def test_each_service_gets_its_share_and_the_log_says_who_answered(
    start: Start, replicas: Replicas, connect: Connect
) -> None:
    some = replicas("a", "b", "c", addresses=("127.0.0.1", "127.0.0.2", "127.0.0.3"))
    gateway = await start(LIST, *some)
    client = await connect(gateway.port)
    assert await names(client, 9) == {"a": 3, "b": 3, "c": 3}
    await client.fetch("/x", "X-Request-Id: the-last")
    line = await gateway.request_line(request_id="the-last")
    logged = Counter(line["upstream"] for line in gateway.request_lines())
    assert line["upstream"] in logged
    assert sorted(logged.values()) == [3, 3, 4]
    assert logged.keys() == {replica.url for replica in some}


async def test_each_service_is_asked_under_its_own_host_and_base_path(
    start: Start, replicas: Replicas, connect: Connect
) -> None:
    one, other = replicas("a", "b")
    routes = OPEN + "- path: /x\n  proxy_upstream: [$ONE, $OTHER/v2]\n"
    gateway = await start(routes, ONE=one.url, OTHER=other.url)
    await names(await connect(gateway.port), 2)
    requests = [replica.service.request for replica in (one, other)]
    seen = {(request.target, request.value("Host")) for request in requests}
    assert seen == {("/x", f"127.0.0.1:{one.port}"), ("/v2/x", f"127.0.0.1:{other.port}")}


async def test_schemes_may_be_mixed(
    start: Start, replicas: Replicas, connect: Connect, tmp_path: Path
) -> None:
    (one,) = replicas("tcp")
    path = tmp_path / "service.sock"
    taken = socket.socket(socket.AF_UNIX)
    taken.bind(str(path))
    taken.listen()
    other = Upstream()
    other.script = answers(b"unix")
    other.start(taken)
    gateway = await start(LIST, MANY=f"{one.url},unix:{path}")
    assert await names(await connect(gateway.port), 4) == {"tcp": 2, "unix": 2}
    await other.stop()


async def open_streams(connect: Connect, gateway: GatewayProcess, count: int) -> list[RawClient]:
    clients = [await connect(gateway.port) for _ in range(count)]
    for number, client in enumerate(clients):
        await client.request("/x", f"X-Request-Id: stream-{number}")
        await client.head()
    return clients


async def test_with_least_streams_a_new_stream_goes_where_the_fewest_are(
    start: Start, replicas: Replicas, connect: Connect
) -> None:
    some = replicas("a", "b", "c")

    async def stream(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
        await exchange.until_gone()

    gateway = await start(LIST + "  balance: least_streams\n", *some)
    for replica in some:
        replica.service.script = stream
    clients = await open_streams(connect, gateway, 9)
    assert [len(replica.service.requests) for replica in some] == [3, 3, 3]
    for request in some[1].service.requests:
        name = request.value("X-Request-Id") or ""
        clients[int(name.removeprefix("stream-"))].close()
        await gateway.request_line(request_id=name)
    await open_streams(connect, gateway, 3)
    assert [len(replica.service.requests) for replica in some] == [3, 6, 3]


async def test_a_service_that_is_killed_costs_no_request_and_is_found_again(
    start: Start, replicas: Replicas, connect: Connect
) -> None:
    one, other = replicas("a", "b")
    gateway = await start(LIST, one, other)
    client = await connect(gateway.port)
    assert await names(client, 4) == {"a": 2, "b": 2}
    await one.kill()
    assert await names(client, 20) == {"b": 20}
    assert len(await gateway.await_lines("upstream_ejected")) == 1
    one.revive()
    await until(client, lambda got: got.body == b"a", "/x")
    await asyncio.to_thread(gateway.await_output, "upstream_recovered")
    assert await names(client, 4) == {"a": 2, "b": 2}


async def test_a_post_is_tried_elsewhere_where_nothing_of_it_was_sent(
    start: Start, replicas: Replicas, connect: Connect
) -> None:
    one, other = replicas("a", "b")
    gateway = await start(LIST, one, other)
    await one.kill()
    client = await connect(gateway.port)
    for number in range(6):
        body = f"order {number}".encode()
        assert (await client.fetch("/x", method="POST", body=body)).body == b"b"
    assert [bytes(request.body) for request in other.service.requests] == [
        f"order {number}".encode() for number in range(6)
    ]
    await gateway.request_line(bytes_in=len(b"order 5"))
    assert {line["upstream"] for line in gateway.request_lines()} == {other.url}


async def test_where_all_are_gone_it_is_a_502_and_one_that_is_back_is_used_at_once(
    start: Start, replicas: Replicas, connect: Connect
) -> None:
    some = replicas("a", "b")
    gateway = await start(LIST, *some)
    client = await connect(gateway.port)
    for replica in some:
        await replica.kill()
    for _ in range(8):
        got = await client.fetch("/x")
        assert (got.status, got.json()["code"]) == (502, "upstream_unreachable")
    for replica in some:
        replica.revive()
    assert sum((await names(client, 4)).values()) == 4


async def test_one_service_without_a_health_check_is_never_a_503(
    start: Start, connect: Connect
) -> None:
    with dead() as taken:
        gateway = await start(LIST, MANY=f"http://127.0.0.1:{port_of(taken)}")
        client = await connect(gateway.port)
        assert {(await client.fetch("/x")).status for _ in range(8)} == {502}
        assert (await client.fetch("/readyz")).status == 200


async def test_retries_can_be_turned_off(
    start: Start, replicas: Replicas, connect: Connect
) -> None:
    (one,) = replicas("a")
    with dead() as taken:
        many = f"{one.url}, http://127.0.0.1:{port_of(taken)}"
        gateway = await start(LIST + "  retries: 0\n", MANY=many)
        client = await connect(gateway.port)
        statuses = Counter([(await client.fetch("/x")).status for _ in range(4)])
    assert statuses == {200: 2, 502: 2}


# Health checks


async def test_a_service_that_says_it_is_ill_gets_nothing_until_it_is_well(
    start: Start, replicas: Replicas, connect: Connect
) -> None:
    one, other = replicas("a", "b")
    gateway = await start(CHECKED, one, other)
    client = await connect(gateway.port)
    one.health = 503
    await asyncio.to_thread(gateway.await_output, '"upstream_marked_unhealthy"')
    assert await names(client, 6) == {"b": 6}
    assert (await client.fetch("/readyz")).status == 200, "one of two is enough"
    one.health = 200
    await asyncio.to_thread(gateway.await_output, '"upstream_marked_healthy"')
    assert await names(client, 6) == {"a": 3, "b": 3}


@pytest.mark.parametrize("required", [False, True])
async def test_where_all_are_ill_it_is_a_503_at_once_and_the_gateway_unready_if_they_are_required(
    start: Start, replicas: Replicas, connect: Connect, *, required: bool
) -> None:
    some = replicas("a", "b")
    checked = CHECKED.replace("health_check: {", "health_check: {required: true, ")
    gateway = await start(checked if required else CHECKED, *some)
    client = await connect(gateway.port)
    for replica in some:
        replica.health = 500
    got = await until(client, lambda got: got.status == 503, "/x")
    assert (got.json()["code"], got.value("Retry-After")) == ("upstream_unhealthy", "1")
    line = await gateway.request_line(code="upstream_unhealthy")
    assert (line["upstream"], line["end_reason"]) == ("", "error")
    ready = await client.fetch("/readyz")
    assert ready.status == (503 if required else 200)
    paths = ["/{rest:path}"]
    assert ready.json()["checks"]["upstreams"] == {
        "ok": False,
        "routes_without": paths,
        "routes_degraded": [],
        "required_without": paths if required else [],
    }
    for replica in some:
        replica.health = 204
    await until(client, lambda got: got.status == 200, "/x")
    await until(client, lambda got: got.status == 200, "/readyz")


async def test_a_health_check_finds_one_that_is_gone_and_one_that_is_back(
    start: Start, replicas: Replicas, connect: Connect
) -> None:
    (one,) = replicas("a")
    gateway = await start(CHECKED, one)
    client = await connect(gateway.port)
    await one.kill()
    await until(client, lambda got: got.status == 503, "/x")
    one.revive()
    await until(client, lambda got: got.status == 200, "/x")


async def test_one_service_of_many_routes_is_asked_once_each_time(
    start: Start, replicas: Replicas, connect: Connect
) -> None:
    (one,) = replicas("a")
    routes = "defaults:\n  auth_required: false\n  proxy_upstream: $MANY\n"
    routes += "  health_check: {path: /healthz, interval: 1h}\nroutes:\n"
    routes += "- path: /a\n- path: /b\n- path: /c\n  health_check: none\n"
    gateway = await start(routes, one)
    await one.service.exchange()
    assert (await (await connect(gateway.port)).fetch("/c")).body == b"a"
    assert [request.target for request in one.service.requests] == ["/healthz", "/c"]


async def test_checks_end_with_the_gateway(start: Start, replicas: Replicas) -> None:
    (one,) = replicas("a")
    gateway = await start(CHECKED, one)
    await one.service.exchange()
    assert await asyncio.to_thread(gateway.stop) == 0
    assert gateway.error_output == ""


async def test_after_a_reload_the_checks_are_those_of_the_new_routes(
    start: Start, replicas: Replicas, connect: Connect, tmp_path: Path
) -> None:
    one, other = replicas("a", "b")
    check = "{path: /healthz, interval: 50ms, unhealthy_after: 2}"
    first = f"- {{path: /a, proxy_upstream: $ONE, health_check: {check}}}\n"
    second = f"- {{path: /b, proxy_upstream: $OTHER, health_check: {check}}}\n"
    gateway = await start(OPEN + first, ONE=one.url, OTHER=other.url)
    client = await connect(gateway.port)

    async def reload(routes: str, times: int) -> None:
        draft = tmp_path / "draft~"
        draft.write_text(OPEN + routes)
        draft.rename(tmp_path / "routes.yaml")
        await gateway.await_lines("reloaded", times)

    async def fall_ill_and_recover(replica: Replica, times: int) -> None:
        replica.health = 503
        downs = await gateway.await_lines("upstream_marked_unhealthy", times)
        assert downs[-1]["upstream"] == replica.url
        replica.health = 200
        await gateway.await_lines("upstream_marked_healthy", times - 1)

    one.health = 503
    await gateway.await_lines("upstream_marked_unhealthy")
    await reload(first + second, 1)
    assert (await client.fetch("/a")).json()["code"] == "upstream_unhealthy"
    assert (await client.fetch("/b")).body == b"b"
    ready = (await client.fetch("/readyz")).json()
    assert ready["checks"]["upstreams"]["routes_without"] == ["/a"]
    await fall_ill_and_recover(other, 2)
    assert len(gateway.lines("upstream_marked_unhealthy")) == 2, (
        "what was known of the first one was kept"
    )

    await reload(second, 2)
    assert (await client.fetch("/readyz")).status == 200
    await fall_ill_and_recover(other, 3)
    asked = len(one.service.requests)
    await fall_ill_and_recover(other, 4)
    assert len(one.service.requests) == asked
    assert await asyncio.to_thread(gateway.stop) == 0
    assert gateway.error_output == ""
