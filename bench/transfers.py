"""One large body, down or up: how fast it passes, and what a proxy keeps of it."""

import asyncio
import socket
from pathlib import Path
from typing import cast

from bench.meter import TokenBucket
from bench.peer import Running
from bench.report import Figure, Sample
from bench.stage import Stage

FIGURES = (
    Figure("rate", "MB/s"),
    Figure("cpu", "CPU ms per GB"),
    Figure("peak", "peak MB"),
)
FILE = "/files/large"
# The longest silence within a download, in seconds.
PATIENCE = 10.0
_BLOCK = bytes(256 * 1024)
_HEAD_END = b"\r\n\r\n"


def make_file(folder: Path, size: int) -> None:
    """A file that takes no room on the disk, read once so that it is in memory."""
    with (folder / FILE.removeprefix("/")).open("w+b", buffering=0) as file:
        file.truncate(size)
        while file.read(len(_BLOCK)):
            pass


class Counter(asyncio.BufferedProtocol):
    """An end that reads one message with a Content-Length, and keeps only its head.

    `done` is the size of the body when all of it came, or what came until the connection was lost.
    """

    def __init__(self, answer: bytes = b"") -> None:
        self.head = b""
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self._answer = answer
        self._buffer = memoryview(bytearray(len(_BLOCK)))
        self._received = 0
        self._wanted = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self.transport = cast("asyncio.Transport", transport)

    def get_buffer(self, _hint: int) -> memoryview:
        """Called by the event loop."""
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        """Called by the event loop."""
        if self._wanted < 0:
            self._read_head(bytes(self._buffer[:count]))
        else:
            self._received += count
        if 0 <= self._wanted <= self._received and not self.done.done():
            self.transport.write(self._answer)
            self.done.set_result(self._received)

    def _read_head(self, data: bytes) -> None:
        self.head += data
        head, end, body = self.head.partition(_HEAD_END)
        if not end:
            return
        self.head, self._received = head, len(body)
        for line in head.lower().split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name == b"content-length":
                self._wanted = int(value)

    def connection_lost(self, _error: Exception | None) -> None:
        """Called by the event loop."""
        if not self.done.done():
            self.done.set_result(self._received)


class Sender(Counter):
    """A client that sends the same block over and over, as fast as it is taken."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._left = size

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        super().connection_made(transport)
        head = f"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {self._left}\r\n\r\n"
        self.transport.set_write_buffer_limits(high=len(_BLOCK))
        self.transport.write(head.encode())
        self._is_writable = True
        self._send()

    def _send(self) -> None:
        while self._left and self._is_writable:
            block = _BLOCK[: self._left]
            self._left -= len(block)
            self.transport.write(block)

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._is_writable = True
        self._send()


async def download(running: Running, stage: Stage) -> Sample:
    """Measure a peer with a file of the service."""
    with TokenBucket(running) as spent:
        head, received = await asyncio.to_thread(_receive, running.port(FILE), stage.transfer)
    return _sample(running, stage, spent, [received], head)


def _receive(port: int, size: int) -> tuple[bytes, int]:
    """The head of a response, and how much of a body came. The kernel counts it and drops it."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(f"GET {FILE} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        data = b""
        while _HEAD_END not in data:
            some = connection.recv(4096)
            if not some:
                return data, 0
            data += some
        head, _, body = data.partition(_HEAD_END)
        received, unused = len(body), bytearray(len(_BLOCK))
        while received < size:
            count = connection.recv_into(unused, 0, socket.MSG_TRUNC)
            if not count:
                break
            received += count
        return head, received


async def upload(running: Running, stage: Stage) -> Sample:
    """Measure a peer with a client that sends without pause."""
    loop = asyncio.get_running_loop()
    arrived: list[Counter] = []

    def accept() -> Counter:
        arrived.append(Counter(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
        return arrived[-1]

    client = Sender(stage.transfer)
    server = await loop.create_server(accept, "127.0.0.1", stage.upstreams.events)
    try:
        with TokenBucket(running) as spent:
            await loop.create_connection(lambda: client, "127.0.0.1", running.port("/upload"))
            await client.done
        received = [each.done.result() for each in arrived if each.done.done()]
        return _sample(running, stage, spent, received, client.head)
    finally:
        server.close()
        for each in (client, *arrived):
            each.transport.abort()


def _sample(
    running: Running, stage: Stage, spent: TokenBucket, received: list[int], head: bytes
) -> Sample:
    is_whole = received == [stage.transfer] and head.startswith(b"HTTP/1.1 200")
    values = {
        "rate": stage.transfer / spent.seconds / 1e6,
        **spent.cpu_per(stage.transfer / 1e9, 1e3),
    }
    if running.process:
        values["peak"] = running.peak() / 1e6
    return spent.sample(values, 0 if is_whole else 1)
