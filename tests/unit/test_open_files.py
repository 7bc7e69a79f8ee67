"""The limit of open files is raised, and a shortage of them is logged once, not for each loss."""

import asyncio
import errno
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from structlog.testing import capture_logs

from gateway import open_files
from gateway.config.model import Upstream
from gateway.http.errors import TOO_MANY_CONNECTIONS, Rejection
from gateway.open_files import OpenFiles
from gateway.upstream.pool import Pool
from tests.support.upstream import Upstream as Service

RAISE = """
import resource
from gateway.open_files import raise_limit
raise_limit()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RAISE],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, 512)),
    )
    assert done.stdout.split() == ["512", "512"]


@pytest.mark.parametrize(("limit", "first_rejected"), [(64, 48), (1024, 896), (1_000_000, 998_976)])
async def test_an_eighth_of_the_descriptors_is_reserved_within_bounds(
    limit: int, first_rejected: int
) -> None:
    files = OpenFiles(limit)
    assert files.admits(first_rejected - 1)
    with capture_logs():
        assert not files.admits(first_rejected)


async def test_a_shortage_is_logged_when_it_begins_and_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(open_files, "CHECK_INTERVAL", 0.05)
    files = OpenFiles(100_000)
    with capture_logs() as lines:
        for _ in range(1000):
            files.admits(99_999)
        async with asyncio.timeout(10):
            while len(lines) < 2:  # noqa: ASYNC110 - nobody says when a line is written
                await asyncio.sleep(0.01)
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("open_files_exhausted", "error"),
        ("open_files_recovered", "info"),
    ]
    assert lines[0]["limit"] == 100_000
    assert lines[1]["rejected"] == 1000


async def test_a_shortage_lasts_while_the_descriptors_are_in_use() -> None:
    files = OpenFiles(17)  # fewer than this process has open
    with capture_logs() as lines:
        assert not files.admits(16)
        for _ in range(3):
            files._look()
    assert [line["event"] for line in lines] == ["open_files_exhausted"]


@contextmanager
def exhausted() -> Iterator[None]:
    """Leave this process no descriptor at all."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_an_upstream_is_not_blamed_for_a_connection_that_had_no_descriptor(
    service: Service,
) -> None:
    pool = Pool(Upstream("", "http", "127.0.0.1", service.port), None)
    with capture_logs() as lines, exhausted():
        for _ in range(5):
            with pytest.raises(Rejection) as refused:
                await pool.connect(5)
            assert refused.value.failure is TOO_MANY_CONNECTIONS
    assert not pool.health.is_failing
    assert [line["event"] for line in lines] == ["open_files_exhausted"]


async def test_an_upstream_is_blamed_where_there_are_descriptors() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert not OpenFiles().caused(ConnectionRefusedError(errno.ECONNREFUSED, "refused"))
    with pytest.raises(Rejection) as refused:
        await Pool(Upstream("", "http", "127.0.0.1", port), None).connect(5)
    assert refused.value.failure is not TOO_MANY_CONNECTIONS
