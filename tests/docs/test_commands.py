"""The commands that the pages show run as they stand there."""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gateway import cli
from tests.docs.pages import blocks
from tests.support.fronts import free_port
from tests.support.gateway_process import PATIENCE, environment

COMMENT = re.compile(r"\s+#.*")
INSTALL = re.compile(r"^pip install .*\n", re.MULTILINE)  # what the tests run with is installed


def commands() -> Iterator[tuple[str, str]]:
    """Give the page and the text of each `gateway` command."""
    for language in ("sh", "console"):
        for page, block in blocks(language):
            for line in block.splitlines():
                if found := re.match(r"(?:\$ )?(gateway \w[^#>&|]*)", line):
                    yield page, found[1].strip()


@pytest.mark.parametrize(("page", "command"), sorted(set(commands())))
def test_a_command_is_one_that_the_gateway_takes(page: str, command: str) -> None:
    assert cli.parser().parse_args(shlex.split(command)[1:])


def first_steps(page: str) -> tuple[str, str]:
    """Give the routes.yaml and the commands that a page begins with."""
    routes = next(block for name, block in blocks("yaml") if name == page)
    (steps,) = (block for name, block in blocks("sh") if name == page and "curl" in block)
    return routes, steps


def test_the_first_steps_show_the_progress_of_a_job(tmp_path: Path) -> None:
    """Run them in a shell, on ports that are free."""
    routes, steps = first_steps("README.md")
    (tmp_path / "routes.yaml").write_text(routes)
    steps, installs = INSTALL.subn("", steps)
    assert installs == 1
    port, backend, ops = (str(free_port()) for _ in range(3))
    steps = steps.replace("8080", port).replace("8081", backend)
    steps = steps.replace("gateway sample-backend", f"gateway sample-backend --port {backend}")
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = environment(PATH=tools, GATEWAY_PORT=port, GATEWAY_OPS_PORT=ops)
    output = tmp_path / "output"
    with output.open("wb") as file:
        shell = subprocess.Popen(
            ["bash", "-euc", steps],
            cwd=tmp_path,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # what it starts in the background ends with it
        )
        try:
            code = shell.wait(PATIENCE * 2)
        finally:
            with contextlib.suppress(ProcessLookupError):  # after a failure before the first
                os.killpg(shell.pid, signal.SIGKILL)
    shown = output.read_text()
    assert code == 0, shown
    assert '"status":"completed"' in shown.replace(" ", ""), shown


def test_the_first_steps_are_the_same_on_both_pages() -> None:
    readme, page = (first_steps(name) for name in ("README.md", "docs/getting-started.md"))
    assert yaml.safe_load(readme[0]) == yaml.safe_load(page[0])
    assert COMMENT.sub("", readme[1]) == COMMENT.sub("", page[1])
