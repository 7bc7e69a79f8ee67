"""Writes log lines in a thread of its own, so that a slow reader delays no request.

Lines wait in a bounded buffer. While the buffer is full, new lines are dropped and counted.
"""

import contextlib
import fcntl
import os
import select
import stat
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

CAPACITY = 4 * 1024 * 1024  # bytes of lines that wait, 10 000 lines or so
CLOSE_TIMEOUT = 2.0  # seconds
# Seconds between two rounds of the thread. A thread that wakes for each line takes the
# interpreter's lock from the event loop each time.
PAUSE = 0.02
BATCH_SIZE = 256 * 1024  # bytes of lines that are written at once


Locked = Callable[[], AbstractContextManager[None]]


class RawFile(Protocol):
    """An unbuffered file, as `io.FileIO` is one."""

    def write(self, data: memoryview, /) -> int | None:
        """Writes some bytes and returns how many; None if a write would block."""

    def fileno(self) -> int:
        """Returns the descriptor. Raises OSError if the file has none."""


class LogWriter:
    """Writes whole lines to a file, in the order in which they come, from a thread.

    `dropped` counts lines that found the buffer full, or that the file did not take. `notice`
    makes the line that reports a number of them once lines are written again.
    """

    def __init__(
        self, file: RawFile, notice: Callable[[int], bytes], capacity: int = CAPACITY
    ) -> None:
        self.dropped = 0
        self._file = file
        self._notice = notice
        self._capacity = capacity
        self._locked, self._batch_size = _lock_of(file)
        self._reported = 0  # of `dropped`
        self._is_torn = False  # the file ends within a line
        self._has_failed = False
        self._lock = threading.Lock()  # held for a few instructions only, never across a write
        self._news = threading.Condition(self._lock)
        self._lines: deque[bytes] = deque()
        self._held = 0  # bytes: of `_lines`, and of those that the thread has yet to write
        self._is_asleep = False
        self._is_closed = False
        # A thread that is no daemon would keep the process alive while nothing reads.
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def write(self, line: str | bytes) -> None:
        """Takes a line, with its line break. It never waits for the file."""
        data = line.encode() if isinstance(line, str) else line
        with self._lock:
            is_full = self._held and self._held + len(data) > self._capacity
            if is_full or self._is_closed:
                self.dropped += 1
                return
            self._lines.append(data)
            self._held += len(data)
            if self._is_asleep:
                self._is_asleep = False
                self._news.notify()

    def flush(self) -> None:
        """Does nothing: the thread writes each line within a few hundredths of a second."""

    def close(self, timeout: float = CLOSE_TIMEOUT) -> None:
        """Writes all waiting lines, for `timeout` seconds at most; stderr names what is left."""
        with self._lock:
            self._is_closed = True
            self._news.notify()
        self._thread.join(timeout)
        if self._thread.is_alive():
            _complain(
                f"stdout took no more of the log within {timeout:g}s of the end:"
                f" the last {self._held} bytes of it are lost; see why its reader is slow"
            )

    # The thread

    def _run(self) -> None:
        while (lines := self._take()) is not None:
            while lines:
                self._write_batch(_next_batch(lines, self._batch_size))
            self._report_dropped()
            self._rest()

    def _take(self) -> deque[bytes] | None:
        """Waits for lines and returns them; None once closed and empty."""
        with self._lock:
            while not self._lines:
                if self._is_closed:
                    return None
                self._is_asleep = True
                self._news.wait()
            lines, self._lines = self._lines, deque()
            return lines

    def _rest(self) -> None:
        """Lets lines gather, so that one round writes many."""
        with self._lock:
            if not self._is_closed:
                self._news.wait(PAUSE)

    def _write_batch(self, batch: list[bytes]) -> None:
        data = b"".join(batch)
        written = self._write_whole(data)
        with self._lock:
            self._held -= len(data)
            if written < len(data):
                self.dropped += _lines_beyond(batch, written)

    def _report_dropped(self) -> None:
        dropped = self.dropped
        if dropped > self._reported:
            line = self._notice(dropped - self._reported)
            if self._write_whole(line) == len(line):
                self._reported = dropped

    def _write_whole(self, data: bytes) -> int:
        """Returns how many bytes the file took: fewer than all if it fails."""
        rest = memoryview(data)
        try:
            with self._locked():
                while self._is_torn and rest:
                    self._is_torn = self._write_some(memoryview(b"\n")) == 0
                while rest:
                    rest = rest[self._write_some(rest) :]
        except OSError as error:
            if not self._has_failed:
                self._has_failed = True
                _complain(f"cannot write the log: {error}")
        written = len(data) - len(rest)
        if written:
            self._is_torn = not data.endswith(b"\n", 0, written)
        return written

    def _write_some(self, data: memoryview) -> int:
        written = self._file.write(data)
        if written is None:  # O_NONBLOCK was set on a shared pipe, and it is full
            _wait_until_writable(self._file.fileno())
            return 0
        return written


def _lock_of(file: RawFile) -> tuple[Locked, int]:
    """Returns a lock for each write to a file, and how many bytes one write may have.

    Workers share a pipe. A pipe takes PIPE_BUF bytes as a whole. Of more it takes a part when it is
    nearly full, and then lines of two workers would mix. So a worker locks the pipe while it
    writes; the kernel frees the lock of a worker that exits. Files and terminals take a write as a
    whole.
    """
    try:
        descriptor = file.fileno()
        mode = os.fstat(descriptor).st_mode
    except OSError:  # no descriptor
        return contextlib.nullcontext, BATCH_SIZE
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return contextlib.nullcontext, BATCH_SIZE
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_UN)
    except OSError:  # this system has no locks for pipes
        return contextlib.nullcontext, select.PIPE_BUF
    return partial(_locked, descriptor), BATCH_SIZE


@contextlib.contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    fcntl.lockf(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.lockf(descriptor, fcntl.LOCK_UN)


def _next_batch(lines: deque[bytes], most: int) -> list[bytes]:
    """Takes whole lines of at most so many bytes together, or a single longer one."""
    batch = [lines.popleft()]
    size = len(batch[0])
    while lines and size + len(lines[0]) <= most:
        size += len(lines[0])
        batch.append(lines.popleft())
    return batch


def _lines_beyond(batch: list[bytes], written: int) -> int:
    """Returns how many lines of a batch are not complete within its first `written` bytes."""
    for place, line in enumerate(batch):
        written -= len(line)
        if written < 0:
            return len(batch) - place
    return 0


def _wait_until_writable(descriptor: int, timeout: float | None = None) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(event & select.POLLOUT for _, event in poll.poll(timeout))


def _complain(text: str) -> None:
    """Writes a line to stderr, unless that would block too."""
    with contextlib.suppress(OSError, AttributeError):  # sys.stderr is None where it was closed
        descriptor = sys.stderr.fileno()
        if _wait_until_writable(descriptor, 0):
            os.write(descriptor, f"gateway: {text}\n".encode())
