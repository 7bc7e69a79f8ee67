"""A gateway that runs out of descriptors says so, stays in order, and serves again afterwards."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client import parser

from tests.support.gateway_process import GatewayProcess, environment
from tests.support.raw_client import RawClient
from tests.support.upstream import EVENT_STREAM, LAST_CHUNK, Exchange, Upstream, answers, chunk
from tests.wire.conftest import Connect

ROUTES = """
- path: /{rest:path}
  proxy_upstream: $SERVICE
  auth_required: false
"""
LIMIT = 64

Start = Callable[..., GatewayProcess]


@pytest.fixture
def start(service: Upstream, tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as gateways:

        def start(*options: str, open_files: tuple[int, int] = (LIMIT, LIMIT)) -> GatewayProcess:
            env = environment(SERVICE=f"http://127.0.0.1:{service.port}")
            gateway = GatewayProcess.serve(
                ROUTES, tmp_path, *options, env=env, open_files=open_files
            )
            gateways.callback(gateway.stop)
            return gateway

        yield start


async def metric(connect: Connect, gateway: GatewayProcess, name: str, **labels: str) -> float:
    text = (await (await connect(gateway.ops_port)).fetch("/metrics")).body.decode()
    [value] = [
        sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
        if (sample.name, sample.labels) == (name, labels)
    ]
    return float(value)


async def status_of(client: RawClient, path: str) -> int:
    """Give the status of a response, 0 where the connection was closed instead."""
    try:
        return (await client.fetch(path)).status
    except (OSError, AssertionError, EOFError):
        return 0


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
async def test_more_connections_than_descriptors_are_rejected_logged_once_and_counted(
    start: Start, connect: Connect, service: Upstream, options: tuple[str, ...]
) -> None:
    gateway = start(*options)
    service.script = answers(b"hello")
    clients = [await connect(gateway.port) for _ in range(150)]
    statuses = Counter([await status_of(client, "/x") for client in clients])
    assert statuses[200] >= 20
    assert statuses[0] + statuses[503] >= 40
    assert statuses.keys() <= {0, 200, 503}
    rejected = await metric(
        connect, gateway, "gateway_connections_rejected_total", reason="open_files"
    )
    assert rejected == statuses[0] + statuses[503]
    processes = 2 if options else 1
    lines = await gateway.await_lines("open_files_exhausted", processes)
    assert [line["limit"] for line in lines] == [LIMIT] * processes
    for client in clients:
        client.close()
    ended = await gateway.await_lines("open_files_recovered", processes)
    assert sum(line["rejected"] for line in ended) == rejected
    assert len(gateway.lines("open_files_exhausted")) == processes
    again = [await connect(gateway.port) for _ in range(20)]
    assert [await status_of(client, "/x") for client in again] == [200] * 20


async def test_an_upstream_is_not_ejected_when_connections_to_it_get_no_descriptor(
    start: Start, connect: Connect, service: Upstream
) -> None:
    over = asyncio.Event()

    async def stays(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n"))
        await over.wait()
        await exchange.send(LAST_CHUNK)

    gateway = start()
    service.script = answers(b"hello")
    clients = [await connect(gateway.port) for _ in range(24)]
    assert [await status_of(client, "/x") for client in clients] == [200] * 24  # all are accepted
    service.script = stays
    for client in clients:
        await client.request("/x")
    statuses = Counter([(await client.head()).status for client in clients])
    over.set()
    assert statuses.keys() == {200, 503}
    line = await gateway.request_line(status=503)
    assert (line["code"], line["error"]) == ("too_many_connections", "too many open files")
    assert len(await gateway.await_lines("open_files_exhausted")) == 1
    await gateway.await_lines("open_files_recovered")
    service.script = answers(b"hello")
    assert await status_of(await connect(gateway.port), "/x") == 200
    assert gateway.lines("upstream_ejected") == []


async def test_the_limit_is_raised_at_the_start(start: Start, connect: Connect) -> None:
    gateway = start(open_files=(256, 512))
    assert await metric(connect, gateway, "process_max_fds") == 512
