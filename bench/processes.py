"""Processes on a core of their own, and what they cost: processor time, memory, time to start."""

import contextlib
import os
import random
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

PROXY_CORE = 0
LOAD_CORE = 1
MAX_FILES = 65536
START_TIMEOUT = 20.0
# Mostly below what the kernel gives to the thousands of connections that go out.
PORTS = range(20000, 30000)


class BenchError(Exception):
    """What keeps a measurement from being made, in a line for a person."""


def prepare_this_process() -> None:
    """Put the load on its core, and allow it the files that thousands of streams need."""
    os.sched_setaffinity(0, {LOAD_CORE})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_FILES, max(hard, MAX_FILES)))
    except (ValueError, PermissionError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """Hold a free loopback port inside the block, for a server that is to listen there.

    Where the kernel takes the ports of outgoing connections from the same range, one of them could
    have it first, and its TIME_WAIT for a minute after: even a connection that only asks whether
    the server is ready, and is then connected to itself. No connection gets a port that is bound.
    The server can still listen there, as it sets SO_REUSEADDR.
    """
    with _bound() as holder:
        yield int(holder.getsockname()[1])


def _bound() -> socket.socket:
    for port in random.sample(PORTS, len(PORTS)):
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            continue
        # Only now, so that it is a port that nobody has. From here on a server may share it.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return holder
    raise BenchError(f"no port from {PORTS[0]} to {PORTS[-1]} is free: end what listens there")


class Process:
    """A server and its children, pinned to one core. What it prints goes to a file."""

    _running: "set[Process]" = set()  # noqa: RUF012 - all of them, to be ended together

    def __init__(
        self,
        command: Sequence[str | Path],
        output: Path,
        *,
        core: int = PROXY_CORE,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self._output = output
        self._name = Path(command[0]).name
        self._began = time.monotonic()
        with output.open("wb") as file:
            self._child = subprocess.Popen(
                ["taskset", "-c", str(core), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=folder,
                start_new_session=True,
            )
        self._running.add(self)

    @classmethod
    def stop_all(cls) -> None:
        """End every one that was started and not yet ended."""
        for process in list(cls._running):
            process.stop()

    def wait_ready(self, port: int) -> float:
        """Wait until a small request is answered well at a port; how many seconds that took.

        Some accept connections when they do not know yet what to do with them.
        """
        while True:
            waited = time.monotonic() - self._began
            if self._child.poll() is not None or waited > START_TIMEOUT:
                said = last_words(self._output.read_text(errors="replace"))
                raise BenchError(f"{self._name} did not start: {said}")
            if _is_answered(port):
                return time.monotonic() - self._began
            time.sleep(0.002)

    def cpu(self) -> float:
        """Processor time spent so far, in seconds, user and system."""
        nanoseconds = 0
        for pid in self._tree():
            for task in Path(f"/proc/{pid}/task").iterdir():
                nanoseconds += int((task / "schedstat").read_text().split()[0])
        return nanoseconds / 1e9

    def pss(self) -> int:
        """Memory in bytes, with its share of what it has in common with others (proc(5))."""
        return sum(_kib(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in self._tree())

    def peak(self) -> int:
        """The most memory it ever had resident, in bytes."""
        return sum(_kib(f"/proc/{pid}/status", "VmHWM:") for pid in self._tree())

    def stop(self) -> None:
        """End it and its children, by force: to end in order takes some of them seconds."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._running.discard(self)

    def _tree(self) -> Iterator[int]:
        pending = [self._child.pid]
        try:
            while pending:
                pid = pending.pop()
                children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
                yield pid
                pending += map(int, children.split())
        except OSError as error:
            raise BenchError(f"{self._name} ended while it was measured") from error


def last_words(said: str) -> str:
    """The end of what a program said, in a line."""
    return " ".join(said.split())[-300:]


def _is_answered(port: int) -> bool:
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), 1) as connection,
    ):
        connection.sendall(b"GET /json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return connection.recv(64).startswith(b"HTTP/1.1 200")
    return False


def _kib(file: str, label: str) -> int:
    for line in Path(file).read_text().splitlines():
        if line.startswith(label):
            return int(line.split()[1]) * 1024
    return 0
