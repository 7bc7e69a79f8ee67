"""Ids are taken over only where they are sound; an exchange leaves one line, without a token."""

import errno
import io
import json
import re
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.account import EndReason, Exchange, _Sink, request_id, traceparent

NEW_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-00")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
lower_hex = st.sampled_from("0123456789abcdef")


def hex_of(length: int) -> st.SearchStrategy[str]:
    return st.text(lower_hex, min_size=length, max_size=length)


def exchange() -> Exchange:
    return Exchange("GET", "/jobs/7", "id-1", TRACE, "10.0.0.9")


# Ids


@given(st.from_regex(r"[A-Za-z0-9._~:/+=@-]{1,128}", fullmatch=True))
def test_a_sound_request_id_is_kept(received: str) -> None:
    assert request_id(received.encode()) == received


@given(st.binary())
@example(b"x" * 129)
@example(b"two words")
@example(b"line\n")
@example(b"\x1b[31m")
def test_whatever_came_a_request_id_is_fit_for_a_log(received: bytes) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._~:/+=@-]{1,128}", request_id(received))


def test_new_request_ids_differ() -> None:
    assert request_id(None) != request_id(None)


@given(hex_of(32).filter(lambda id_: id_.strip("0")), hex_of(16).filter(lambda id_: id_.strip("0")))
def test_a_valid_trace_is_carried_on_as_it_is(trace: str, parent: str) -> None:
    received = f"00-{trace}-{parent}-01".encode()
    assert traceparent([received]) == (received, trace)


def test_a_later_version_may_say_more() -> None:
    received = f"cc-{TRACE}-{PARENT}-01-what-comes-later".encode()
    assert traceparent([received]) == (received, TRACE)


@pytest.mark.parametrize(
    "received",
    [
        "",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}",
        f"cc-{TRACE}-{PARENT}-01.more",
        f" 00-{TRACE}-{PARENT}-01",
    ],
)
def test_an_invalid_trace_begins_anew(received: str) -> None:
    header, trace = traceparent([received.encode()])
    found = NEW_TRACEPARENT.fullmatch(header)
    assert found
    assert found[1].decode() == trace != TRACE


def test_of_two_traces_neither_is_taken() -> None:
    received = f"00-{TRACE}-{PARENT}-01".encode()
    assert traceparent([received, received])[1] != TRACE


@given(st.lists(st.binary(), max_size=2))
def test_whatever_came_the_trace_id_is_the_one_in_the_header(received: list[bytes]) -> None:
    header, trace = traceparent(received)
    assert header.split(b"-")[1].decode() == trace
    assert re.fullmatch("[0-9a-f]{32}", trace)


# The record


def test_the_end_that_is_said_first_stands() -> None:
    ended = exchange()
    ended.end(EndReason.CLIENT_CLOSED)
    ended.end(EndReason.COMPLETE)
    assert ended.end_reason is EndReason.CLIENT_CLOSED


def test_an_exchange_leaves_one_line_with_what_is_known() -> None:
    ended = exchange()
    ended.route, ended.status, ended.bytes_out = "/jobs/{id}", 200, 12
    ended.mark_first_byte()
    ended.end(EndReason.COMPLETE)
    with capture_logs() as lines:
        ended.report()
    [line] = lines
    assert 0 <= line.pop("first_byte_ms") <= line.pop("duration_ms")
    assert line == {
        "event": "request",
        "log_level": "info",
        "request_id": "id-1",
        "trace_id": TRACE,
        "route": "/jobs/{id}",
        "method": "GET",
        "path": "/jobs/7",
        "status": 200,
        "subject": "",
        "client": "10.0.0.9",
        "upstream": "",
        "bytes_in": 0,
        "bytes_out": 12,
        "end_reason": "complete",
    }


def test_without_a_response_there_is_no_first_byte() -> None:
    with capture_logs() as lines:
        exchange().report()
    assert lines[0]["first_byte_ms"] is None


def test_an_end_that_nobody_told_is_an_error() -> None:
    with capture_logs() as lines:
        exchange().report()
    assert lines[0]["end_reason"] == "error"


def test_the_cause_of_a_failure_stands_in_the_line() -> None:
    failed = exchange()
    failed.code, failed.error = "upstream_unreachable", "refused"
    with capture_logs() as lines:
        failed.report()
    assert (lines[0]["code"], lines[0]["error"]) == ("upstream_unreachable", "refused")


# The lines as they are written, by a process of its own: logging is configured once in each

WRITE = """
import sys
from gateway.account import Exchange, configure_logging, log
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
