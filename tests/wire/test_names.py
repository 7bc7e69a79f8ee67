"""A service's name is looked up anew: its addresses share the connections, and may change.

The names are of the tests' own: nss_wrapper stands before the system's resolver in the gateway.
"""

import asyncio
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.wire.conftest import Connect, StartGateway
from tests.wire.gateway_process import GatewayProcess
from tests.wire.raw_client import RawClient
from tests.wire.upstream import Exchange, Upstream, response

ROUTES = """\
- path: /x
  proxy_upstream: http://service.test:$PORT
  auth_required: false
"""
ADDRESSES = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


class Names:
    """The names that a gateway finds, and who answers at their addresses."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._version = 0

    def are(self, *addresses: str) -> None:
        """Say what `service.test` is from now on."""
        new = self.file.with_suffix(".new")
        new.write_text("".join(f"{address} service.test\n" for address in addresses))
        self._version += 10  # it looks for a later second
        os.utime(new, (self._version, self._version))
        new.rename(self.file)


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
def names(tmp_path: Path) -> Names:
    return Names(tmp_path / "hosts")


@pytest.fixture
async def gateway(
    start_gateway: StartGateway, names: Names, services: tuple[int, dict[str, Upstream]]
) -> GatewayProcess:
    names.are(*ADDRESSES[:2])
    variables = {
        "LD_PRELOAD": "libnss_wrapper.so",
        "NSS_WRAPPER_HOSTS": str(names.file),
        "PORT": str(services[0]),
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
    assert "upstream_failing" not in gateway.output


async def test_addresses_that_change_behind_a_name_are_followed(
    gateway: GatewayProcess, connect: Connect, names: Names
) -> None:
    client = await connect(gateway.port)
    assert await who(client, 2) == {"127.0.0.2": 1, "127.0.0.3": 1}
    names.are("127.0.0.4")
    assert await who(client, 2) == {"127.0.0.4": 2}
    names.are("127.0.0.2", "127.0.0.4")
    assert await who(client, 2) == {"127.0.0.2": 1, "127.0.0.4": 1}
