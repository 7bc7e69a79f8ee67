"""Lines are written whole and in order by a thread, which alone waits for the reader of the log."""

import errno
import fcntl
import io
import os
import stat
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from gateway.telemetry.log_writer import LogWriter, RawFile, _next_batch
from tests.support.gateway_process import PATIENCE

Start = Callable[..., LogWriter]


@pytest.fixture
def pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """The ends to read from and to write to; the kernel keeps 4096 bytes between them."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    with FileIO(reading, "r") as reader, FileIO(writing, "w") as writer:
        yield reader, writer


@pytest.fixture
def start() -> Iterator[Start]:
    with ExitStack() as writers:

        def start(file: RawFile, capacity: int = 4096) -> LogWriter:
            writer = LogWriter(file, lambda count: b"dropped %d\n" % count, capacity)
            writers.callback(writer.close)
            return writer

        yield start


class Reading:
    """Reads all of a pipe, in a thread, until its writers have closed it."""

    def __init__(self, file: FileIO) -> None:
        self._came = b""
        self._thread = threading.Thread(target=self._read, args=(file,))
        self._thread.start()

    def _read(self, file: FileIO) -> None:
        self._came = file.readall() or b""

    def lines(self) -> list[bytes]:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self._came.splitlines(keepends=True)


def test_lines_come_out_in_their_order(pipe: tuple[FileIO, FileIO], start: Start) -> None:
    writer = start(pipe[1], 1_000_000)
    reading = Reading(pipe[0])
    lines = [b"line %d\n" % number for number in range(10_000)]
    for line in lines:
        writer.write(line)
    writer.close()
    pipe[1].close()
    assert reading.lines() == lines
    assert writer.dropped == 0


def test_a_line_of_text_is_written_as_utf_8(pipe: tuple[FileIO, FileIO], start: Start) -> None:
    start(pipe[1]).write("ä\n")
    assert pipe[0].read(10) == "ä\n".encode()


def test_a_single_line_does_not_wait_for_others(pipe: tuple[FileIO, FileIO], start: Start) -> None:
    writer = start(pipe[1])
    for line in (b"one\n", b"two\n"):
        writer.write(line)
        assert pipe[0].read(10) == line


class Asleep(io.RawIOBase):
    """A file whose reader sleeps until `awake` is set."""

    def __init__(self) -> None:
        self.is_asked = threading.Event()
        self.awake = threading.Event()
        self.came = b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.is_asked.set()
        assert self.awake.wait(PATIENCE)
        self.came += bytes(data)
        return len(data)


def test_while_nobody_reads_lines_are_dropped_and_the_number_is_logged_once(start: Start) -> None:
    file = Asleep()
    writer = start(file, 1000)
    writer.write(b"%09d\n" % 0)
    assert file.is_asked.wait(PATIENCE)
    for number in range(1, 110):  # of 10 bytes each
        writer.write(b"%09d\n" % number)
    assert writer.dropped == 10
    file.awake.set()
    writer.close()
    taken = b"".join(b"%09d\n" % number for number in range(100))
    assert sorted(file.came.splitlines()) == sorted([*taken.splitlines(), b"dropped 10"])
    assert file.came.replace(b"dropped 10\n", b"") == taken


@pytest.mark.parametrize("is_blocking", [True, False])
def test_when_the_reader_wakes_what_it_gets_and_what_was_dropped_are_all(
    pipe: tuple[FileIO, FileIO], start: Start, *, is_blocking: bool
) -> None:
    os.set_blocking(pipe[1].fileno(), is_blocking)
    writer = start(pipe[1])
    lines = [b"%0199d\n" % number for number in range(1000)]
    for line in lines:
        writer.write(line)
    assert writer.dropped > 900, "a pipe and a buffer of 4096 bytes hold no more"
    reading = Reading(pipe[0])
    writer.write(b"more\n")
    writer.close()
    pipe[1].close()
    came = reading.lines()
    notices = [int(line.split()[1]) for line in came if line.startswith(b"dropped ")]
    assert sum(notices) == writer.dropped
    assert len(came) - len(notices) + writer.dropped == len(lines) + 1
    own = [line for line in came if line.startswith(b"0")]
    assert own == sorted(own)


def test_a_line_larger_than_the_buffer_is_written_when_it_is_alone(
    pipe: tuple[FileIO, FileIO], start: Start
) -> None:
    writer = start(pipe[1])
    line = b"x" * 100_000 + b"\n"
    reading = Reading(pipe[0])
    writer.write(line)
    writer.close()
    pipe[1].close()
    assert reading.lines() == [line]


def test_an_end_does_not_wait_for_ever_for_a_reader_and_says_what_is_lost(
    pipe: tuple[FileIO, FileIO], start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    writer = start(pipe[1], 10_000)
    writer.write(b"x" * 9_000)
    writer.close(timeout=0.1)
    reported = capfd.readouterr().err
    assert reported.startswith("gateway: stdout took no more of the log within 0.1s of the end")
    assert "the last 9000 bytes of it are lost" in reported
    reading = Reading(pipe[0])  # lets the thread end
    writer.close()
    pipe[1].close()
    assert reading.lines() == [b"x" * 9_000]


def test_a_line_after_the_end_is_dropped(pipe: tuple[FileIO, FileIO], start: Start) -> None:
    writer = start(pipe[1])
    writer.close()
    writer.write(b"late\n")
    assert writer.dropped == 1


def test_a_full_pipe_that_does_not_block_is_waited_for(
    pipe: tuple[FileIO, FileIO], start: Start
) -> None:
    os.set_blocking(pipe[1].fileno(), False)
    writer = start(pipe[1], 1_000_000)
    lines = [b"%0999d\n" % number for number in range(100)]
    for line in lines:
        writer.write(line)
    reading = Reading(pipe[0])
    writer.close()
    pipe[1].close()
    assert reading.lines() == lines
    assert writer.dropped == 0


WRITE = """
import io, sys
from gateway.telemetry.log_writer import LogWriter
writer = LogWriter(io.FileIO(1, "w"), lambda count: b"", 10_000_000)
for number in range(3000):
    writer.write(f"{sys.argv[1]} {number} {sys.argv[1] * (number % 300)}\\n")
