"""A reload is counted and reports its faults, and the next one is always possible."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway.config.file_source import Source
from gateway.config.loader import ConfigError, Fault
from gateway.config.model import Config
from gateway.runtime.reload import Reload
from gateway.runtime.status import ReloadResult

PATIENCE = 10.0
TEXT = "- {path: /a, proxy_upstream: 'http://service', auth_required: false}\n"


class Taker:
    """Takes configurations over, unless it has an error to raise first, and counts the results."""

    def __init__(self) -> None:
        self.counts: dict[ReloadResult, int] = {"success": 0, "failure": 0}
        self.taken: asyncio.Queue[Config] = asyncio.Queue()
        self.error: Exception | None = None

    async def take(self, config: Config) -> None:
        error, self.error = self.error, None
        if error is not None:
            raise error
        self.taken.put_nowait(config)

    def count(self, result: ReloadResult) -> None:
        self.counts[result] += 1


@pytest.fixture
def taker() -> Taker:
    return Taker()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "routes.yaml"
    file.write_text(TEXT)
    return file


@asynccontextmanager
async def reloading(file: Path, taker: Taker) -> AsyncIterator[tuple[Reload, list[Any]]]:
    with capture_logs() as lines:
        reload = Reload(Source(file, {}), taker.take, taker.count)
        reload.start()
        try:
            yield reload, lines
        finally:
            await reload.close()


async def until(taker: Taker, **counts: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while taker.counts != counts:  # noqa: ASYNC110 - the task has no event for it
            await asyncio.sleep(0.01)


async def test_asked_it_takes_over_what_the_file_says(file: Path, taker: Taker) -> None:
    async with reloading(file, taker) as (reload, lines):
        reload.ask()
        await until(taker, success=1, failure=0)
        assert taker.taken.get_nowait().routes[0].path == "/a"
        assert lines == [{"event": "reloaded", "routes": 1, "log_level": "info"}]


async def test_asked_many_times_before_it_begins_it_reads_once(file: Path, taker: Taker) -> None:
    async with reloading(file, taker) as (reload, _):
        for _ in range(10):
            reload.ask()
        await until(taker, success=1, failure=0)
        assert not reload._asked.is_set()


@pytest.mark.parametrize(
    ("error", "event", "reported"),
    [
        (ConfigError([Fault(1, 2, "no")]), "reload_failed", (Fault(1, 2, "no"),)),
        (RuntimeError("broken"), "reload_crashed", ()),
    ],
)
async def test_whatever_goes_wrong_is_logged_and_the_next_reload_is_tried(
    file: Path, taker: Taker, error: Exception, event: str, reported: tuple[Fault, ...]
) -> None:
    async with reloading(file, taker) as (reload, lines):
        taker.error = error
        reload.ask()
        await until(taker, success=0, failure=1)
        assert lines[0]["event"] == event
        assert len(reload.faults) == 1
        assert set(reported) <= set(reload.faults)
        reload.ask()
        await until(taker, success=1, failure=1)
        assert not reload.faults


async def test_closed_it_reloads_no_more(file: Path, taker: Taker) -> None:
    async with reloading(file, taker) as (reload, _):
        reload.stop()
        reload.ask()
        await reload.close()
    assert taker.taken.empty()


async def test_one_that_never_started_can_be_closed(file: Path, taker: Taker) -> None:
    await Reload(Source(file, {}), taker.take, taker.count).close()
