"""scripts/python on machines that have no suitable Python: what it installs, and what it says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/python"
# All commands of the script but the interpreters. No other command exists in the test.
TOOLS = ("bash", "cat", "dirname", "env", "head")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A directory for the PATH of a Debian without Python, whose apt-get "installs" this one."""
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / tool).symlink_to(found)
    add(tmp_path, "whole", f'exec "{sys.executable}" "$@"')
    install = f'[ "$1" = update ] || {shutil.which("cp")} "{tmp_path}/whole" "{tmp_path}/python3"'
    add(tmp_path, "apt-get", f'echo "$@" >>"{tmp_path}/apt-log"\n{install}')
    return tmp_path


def add(machine: Path, name: str, script: str) -> None:
    (machine / name).write_text(f"#!{shutil.which('bash')}\n{script}\n")
    (machine / name).chmod(0o755)


def run(machine: Path, user: int, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a user of this number."""
    add(machine, "id", f"echo {user}")
    kept = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    return subprocess.run(
        [SCRIPT, *arguments],
        env={**kept, "PATH": str(machine), "PYENV_ROOT": str(machine), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def installed(machine: Path) -> list[str]:
    log = machine / "apt-log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if "install" in line]


def test_root_on_debian_gets_python_and_venv_installed(machine: Path) -> None:
    ended = run(machine, 0)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "python3\n"
    [line] = installed(machine)
    assert line.endswith(" python3 python3-venv")


def test_root_gets_venv_installed_where_python_has_none(machine: Path) -> None:
    # Debian's python3 without python3-venv has no ensurepip.
    bare = f'case $* in *ensurepip*) exit 1 ;; esac\nexec "{sys.executable}" "$@"'
    add(machine, "python3", bare)
    ended = run(machine, 0)
    assert ended.stdout == "python3\n"
    assert ended.stderr == "Installing python3 python3-venv ...\n"
    assert len(installed(machine)) == 1


def test_another_user_reads_what_to_install(machine: Path) -> None:
    ended = run(machine, 1000)
    assert ended.returncode == 1
    assert "install it with: apt-get install python3 python3-venv" in ended.stderr
    assert ended.stdout == ""
    assert installed(machine) == []


@pytest.mark.parametrize("chosen", ["argument", "variable"])
def test_nothing_is_installed_where_one_interpreter_was_asked_for(
    machine: Path, chosen: str
) -> None:
    arguments = ["3.99"] if chosen == "argument" else []
    env = {} if chosen == "argument" else {"PYTHON": "python3.99"}
    ended = run(machine, 0, *arguments, **env)
    assert ended.returncode == 1
    assert "Tried: python3.99" in ended.stderr
    assert installed(machine) == []
