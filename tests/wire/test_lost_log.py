"""A log that nobody reads any more costs no request its answer."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.conftest import Connect
from tests.wire.gateway_process import PATIENCE, ROOT, environment
from tests.wire.upstream import Upstream, answers

ROUTES = """
- path: /{rest:path}
  proxy_upstream: $SERVICE
  auth_required: false
"""

Unread = tuple["subprocess.Popen[str]", int]


@pytest.fixture
def unread(service: Upstream, tmp_path: Path) -> Iterator[Unread]:
    """A gateway whose log's reader left after the first line, and its port."""
    (tmp_path / "routes.yaml").write_text(ROUTES)
    ports = ("--host", "127.0.0.1", "--port", "0", "--ops-port", "0")
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "serve", "--routes", tmp_path / "routes.yaml", *ports],
        env=environment(SERVICE=f"http://127.0.0.1:{service.port}"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = json.loads(process.stdout.readline())
            process.stdout.close()
            yield process, int(line["port"])
        finally:
            process.kill()


async def test_without_a_reader_of_the_log_requests_are_answered_and_the_end_is_clean(
    unread: Unread, service: Upstream, connect: Connect
) -> None:
    process, port = unread
    service.script = answers(b"hello")
    client = await connect(port)
    for _ in range(3):
        assert (await client.fetch("/x")).body == b"hello"
        assert (await client.fetch("/..")).status == 400
    await (await connect(port)).send(b"nonsense\r\n\r\n")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0
    assert process.stderr is not None
    [told] = process.stderr.read().splitlines()
    assert told.startswith("gateway: cannot write the log: ")
