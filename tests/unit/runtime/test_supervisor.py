"""A supervisor keeps the number of workers, logs what keeps it from that, and ends them all."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from gateway.config.file_source import Source
from gateway.config.loader import ConfigError
from gateway.runtime import liveness
from gateway.runtime import supervisor as module
from gateway.runtime.lifecycle import StartupError
from gateway.runtime.settings import Settings
from gateway.runtime.supervisor import Supervisor
from gateway.server.listeners import close_listeners, open_listeners, port_of

PATIENCE = 40.0
ROUTE = "- {path: /, proxy_upstream: 'http://127.0.0.1:1', auth_required: false}\n"
Lines = list[Any]


def supervisor(file: Path, port: int = 0) -> Supervisor:
    settings = Settings("127.0.0.1", port, 0, 0.0, 0.0)
    return Supervisor(settings, Source(file, {}), 2, log_level="critical")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "routes.yaml"
    file.write_text(ROUTE)
    return file


@asynccontextmanager
async def running(supervised: Supervisor) -> AsyncIterator[Lines]:
    with capture_logs() as lines:
        task = asyncio.create_task(supervised.run())
        try:
            async with asyncio.timeout(PATIENCE):
                await logged(lines, "listening")
                yield lines
        finally:
            supervised.stop()
            async with asyncio.timeout(PATIENCE):
                await task
    assert lines[-1]["event"] == "stopped"


async def logged(lines: Lines, event: str, count: int = 1) -> Lines:
    """Wait for so many lines of an event. A capture has no notification."""
    found: Lines = []
    while len(found) < count:
        await asyncio.sleep(0.01)
        found = [line for line in lines if line["event"] == event]
    return found


def workers_of(supervised: Supervisor) -> list[int]:
    return [member.pid for member in supervised._handles]


def write(file: Path, text: str) -> None:
    file.write_text(text)


async def health(lines: Lines) -> Any:
    port = (await logged(lines, "listening"))[0]["ops_port"]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/readyz") as response,
    ):
        return (await response.json())["checks"]


async def test_a_worker_that_exits_early_again_is_replaced_after_a_delay(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY", PATIENCE * 2)
    monkeypatch.setattr(module, "LONGEST_DELAY", PATIENCE * 2)
    supervised = supervisor(file)
    async with running(supervised) as lines:
        for _ in range(2):
            # The first worker is replaced at once; its early successor is not.
            dead = {line["pid"] for line in lines if line["event"] == "worker_exited"}
            for pid in set(workers_of(supervised)) - dead:
                os.kill(pid, signal.SIGKILL)
            await logged(lines, "worker_exited", len(dead) + 2)
            if not dead:
                await logged(lines, "worker_replaced", 2)
        assert (await health(lines))["workers"] == {"ok": False, "ready": 0, "wanted": 2}
        assert len(await logged(lines, "worker_replaced", 2)) == 2


async def test_a_worker_that_cannot_be_replaced_is_logged_and_tried_again(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)
    supervised = supervisor(file)
    async with running(supervised) as lines:
        victim = workers_of(supervised)[0]
        with monkeypatch.context() as broken:
            broken.setattr("sys.executable", "/nowhere/python")
            os.kill(victim, signal.SIGKILL)
            (line, *_) = await logged(lines, "worker_start_failed")
        assert "No such file" in line["error"]
        await logged(lines, "worker_replaced")
        assert (await health(lines))["workers"]["ok"] is True


async def test_a_supervisor_that_was_suspended_with_its_workers_kills_none(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For longer than a worker may be silent, as a paused machine is."""
    monkeypatch.setattr(liveness, "INTERVAL", 0.4)
    supervised = supervisor(file)
    async with running(supervised) as lines:
        workers = workers_of(supervised)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        while any(member.is_answering for member in supervised._handles):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        time.sleep(liveness.MAX_MISSED * liveness.INTERVAL)  # noqa: ASYNC251 - it is suspended too
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        while not (await health(lines))["workers"]["ok"]:  # what was due meanwhile is done
            pass
        assert workers_of(supervised) == workers
    assert [line["event"] for line in lines] == ["listening", "draining", "stopped"]


async def test_a_worker_that_hangs_does_not_keep_it_from_ending(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_GRACE", 0.1)
    monkeypatch.setattr(module, "END_GRACE", 0.1)
    supervised = supervisor(file)
    async with running(supervised):
        stopped = workers_of(supervised)[0]
        os.kill(stopped, signal.SIGSTOP)
        began = time.monotonic()
    assert time.monotonic() - began < liveness.INTERVAL * liveness.MAX_MISSED
    assert supervised._handles[0].pid == stopped
    assert await supervised._handles[0].ended() == -signal.SIGKILL


async def test_faults_of_a_file_are_reported_until_it_is_corrected(file: Path) -> None:
    supervised = supervisor(file)
    async with running(supervised) as lines:
        write(file, "- nonsense\n")
        await logged(lines, "reload_failed")
        assert (await health(lines))["reload"] == {"ok": False, "faults": 1}
        write(file, "limits: {redis: 'redis://127.0.0.1:1'}\nroutes:\n" + ROUTE)
        await logged(lines, "reload_failed", 2)
        write(file, ROUTE + ROUTE.replace("/,", "/b,"))
        await logged(lines, "reloaded")
        reported = await health(lines)
        assert (reported["reload"], reported["routes"]["loaded"]) == ({"ok": True, "faults": 0}, 2)


async def test_a_file_that_one_worker_cannot_take_is_taken_by_none(
    file: Path,
) -> None:
    """The keys of its issuer cannot be fetched, which only the workers try."""
    async with running(supervisor(file)) as lines:
        auth = "auth: {jwks_url: 'http://127.0.0.1:1/', algorithms: [ES256]}\nroutes:\n"
        write(file, auth + ROUTE.replace("/,", "/b,").replace("false", "true"))
        (refused,) = await logged(lines, "reload_failed")
        assert "jwks_url" in refused["errors"][0]
        reported = await health(lines)
        assert reported["reload"] == {"ok": False, "faults": 1}
        assert reported["keys"] == {"ok": True}


async def test_a_file_with_faults_starts_nothing(file: Path) -> None:
    write(file, "- nonsense\n")
    with pytest.raises(ConfigError):
        await supervisor(file).run()


async def test_a_port_that_is_taken_starts_nothing(file: Path) -> None:
    doors = open_listeners("127.0.0.1", 0, 1, 8)
    with capture_logs(), pytest.raises(StartupError, match="cannot listen on"):
        await supervisor(file, port_of(doors[0])).run()
    close_listeners(doors)


async def test_stopped_while_it_starts_it_ends(file: Path) -> None:
    supervised = supervisor(file)
    supervised.stop()
    with capture_logs() as lines:
        async with asyncio.timeout(PATIENCE):
            await supervised.run()
    assert [line["event"] for line in lines] == ["draining", "stopped"]
