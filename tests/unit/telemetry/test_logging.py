"""Log lines: one object each, no secret in a traceback, and never a reason to fail."""

import json
import subprocess
import sys

import pytest

# Lines as they are written, by a process of its own: logging is configured once in each

WRITE = """
import sys
from gateway.telemetry.exchange import Exchange
from gateway.telemetry.logging import configure_logging, log
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
def test_a_traceback_shows_the_fault_but_no_local_variable(log_format: str) -> None:
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


# What libraries log

LIBRARY = """
import logging
from gateway.telemetry.logging import configure_logging
configure_logging("json", "info")
logger = logging.getLogger("asyncio")
logger.info("detail")
logger.warning("Task %s is slow", "a")
logger.log(35, "%s %s", "too few")
try:
    {}["x"]
except KeyError:
    logger.exception("Exception in callback")
"""


def test_what_libraries_log_is_in_the_log_and_not_on_stderr() -> None:
    command = [sys.executable, "-c", LIBRARY]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["level"], line["logger"], line["message"]) for line in lines] == [
        ("warning", "asyncio", "Task a is slow"),
        ("warning", "asyncio", "%s %s"),
        ("error", "asyncio", "Exception in callback"),
    ]
    assert {line["event"] for line in lines} == {"library_message"}
    assert lines[2]["exception"][0]["exc_type"] == "KeyError"
    assert done.stderr == ""
