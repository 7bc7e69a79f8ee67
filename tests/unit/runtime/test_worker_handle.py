"""A worker process is seen from its start to its end, however that comes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable

import pytest
from structlog.testing import capture_logs

from gateway.config.model import Config, Route, RouteLimits, Upstream
from gateway.runtime import worker_handle as module
from gateway.runtime.ipc import Unanswered
from gateway.runtime.lifecycle import StartupError
from gateway.runtime.settings import Settings
from gateway.runtime.shared_limits import SharedLimits, WorkerClaims
from gateway.runtime.worker import WorkerBriefing
from gateway.runtime.worker_handle import WorkerHandle
from gateway.server.connection_count import shared
from gateway.server.listeners import close_listeners, open_listeners

PATIENCE = 40.0
ROUTE = b"- {path: /, proxy_upstream: 'http://127.0.0.1:1', auth_required: false}\n"
Start = Callable[[WorkerHandle], "asyncio.Task[None]"]


def member(data: bytes = ROUTE) -> tuple[WorkerHandle, WorkerClaims]:
    settings = Settings("127.0.0.1", 0, 0, 0.0, 0.0)
    briefing = WorkerBriefing(settings, b"k" * 32, "routes.yaml", data, 0, "json", "critical")
    limits = RouteLimits(max_streams=1)
    claims = WorkerClaims(SharedLimits(Config((Route("/", (), Upstream(""), limits=limits),))))
    return WorkerHandle(0, lambda: briefing, claims), claims


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    doors, headcount = open_listeners("127.0.0.1", 0, 1, 8), shared(1)
    started: list[WorkerHandle] = []

    def begin(member: WorkerHandle) -> "asyncio.Task[None]":
        started.append(member)
        return asyncio.create_task(member.start(headcount, doors))

    async with asyncio.timeout(PATIENCE):
        yield begin
        for each in started:
            each.kill()
            await each.ended()
    close_listeners(doors)
    os.close(headcount)


async def test_one_that_is_killed_reports_the_signal_and_holds_nothing_any_more(
    start: Start,
) -> None:
    worker, claims = member()
    await start(worker)
    assert worker.is_ready
    assert await worker.report()
    assert await worker.take(ROUTE, "routes.yaml") == ()
    await claims.acquire(1, "/", "ada")
    os.kill(worker.pid, signal.SIGKILL)
    assert await worker.ended() == -signal.SIGKILL
    assert (worker.is_ready, len(claims)) == (False, 0)
    assert not await worker.report()
    with pytest.raises(Unanswered):
        await worker.take(ROUTE, "routes.yaml")


async def test_one_that_hangs_answers_no_ping_and_is_not_waited_for(start: Start) -> None:
    worker, _ = member()
    await start(worker)
    assert await worker.ping(PATIENCE)
    os.kill(worker.pid, signal.SIGSTOP)
    assert not await worker.ping(0.1)
    worker.is_answering = False
    async with asyncio.timeout(module.REPORT_PATIENCE / 2):
        assert not await worker.report()
    os.kill(worker.pid, signal.SIGCONT)
    assert await worker.ping(PATIENCE)
    worker.is_answering = True
    assert await worker.report()
    worker.kill()
    await worker.ended()
    assert not await worker.ping(PATIENCE)


async def test_one_that_cannot_start_says_why(start: Start) -> None:
    worker, _ = member(b"- {path: /}\n")
    with pytest.raises(StartupError, match="proxy_upstream"):
        await start(worker)
    assert await worker.ended() == 1


async def test_one_that_dies_as_it_starts_is_logged(start: Start) -> None:
    worker, _ = member()
    with capture_logs():
        starting = start(worker)
        while not worker.pid:  # noqa: ASYNC110 - the next turn of the loop, or the one after
            await asyncio.sleep(0)
        worker.kill()
        with pytest.raises(StartupError, match="with exit code -9"):
            await starting


async def test_one_that_takes_too_long_to_start_is_ended(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "START_PATIENCE", 0.001)
    worker, _ = member()
    with pytest.raises(StartupError, match="not ready"):
        await start(worker)
    assert await worker.ended() == -signal.SIGKILL


async def test_where_no_process_can_be_made_that_is_said(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    worker, _ = member()
    with pytest.raises(StartupError, match="cannot start a worker: No such file"):
        await start(worker)
    assert await worker.ended() == 0
    assert await worker.take(ROUTE, "routes.yaml") == ()
    assert not await worker.ping(PATIENCE)
    worker.send("stop")
