"""Starts gateways by fork, from a process that has imported the gateway.

An import of the gateway takes ten times as long as the rest of its start, and the tests start
hundreds. What a test gets is the same: a process of its own, its output, signals and exit code.
"""

import atexit
import contextlib
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from io import BufferedReader, FileIO, TextIOWrapper
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT = 128 * 1024  # bytes of a job
PATIENCE = 15.0  # seconds, for the kernel to end a process on a busy machine
FILES = 3  # sent with a job: the socket of its process, its output, its error output
NUMBER = struct.Struct("=i")  # on the socket of a process: its id, and its exit code at the end


@dataclass(frozen=True, slots=True)
class Job:
    """A gateway command, and what it runs with. `open_files` are a soft and a hard limit."""

    arguments: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    open_files: tuple[int, int] | None = None


class Child:
    """A process of the fork server, with the part of `subprocess.Popen` that the tests use."""

    def __init__(self, job: Job) -> None:
        self._lock = threading.Lock()
        self._code: int | None = None
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        self.stdout, self.stderr = (TextIOWrapper(BufferedReader(FileIO(f))) for f in (out, err))
        server = _server(job.env.get("SSL_CERT_FILE"))
        server.send(job, (theirs.fileno(), out_end, err_end))
        theirs.close()
        os.close(out_end)
        os.close(err_end)
        self.pid: int = NUMBER.unpack(self._socket.recv(NUMBER.size))[0]

    def poll(self) -> int | None:
        """Returns the exit code, or None while it runs."""
        with self._lock:
            if self._code is None and select.select([self._socket], [], [], 0)[0]:
                (self._code,) = NUMBER.unpack(self._socket.recv(NUMBER.size))
            return self._code

    def wait(self, timeout: float) -> int:
        """Returns the exit code. Raises subprocess.TimeoutExpired."""
        if self.poll() is None:
            select.select([self._socket], [], [], timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("gateway", timeout)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, and wait until it has ended."""
        self.send_signal(signal.SIGKILL)
        self.wait(PATIENCE)

    def close(self) -> None:
        """Close what is left of it here, after its end."""
        for each in (self._socket, self.stdout, self.stderr):
            each.close()


class _Server:
    """The fork server, as the tests see it. It ends with them."""

    def __init__(self, ca_file: str | None) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        env = os.environ if ca_file is None else {**os.environ, "SSL_CERT_FILE": ca_file}
        with theirs:
            self._process = subprocess.Popen(
                command, env=env, pass_fds=[theirs.fileno()], cwd=ROOT, stdin=subprocess.DEVNULL
            )
        atexit.register(self._end)

    def send(self, job: Job, files: Sequence[int]) -> None:
        socket.send_fds(self._control, [json.dumps(asdict(job)).encode()], files)

    def _end(self) -> None:
        self._control.close()
        self._process.wait()


@cache
def _server(ca_file: str | None) -> _Server:
    """Returns the server for these trusted certificates: aiohttp reads them when imported."""
    return _Server(ca_file)


def _serve(control: int) -> Job | None:
    """Fork for each job until the tests end. Returns None then, and the job in each child."""
    running: dict[int, tuple[int, int]] = {}  # by pidfd: id and socket
    ready = select.poll()  # no descriptor of its own, which a child would inherit
    ready.register(control, select.POLLIN)
    while True:
        for file, _ in ready.poll():
            if file != control:
                ready.unregister(file)
                _report_end(file, *running.pop(file))
                continue
            message, files = _receive(control)
            if not message:
                return None
            pid = os.fork()
            if pid == 0:
                return _prepared(Job(**json.loads(message)), *files[1:])
            for each in files[1:]:
                os.close(each)
            os.write(files[0], NUMBER.pack(pid))
            end = os.pidfd_open(pid)
            running[end] = (pid, files[0])
            ready.register(end, select.POLLIN)


def _receive(control: int) -> tuple[bytes, list[int]]:
    channel = socket.socket(fileno=control)
    try:
        message, files, _, _ = socket.recv_fds(channel, LIMIT, FILES)
    finally:
        channel.detach()
    return message, files


def _report_end(file: int, pid: int, place: int) -> None:
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):  # a test that failed may have gone
        os.write(place, NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os.close(place)
    os.close(file)


def _prepared(job: Job, out: int, err: int) -> Job:
    """Make this process what the job wants. It keeps no other open file."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    os.environ.clear()
    os.environ.update(job.env)
    os.chdir(job.cwd)
    if job.open_files is not None:
        soft, hard = job.open_files
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return job


def _main(control: int) -> int:
    from gateway import cli  # noqa: PLC0415 - by the server alone, not by the tests

    gc.freeze()
    job = _serve(control)
    return 0 if job is None else cli.main(job.arguments)


if __name__ == "__main__":
    sys.exit(_main(int(sys.argv[1])))
