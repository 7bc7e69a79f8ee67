"""A source is read as it is now, and tells of each change of its text, however that was made."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from gateway.config import file_source as module
from gateway.config.file_source import Source
from gateway.config.loader import ConfigError

PATIENCE = 10.0
TEXT = "- {path: /a, proxy_upstream: $SERVICE, auth_required: false}\n"
ENVIRON = {"SERVICE": "http://service"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "routes.yaml"
    file.write_text(TEXT)
    return file


def write(file: Path, text: str) -> None:
    file.write_text(text)


async def next_change(changes: AsyncGenerator[None, None]) -> None:
    async with asyncio.timeout(PATIENCE):
        await anext(changes)


async def test_it_is_read_with_its_environment_and_named_as_it_was_given(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    config = await Source("routes.yaml", ENVIRON).read()
    assert (config.routes[0].upstream.host, config.source) == ("service", "routes.yaml")


async def test_faults_are_those_of_the_loader(file: Path) -> None:
    source = Source(file, {})
    with pytest.raises(ConfigError, match="SERVICE is not set"):
        await source.read()


async def test_a_pipe_is_left_for_who_loads_it(tmp_path: Path) -> None:
    """Such as `--routes <(envsubst ...)`: what is read of it once is gone."""
    pipe = tmp_path / "routes.yaml"
    os.mkfifo(pipe)
    writing = asyncio.create_task(asyncio.to_thread(write, pipe, TEXT))
    config = await Source(pipe, ENVIRON).read()
    assert config.routes[0].path == "/a"
    await writing


async def test_a_change_from_before_the_watch_is_told(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was read at the start, and nobody watched it until now."""
    monkeypatch.setattr(module, "LOOK", 100)
    source = Source(file, ENVIRON)
    write(file, TEXT * 2)
    async with aclosing(source.changes(asyncio.Event())) as changes:
        await next_change(changes)


async def test_what_was_read_is_no_change_any_more(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK", 100)
    source = Source(file, ENVIRON)
    async with aclosing(source.changes(asyncio.Event())) as changes:
        write(file, TEXT.replace("/a", "/b"))
        await next_change(changes)
        assert (await source.read()).routes[0].path == "/b"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):  # five more looks at it
                await anext(changes)


async def test_the_watch_ends_when_it_is_told_to(file: Path) -> None:
    stop = asyncio.Event()
    stop.set()
    async with asyncio.timeout(PATIENCE):
        assert [change async for change in Source(file, ENVIRON).changes(stop)] == []


async def test_a_folder_that_cannot_be_watched_is_an_error(tmp_path: Path) -> None:
    source = Source(tmp_path / "gone" / "routes.yaml", ENVIRON)
    with pytest.raises(OSError, match="No such file"):
        async with aclosing(source.changes(asyncio.Event())) as changes:
            await anext(changes)
