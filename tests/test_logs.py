"""Log lines: one object each, no secret in a traceback, and never a reason to fail."""

import errno
import io
import json
import subprocess
import sys

import pytest

from gateway.logs import _Sink

# Lines as they are written, by a process of its own: logging is configured once in each

WRITE = """
import sys
from gateway.account import Exchange
from gateway.logs import configure_logging, log
configure_logging(sys.argv[1], sys.argv[2])
def verify(token):
    raise ValueError("a fault of our own")
Exchange("GET", sys.argv[3], "id-1", "", "10.0.0.9").report()
log.debug("detail")
try:
    verify("eyJ" + "secret")
except ValueError:
    log.exception("internal_error")
"""


def written(log_format: str, level: str = "info", path: str = "/jobs/7") -> list[str]:
    command = [sys.executable, "-c", WRITE, log_format, level, path]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_json_lines_are_one_object_each_with_level_and_time() -> None:
    lines = [json.loads(line) for line in written("json")]
    assert [(line["event"], line["level"]) for line in lines] == [
        ("request", "info"),
        ("internal_error", "error"),
    ]
    assert all(line["timestamp"].endswith("Z") for line in lines)


def test_a_path_that_is_no_utf_8_is_written_all_the_same() -> None:
    assert json.loads(written("json", path="/\udcff")[0])["path"] == "/\udcff"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_traceback_tells_the_fault_but_no_local_variable(log_format: str) -> None:
    text = "\n".join(written(log_format))
    assert "a fault of our own" in text
    assert "verify" in text
    assert "eyJsecret" not in text


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_path_cannot_begin_a_line_of_its_own(log_format: str) -> None:
    lines = written(log_format, path="/x\n2026-01-01 [info] request path=/forged")
    assert not any(line.startswith("2026-01-01 [info]") for line in lines)


@pytest.mark.parametrize(("level", "events"), [("debug", 3), ("info", 2), ("error", 1)])
def test_what_is_under_the_level_is_not_written(level: str, events: int) -> None:
    assert len(written("json", level)) == events


def test_console_lines_have_no_colours_where_nobody_sees_them() -> None:
    assert "\x1b" not in "\n".join(written("console"))


# A log that cannot be written


class Full(io.RawIOBase):
    """A disk with no room."""

    def writable(self) -> bool:
        return True

    def write(self, _data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


class Terminal:
    """Standard output or error over a disk with no room."""

    def __init__(self) -> None:
        self.buffer = Full()

    def write(self, text: str) -> None:
        self.buffer.write(text)


def test_of_lines_that_cannot_be_written_the_first_alone_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    sink = _Sink()
    for _ in range(3):
        sink.write('{"event": "request"}\n')
        sink.flush()
    [line] = capsys.readouterr().err.splitlines()
    assert line == "gateway: cannot write the log: [Errno 28] No space left on device"


def test_where_nothing_can_be_written_at_all_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Terminal())
    sink = _Sink()
    for _ in range(2):
        sink.write("x\n")


def test_a_process_whose_log_is_full_works_on_and_ends_well() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device, not a path of anyone's
        done = subprocess.run(
            [sys.executable, "-c", WRITE, "json", "info", "/jobs/7"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1
