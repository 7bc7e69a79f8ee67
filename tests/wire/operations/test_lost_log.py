"""A log that nobody reads costs no request its answer, now or for ever."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser

from tests.support.fork_server import Child, Job
from tests.support.fronts import free_port
from tests.support.gateway_process import PATIENCE, ROOT, environment
from tests.support.upstream import Upstream, answers
from tests.wire.conftest import Connect

ROUTES = """
- path: /{rest:path}
  proxy_upstream: $SERVICE
  auth_required: false
"""

LONG = "/" + "x" * 6000  # a path that fills the buffer of the log with some 700 lines


class Unread:
    """A gateway whose log is read only as far as a test asks for it."""

    def __init__(self, directory: Path, service: Upstream, *options: str) -> None:
        file = directory / "routes.yaml"
        file.write_text(ROUTES)
        ports = ("--host", "127.0.0.1", "--port", "0", "--ops-port", "0")
        env = environment(SERVICE=f"http://127.0.0.1:{service.port}")
        arguments = ("serve", "--routes", str(file), *ports, *options)
        self.process = Child(Job(arguments, env, str(ROOT)))
        self.log = self.process.stdout.buffer
        self.stderr = self.process.stderr.buffer
        line = json.loads(self.log.readline())
        self.port, self.ops_port = int(line["port"]), int(line["ops_port"])

    async def end(self) -> list[dict[str, Any]]:
        """Read the log to its end, which SIGTERM brings about; give its lines."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            lines = await asyncio.to_thread(self.log.readlines)
        assert await asyncio.to_thread(self.process.wait, PATIENCE) == 0
        assert self.stderr.read() == b""
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        self.process.kill()
        self.process.close()


Start = Callable[..., Unread]


@pytest.fixture
def start(service: Upstream, tmp_path: Path) -> Iterator[Start]:
    service.script = answers(b"hello")
    with ExitStack() as gateways:

        def start(*options: str) -> Unread:
            unread = Unread(tmp_path, service, *options)
            gateways.callback(unread.close)
            return unread

        yield start


async def dropped(connect: Connect, gateway: Unread) -> float:
    """Give how many lines the gateway says it dropped."""
    text = (await (await connect(gateway.ops_port)).fetch("/metrics")).body.decode()
    [family] = [
        each
        for each in parser.text_string_to_metric_families(text)
        if each.name == "gateway_log_lines_dropped"
    ]
    return float(family.samples[0].value)


async def ask(connect: Connect, port: int, path: str, count: int) -> None:
    client = await connect(port)
    for _ in range(count):
        assert (await client.fetch(path)).body == b"hello"


def events(lines: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == name]


async def test_when_the_reader_of_the_log_left_requests_are_answered_and_the_end_is_clean(
    start: Start, connect: Connect
) -> None:
    gateway = start()
    gateway.log.close()
    await ask(connect, gateway.port, "/x", 3)
    client = await connect(gateway.port)
    assert (await client.fetch("/..")).status == 400
    await (await connect(gateway.port)).send(b"nonsense\r\n\r\n")
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(PATIENCE) == 0
    [reported] = gateway.stderr.read().decode().splitlines()
    assert reported.startswith("gateway: cannot write the log: ")


async def test_while_nobody_reads_the_log_all_requests_are_answered_and_lost_lines_are_counted(
    start: Start, connect: Connect
) -> None:
    gateway = start()
    await ask(connect, gateway.port, LONG, 1000)
    count = await dropped(connect, gateway)
    lines = await gateway.end()
    assert count > 100
    [reported] = events(lines, "log_lines_dropped")
    assert (reported["count"], reported["level"]) == (count, "warning")
    assert len(events(lines, "request")) == 1000 - count
    assert lines[-1]["event"] == "stopped"


async def test_an_end_writes_all_lines_that_wait(start: Start, connect: Connect) -> None:
    gateway = start()
    await ask(connect, gateway.port, LONG, 500)
    assert await dropped(connect, gateway) == 0
    lines = await gateway.end()
    assert len(events(lines, "request")) == 500
    assert lines[-1]["event"] == "stopped"


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
async def test_an_end_does_not_wait_for_ever_for_a_reader_of_the_log(
    start: Start, connect: Connect, options: tuple[str, ...]
) -> None:
    gateway = start(*options)
    await ask(connect, gateway.port, LONG, 50)
    gateway.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(gateway.process.wait, PATIENCE) == 0
    reported = gateway.stderr.read().decode().splitlines()
    assert reported
    assert all("stdout took no more of the log within 2s of the end" in line for line in reported)


async def test_workers_write_whole_lines_to_a_log_that_is_read_slowly(
    start: Start, connect: Connect
) -> None:
    gateway = start("--workers", "2")
    await asyncio.gather(*(ask(connect, gateway.port, LONG, 50) for _ in range(8)))
    lines = await gateway.end()
    requests = events(lines, "request")
    assert len(requests) == 400
    assert {line["path"] for line in requests} == {LONG}
    assert lines[-1]["event"] == "stopped"


async def test_lines_that_workers_dropped_are_counted_together(
    start: Start, connect: Connect
) -> None:
    gateway = start("--workers", "2")
    await asyncio.gather(*(ask(connect, gateway.port, LONG, 250) for _ in range(8)))
    count = await dropped(connect, gateway)
    lines = await gateway.end()
    assert count > 100
    assert sum(line["count"] for line in events(lines, "log_lines_dropped")) == count
    assert len(events(lines, "request")) == 2000 - count


async def until_it_listens(port: int) -> None:
    """Wait for a gateway that has no log to say it in."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                return


@contextmanager
def without_stdout(
    directory: Path, service: Upstream, port: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a gateway whose stdout is closed."""
    (directory / "routes.yaml").write_text(ROUTES)
    ports = ("--host", "127.0.0.1", "--port", str(port), "--ops-port", "0")
    routes = str(directory / "routes.yaml")
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--routes", routes, *ports],
        env=environment(SERVICE=f"http://127.0.0.1:{service.port}"),
        cwd=ROOT,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: os.close(1),  # noqa: PLW1509 - no thread of ours holds a lock
    ) as process:
        yield process
        process.kill()


async def test_a_gateway_without_a_stdout_serves(
    service: Upstream, tmp_path: Path, connect: Connect
) -> None:
    service.script = answers(b"hello")
    port = free_port()
    with without_stdout(tmp_path, service, port) as process:
        await until_it_listens(port)
        await ask(connect, port, "/x", 3)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, PATIENCE) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
