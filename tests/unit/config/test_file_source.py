"""A source is read as it is now, and reports each change of its text, however that was made."""

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


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.02)


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


async def test_a_change_from_before_the_watch_is_reported(file: Path, looks_often: None) -> None:
    """The file was read at the start, and nobody watched it until now."""
    source = Source(file, ENVIRON)
    write(file, TEXT * 2)
    async with aclosing(source.changes()) as changes:
        await next_change(changes)


async def test_what_was_read_is_no_change_any_more(file: Path, looks_often: None) -> None:
    source = Source(file, ENVIRON)
    async with aclosing(source.changes()) as changes:
        write(file, TEXT.replace("/a", "/b"))
        await next_change(changes)
        assert (await source.read()).routes[0].path == "/b"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):  # many more looks at it
                await anext(changes)


async def test_a_file_that_is_replaced_by_a_link_on_the_way_to_it_has_changed(
    tmp_path: Path, looks_often: None
) -> None:
    """Kubernetes changes a ConfigMap so."""
    for name, text in (("one", TEXT), ("two", TEXT * 2)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "routes.yaml", text)
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "routes.yaml").symlink_to("..data/routes.yaml")
    source = Source(tmp_path / "routes.yaml", ENVIRON)
    async with aclosing(source.changes()) as changes:
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(tmp_path / "..data")
        await next_change(changes)


async def test_a_file_in_a_folder_that_is_made_later_has_changed(
    tmp_path: Path, looks_often: None
) -> None:
    file = tmp_path / "later" / "routes.yaml"
    async with aclosing(Source(file, ENVIRON).changes()) as changes:
        change = asyncio.ensure_future(anext(changes))
        file.parent.mkdir()
        write(file, TEXT)
        async with asyncio.timeout(PATIENCE):
            await change


async def test_a_file_that_is_being_written_has_not_changed_until_it_rests(
    file: Path, looks_often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(file, ENVIRON)
    look, sizes = source._version, iter(range(1, 30))

    def look_while_it_is_written() -> tuple[int, ...]:
        version, size = look(), next(sizes, None)
        if size is not None:
            write(file, TEXT + "#" * size)
        return version

    monkeypatch.setattr(source, "_version", look_while_it_is_written)
    async with aclosing(source.changes()) as changes:
        await next_change(changes)
    assert next(sizes, None) is None


async def test_other_files_of_the_folder_are_no_change(
    file: Path, looks_often: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Source(file, ENVIRON)
    digest, digests = source._digest, iter(range(9))
    monkeypatch.setattr(source, "_digest", lambda: (next(digests), digest())[1])
    async with aclosing(source.changes()) as changes:
        change = asyncio.ensure_future(anext(changes))
        for size in range(10):
            write(file.with_name("log"), "line\n" * size)
            await asyncio.sleep(0.02)
        assert next(digests) <= 1  # the first look reads it in any case
        change.cancel()
        await asyncio.wait([change])
