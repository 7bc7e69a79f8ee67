"""Alive and ready, on both ports, for probes that know nothing of routes."""

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.wire.conftest import Connect


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize("port", ["port", "ops_port"])
async def test_a_running_gateway_is_alive_and_ready(
    gateway: GatewayProcess, connect: Connect, path: str, port: str
) -> None:
    client = await connect(getattr(gateway, port))
    got = await client.fetch(path)
    assert got.status == 200
    assert got.json()["status"]
    assert (await client.fetch(path, method="HEAD")).status == 200


async def test_the_ops_port_serves_no_routes(gateway: GatewayProcess, connect: Connect) -> None:
    client = await connect(gateway.ops_port)
    assert (await client.fetch("/open/x")).status == 404


async def test_probes_do_not_fill_the_log(gateway: GatewayProcess, connect: Connect) -> None:
    client = await connect(gateway.port)
    await client.fetch("/healthz")
    await client.fetch("/nowhere", "X-Request-Id: after-the-probe")
    await gateway.request_line(request_id="after-the-probe")
    assert gateway.request_lines(path="/healthz") == []
