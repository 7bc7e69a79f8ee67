"""A service's name is looked up without holding up anybody else; its addresses may change.

The names are those of a DNS server of the tests' own, which the gateway is set to ask.
"""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.support.dns_server import DnsServer
from tests.support.gateway_process import GatewayProcess, environment
from tests.support.raw_client import RawClient
from tests.support.upstream import Exchange, Upstream, response
from tests.wire.conftest import Connect, StartGateway

ROUTES = """\
defaults: {auth_required: false}
routes:
- path: /x
  proxy_upstream: http://service.test:$PORT
- path: /silent
  proxy_upstream: http://silent.test:$PORT
  connect_timeout: 2s
- path: /number
  proxy_upstream: http://127.0.0.2:$PORT
- path: /unknown
  proxy_upstream: http://unknown.test:$PORT
- path: /localhost
  proxy_upstream: http://localhost:$LOCAL
"""
ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


@pytest.fixture
async def services() -> AsyncIterator[tuple[int, dict[str, Upstream]]]:
    """A service on one port of each address, that answers with the address, once a connection."""
    async with AsyncExitStack() as stack:
        found: dict[str, Upstream] = {}
        port = 0
        for address in ADDRESSES:
            taken = socket.create_server((address, port))
            port = taken.getsockname()[1]
            found[address] = service_of(address)
            found[address].start(taken)
            stack.push_async_callback(found[address].stop)
        yield port, found


def service_of(address: str) -> Upstream:
    async def script(exchange: Exchange) -> None:
        await exchange.send(response(address.encode(), "Connection: close"))
        exchange.finish()

    service = Upstream()
    service.script = script
    return service


@pytest.fixture
async def dns() -> AsyncIterator[DnsServer]:
    async with DnsServer.running() as server:
        server.addresses["service.test"] = ADDRESSES[:2]
        server.silent.add("silent.test")
        yield server


@pytest.fixture
async def gateway(
    start_gateway: StartGateway,
    dns: DnsServer,
    services: tuple[int, dict[str, Upstream]],
    service: Upstream,
) -> GatewayProcess:
    service.script = service_of("local").script
    variables = {
        "GATEWAY_DNS_SERVERS": dns.place,
        "PORT": str(services[0]),
        "LOCAL": str(service.port),
    }
    return await asyncio.to_thread(start_gateway, ROUTES, **variables)


async def who(client: RawClient, count: int) -> Counter[str]:
    """Who answered so many requests."""
    answers = [await client.fetch("/x") for _ in range(count)]
    return Counter(bytes(answer.body).decode() for answer in answers)


async def test_the_addresses_of_a_name_share_its_connections(
    gateway: GatewayProcess, connect: Connect
) -> None:
    client = await connect(gateway.port)
    assert await who(client, 6) == {"127.0.0.2": 3, "127.0.0.3": 3}


async def test_an_address_that_is_gone_costs_no_request(
    gateway: GatewayProcess, connect: Connect, services: tuple[int, dict[str, Upstream]]
) -> None:
    await services[1]["127.0.0.2"].stop()
    client = await connect(gateway.port)
    assert await who(client, 6) == {"127.0.0.3": 6}
    assert "upstream_ejected" not in gateway.output


async def test_addresses_that_change_behind_a_name_are_followed(
    gateway: GatewayProcess, connect: Connect, dns: DnsServer
) -> None:
    client = await connect(gateway.port)
    assert await who(client, 2) == {"127.0.0.2": 1, "127.0.0.3": 1}
    dns.addresses["service.test"] = ("127.0.0.4",)
    async with asyncio.timeout(10):
        while await who(client, 1) != {"127.0.0.4": 1}:
            pass
    assert await who(client, 3) == {"127.0.0.4": 3}


async def test_a_name_that_gets_no_answer_delays_its_own_requests_alone(
    gateway: GatewayProcess, connect: Connect, dns: DnsServer
) -> None:
    hanging = [await connect(gateway.port) for _ in range(6)]
    for client in hanging:
        await client.request("/silent")
    async with asyncio.timeout(10):
        while not dns.asked["silent.test"]:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.001)
    client = await connect(gateway.port)
    assert (await client.fetch("/number")).body == b"127.0.0.2"
    assert await who(client, 2) == {"127.0.0.2": 1, "127.0.0.3": 1}
    assert (await client.fetch("/localhost")).body == b"local"
    assert gateway.request_lines(path="/silent") == [], "none of the six has an answer yet"
    for client in hanging:
        got = await client.head()
        assert got.status in {502, 504}
    lines = await gateway.await_lines("request", 10)
    silent = [line for line in lines if line["path"] == "/silent"]
    assert {line["code"] for line in silent} <= {"upstream_timeout", "upstream_unreachable"}


async def test_many_who_wait_ask_once(
    gateway: GatewayProcess, connect: Connect, dns: DnsServer
) -> None:
    dns.ttl = 30
    clients = [await connect(gateway.port) for _ in range(8)]
    answers = await asyncio.gather(*(client.fetch("/x") for client in clients))
    assert {answer.status for answer in answers} == {200}
    assert dns.asked["service.test"] == 1


async def test_while_dns_is_silent_the_last_answer_serves(
    gateway: GatewayProcess, connect: Connect, dns: DnsServer
) -> None:
    client = await connect(gateway.port)
    await who(client, 1)
    dns.silent.add("service.test")
    async with asyncio.timeout(10):
        while dns.asked["service.test"] == 1:  # until the answer has expired
            assert (await who(client, 1)).total() == 1
    assert await who(client, 4) == {"127.0.0.2": 2, "127.0.0.3": 2}


async def test_a_name_that_does_not_exist_is_a_502_and_the_log_says_why(
    gateway: GatewayProcess, connect: Connect
) -> None:
    got = await (await connect(gateway.port)).fetch("/unknown")
    assert (got.status, got.json()["code"]) == (502, "upstream_unreachable")
    line = await gateway.request_line(path="/unknown")
    assert line["error"] == "unknown.test: Domain name not found"


async def test_servers_that_are_none_are_reported_at_the_start(
    gateway: GatewayProcess, connect: Connect, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("servers")
    (folder / "routes.yaml").write_text(
        "- path: /x\n  proxy_upstream: http://a\n  auth_required: false\n"
    )
    second = GatewayProcess(
        *("serve", "--routes", str(folder / "routes.yaml"), "--port", "0", "--ops-port", "0"),
        env=environment(GATEWAY_DNS_SERVERS="nowhere at all"),
    )
    assert await asyncio.to_thread(second.exit_code) == 1
    assert second.error_output.startswith("gateway: GATEWAY_DNS_SERVERS: ")
    assert second.error_output.count("\n") == 1