writer.close(30)
"""


def test_lines_of_two_processes_on_one_pipe_never_mix(pipe: tuple[FileIO, FileIO]) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, name], stdout=pipe[1]) for name in "ab"
    ]
    pipe[1].close()
    lines = Reading(pipe[0]).lines()
    assert [each.wait(PATIENCE) for each in writers] == [0, 0]
    for name in "ab":
        own = [line.decode() for line in lines if line.startswith(name.encode())]
        expected = [f"{name} {number} {name * (number % 300)}\n" for number in range(3000)]
        assert own == expected
    assert len(lines) == 6000


# A file that fails


class Failing(io.RawIOBase):
    """A disk that is full after so many bytes, until somebody makes room."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.came = b""
        self.tries = threading.Semaphore(0)

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data[: self.room])
        if not part:
            self.tries.release()
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(part)
        self.came += part
        return len(part)


def test_of_lines_that_cannot_be_written_the_first_alone_is_reported(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    file = Failing(0)
    writer = start(file)
    for _ in range(3):
        writer.write(b"x\n")
        assert file.tries.acquire(timeout=PATIENCE)
    writer.close()
    assert capfd.readouterr().err == (
        "gateway: cannot write the log: [Errno 28] No space left on device\n"
    )
    assert writer.dropped == 3


def test_a_line_of_which_a_part_was_written_spoils_no_other(start: Start) -> None:
    file = Failing(8)
    writer = start(file)
    writer.write(b"first\nsecond\nthird\n")
    assert file.tries.acquire(timeout=PATIENCE)
    file.room = 1000
    writer.write(b"fourth\n")
    writer.close()
    assert file.came.startswith(b"first\nse\n")
    assert sorted(file.came.splitlines()[2:]) == [b"dropped 1", b"fourth"]


def test_of_a_batch_only_the_lines_that_are_not_whole_are_counted(start: Start) -> None:
    file = Failing(8)
    writer = start(file)
    with writer._lock:  # so that all of them are one batch
        writer._lines.extend([b"first\n", b"second\n", b"third\n"])
    writer.write(b"fourth\n")
    writer.close()
    assert file.came == b"first\nse"
    assert writer.dropped == 3


@pytest.mark.parametrize("reader_is_asleep", [False, True])
def test_where_nothing_can_be_said_on_stderr_either_nothing_fails(
    start: Start, monkeypatch: pytest.MonkeyPatch, *, reader_is_asleep: bool
) -> None:
    reading, writing = os.pipe()
    with FileIO(reading, "r"), os.fdopen(writing, "w") as stderr:
        if reader_is_asleep:
            os.set_blocking(writing, False)
            while _has_room(writing):
                pass
            os.set_blocking(writing, True)
            monkeypatch.setattr(sys, "stderr", stderr)
        else:
            monkeypatch.setattr(sys, "stderr", None)
        writer = start(Failing(0))
        writer.write(b"x\n")
        writer.close()
        assert not writer._thread.is_alive()


def _has_room(descriptor: int) -> bool:
    try:
        return os.write(descriptor, b"x" * 4096) > 0
    except BlockingIOError:
        return False


# How much is written at once


def test_a_batch_ends_at_a_line_and_a_longer_line_goes_alone() -> None:
    lines = deque([b"1234\n", b"12\n", b"1\n", b"123456789012\n", b"1\n"])
    batches = []
    while lines:
        batches.append(_next_batch(lines, 10))
    assert batches == [[b"1234\n", b"12\n", b"1\n"], [b"123456789012\n"], [b"1\n"]]


def test_where_a_pipe_has_no_locks_a_write_is_one_that_the_kernel_keeps_whole(
    start: Start, monkeypatch: pytest.MonkeyPatch, pipe: tuple[FileIO, FileIO]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    assert stat.S_ISFIFO(os.fstat(pipe[1].fileno()).st_mode)
    writer = start(pipe[1])
    assert writer._batch_size == 4096
    writer.write(b"x\n")
    assert pipe[0].read(10) == b"x\n"


def test_a_file_takes_many_lines_at_once(start: Start, tmp_path: Path) -> None:
    with FileIO(tmp_path / "log", "w") as file:
        writer = start(file)
        writer.write(b"x\n")
        writer.close()
    assert (tmp_path / "log").read_bytes() == b"x\n"
    assert writer._batch_size > 4096
