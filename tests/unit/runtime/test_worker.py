"""A worker does what its supervisor says, and ends when there is none any more."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
import structlog

from gateway.runtime.ipc import Channel
from gateway.runtime.settings import Settings
from gateway.runtime.worker import Worker, WorkerBriefing
from gateway.server.connection_count import ConnectionCount
from gateway.server.listeners import Listener, close_listeners, open_listeners, port_of
from gateway.telemetry import logging

PATIENCE = 10.0
ROUTE = b"- {path: /, proxy_upstream: 'http://127.0.0.1:1', auth_required: false}\n"


@dataclass(slots=True)
class Seat:
    """The supervisor's place: what the worker said, and the channel to it."""

    listeners: list[Listener]
    data: bytes = ROUTE
    faults: list[str] = field(default_factory=list)
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    has_failed: asyncio.Event = field(default_factory=asyncio.Event)

    async def brief(self) -> WorkerBriefing:
        settings = Settings("127.0.0.1", 0, 0, 0.0, 0.0)
        return WorkerBriefing(settings, b"k" * 32, "routes.yaml", self.data, 0, "json", "critical")

    async def ready(self) -> None:
        self.is_ready.set()

    async def failed(self, fault: str) -> None:
        self.faults.append(fault)
        self.has_failed.set()


@pytest.fixture(autouse=True)
def own_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give back what a worker, which has a process of its own, sets for good."""
    monkeypatch.setattr(logging._requests, "sink", None)
    monkeypatch.setattr(logging._requests, "are_logged", True)
    yield
    logging.close_logging()
    structlog.reset_defaults()
    vars(logging.log).pop("bind", None)  # the logger that it keeps writes where this test did


@asynccontextmanager
async def at_work(data: bytes = ROUTE) -> AsyncIterator[tuple[Seat, Channel, Awaitable[int]]]:
    seat = Seat(open_listeners("127.0.0.1", 0, 2, 8), data)
    handlers: dict[str, Callable[..., Awaitable[object]]] = {
        name: getattr(seat, name) for name in ("brief", "ready", "failed")
    }
    ours, theirs = socket.socketpair()
    channel = await Channel.over(ours, handlers)
    serving = asyncio.create_task(channel.serve())
    doors: list[Listener] = [[each.dup() for each in door] for door in seat.listeners]
    worker = Worker(3, ConnectionCount.alone(), doors)
    running = asyncio.create_task(worker.run(theirs))
    async with asyncio.timeout(PATIENCE):
        yield seat, channel, running
        await channel.finish()
        await asyncio.gather(running, serving)
    close_listeners(seat.listeners)
    close_listeners(doors)


async def status_of(port: int, path: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as response,
    ):
        return response.status


async def test_it_serves_on_the_given_listeners_until_it_is_stopped() -> None:
    async with at_work() as (seat, channel, running):
        await seat.is_ready.wait()
        channel.send("accept_at", [0, 1])
        port = port_of(seat.listeners[0])
        assert [await status_of(port, "/healthz") for _ in range(8)] == [200] * 8
        assert await channel.ask("take", ROUTE.replace(b"/,", b"/b,"), "r", within=PATIENCE) == ()
        assert await status_of(port, "/") == 404
        faults = await channel.ask("take", b"- nonsense\n", "r", within=PATIENCE)
        assert len(faults) == 1
        assert await channel.ask("ping", within=PATIENCE) is None
        channel.send("faults", 1)
        report = await channel.ask("report", within=PATIENCE)
        assert (report.worker, report.health.routes, report.health.faults) == (3, 1, 1)
        assert report.snapshot.tallies["none"].requests == {("GET", 404): 1}
        assert report.snapshot.reloads == {"success": 0, "failure": 0}
        channel.send("stop")
        channel.send("force_stop")
        assert await running == 0
    assert seat.faults == []


async def test_it_ends_when_nobody_supervises_it_any_more() -> None:
    async with at_work() as (seat, channel, running):
        await seat.is_ready.wait()
        await channel.finish()
        assert await running == 0


async def test_one_that_is_stopped_before_it_began_does_not_begin() -> None:
    async with at_work() as (seat, channel, running):
        channel.send("stop")
        assert await running == 0
        assert not seat.is_ready.is_set()


async def test_one_that_cannot_begin_says_why() -> None:
    async with at_work(b"- {path: /}\n") as (seat, _, running):
        assert await running == 1
        await seat.has_failed.wait()
    assert "proxy_upstream" in seat.faults[0]
