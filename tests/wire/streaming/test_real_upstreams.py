"""Services that nobody here wrote, through the gateway as without it, byte for byte."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.gateway_process import ROOT, GatewayProcess
from tests.support.raw_client import Ending, Response
from tests.support.routes import listener, port_of
from tests.support.starlette_app import PACE
from tests.wire.conftest import Connect

ROUTES = """
defaults: {{auth_required: false}}
routes:
- path: /files/{{rest:path}}
  proxy_upstream: http://127.0.0.1:{files}
  strip_prefix: /files
- path: /{{rest:path}}
  proxy_upstream: http://127.0.0.1:{starlette}
"""
# What the gateway adds, and what differs from one answer to the next.
OWN = {b"x-request-id", b"date", b"x-accel-buffering", b"referrer-policy", b"keep-alive"}


@contextmanager
def running(*arguments: str, **options: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        **options,  # type: ignore[call-overload]
    )
    with process:
        yield process
        process.terminate()


@pytest.fixture(scope="module")
def starlette_port() -> Iterator[int]:
    """Start uvicorn on a socket that listens already, so that there is nothing to wait for."""
    with listener() as taken:
        number = taken.fileno()
        app = "tests.support.starlette_app:app"
        uvicorn = ("-m", "uvicorn", app, "--fd", str(number), "--log-level", "error")
        with running(*uvicorn, cwd=ROOT, pass_fds=(number,)):
            yield port_of(taken)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    directory = tmp_path_factory.mktemp("files")
    (directory / "large.bin").write_bytes(random.Random(1).randbytes(3_000_000))
    (directory / "a b.txt").write_text("héllo\n")
    (directory / "empty").write_bytes(b"")
    server = ("-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(directory))
    with running(*server) as process:
        assert process.stdout is not None
        said = process.stdout.readline()  # Serving HTTP on 127.0.0.1 port N (...) ...
        yield directory, int(said.split(" port ")[1].split()[0])


@pytest.fixture(scope="module")
def before_them(
    starlette_port: int, files: tuple[Path, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    routes = ROUTES.format(starlette=starlette_port, files=files[1])
    gateway = GatewayProcess.serve(routes, tmp_path_factory.mktemp("gateway"))
    yield gateway
    assert gateway.stop() == 0
    assert gateway.error_output == ""


def seen(response: Response) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """What a client sees of a response, without framing and the gateway's own headers."""
    framing = {b"transfer-encoding", b"content-length", b"connection"}
    headers = [
        (name.lower(), value)
        for name, value in response.headers
        if name.lower() not in OWN | framing
    ]
    return response.status, headers, bytes(response.body)


@pytest.mark.parametrize(
    "path", ["/large.bin", "/a%20b.txt", "/empty", "/", "/nowhere", "/..%2f..%2fetc/passwd"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_files_are_the_same_through_the_gateway(
    before_them: GatewayProcess,
    files: tuple[Path, int],
    connect: Connect,
    path: str,
    method: str,
) -> None:
    direct = await (await connect(files[1])).fetch(path, method=method)
    through = await (await connect(before_them.port)).fetch(f"/files{path}", method=method)
    if b"%2f" not in path.encode():
        assert seen(through) == seen(direct)
        assert through.value("Content-Length") == direct.value("Content-Length")
    assert b"root:" not in through.body
    assert through.ending is Ending.CLEAN


@pytest.mark.parametrize("path", ["/blocks", "/echo?a=1&a=&b=%2F+x", "/events", "/nowhere"])
async def test_starlette_is_the_same_through_the_gateway(
    before_them: GatewayProcess, starlette_port: int, connect: Connect, path: str
) -> None:
    accept = "Accept: text/event-stream"
    direct = await (await connect(starlette_port)).fetch(path, accept)
    through = await (await connect(before_them.port)).fetch(path, accept)
    assert seen(through) == seen(direct)
    assert through.ending is direct.ending is Ending.CLEAN


async def test_starlette_reads_what_the_browser_posts(
    before_them: GatewayProcess, connect: Connect
) -> None:
    client = await connect(before_them.port)
    got = await client.fetch("/echo", method="POST", body=b"\x00\xffhello")
    assert got.json()["body"] == "\x00\xffhello"
    assert len(got.values("Set-Cookie")) == 2


async def test_events_arrive_one_by_one_at_the_times_they_were_sent(
    before_them: GatewayProcess, connect: Connect
) -> None:
    client = await connect(before_them.port)
    await client.request("/events", "Accept: text/event-stream")
    await client.head()
    arrived = []
    for step in range(8):
        got = await client.until(b"id: %d\r\n" % step)
        arrived.append(got.arrivals[-1])
        assert b"id: %d\r\n" % (step + 1) not in got.body
    gaps = [late - early for early, late in pairwise(arrived)]
    assert sum(gaps) >= 0.9 * 7 * PACE
    assert max(gaps) < PACE + 1
