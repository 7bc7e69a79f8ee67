"""A service whose every byte a test writes as a script, and that records what it was asked.

A script gets an `Exchange` once the request head is read. When it returns, the connection is kept
for the next request, unless the script ended it.
"""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field

PATIENCE = 10.0  # seconds that a script or a test waits for the other side
LIMIT = 64 * 1024  # bytes read ahead of a script, at most twice this

EVENT_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(slots=True)
class Request:
    """A request as it came: the header list in its order and case, the body as far as read."""

    method: str
    target: str
    version: str
    headers: list[tuple[bytes, bytes]]
    body: bytearray = field(default_factory=bytearray)

    def values(self, name: str) -> list[str]:
        wanted = name.lower().encode()
        return [value.decode("latin-1") for key, value in self.headers if key.lower() == wanted]

    def value(self, name: str) -> str | None:
        """The one value of a header; None without it. A repeated one is a failure."""
        values = self.values(name)
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    def names(self) -> set[str]:
        return {name.decode().lower() for name, _ in self.headers}


class Exchange:
    """One request and the script's means to answer it."""

    def __init__(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.request = request
        self.sent = 0  # bytes that left for the other side
        self.is_over = False
        self._reader, self._writer = reader, writer
        self._gone: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    async def send(self, data: bytes) -> None:
        """Send, and wait until the kernel has taken all of it."""
        self._writer.write(data)
        await self._writer.drain()
        self.sent += len(data)

    async def read_some(self) -> bytes:
        """The next raw bytes of the request's body, framing included."""
        data = await self._reader.read(LIMIT)
        self.request.body += data
        return data

    async def read_chunk(self) -> bytes:
        """One chunk of the request's body; empty at its end. Trailers are read and dropped."""
        size = int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if size == 0:
            while await self._reader.readuntil(b"\r\n") != b"\r\n":
                pass
            return b""
        data = await self._reader.readexactly(size)
        await self._reader.readexactly(2)
        self.request.body += data
        return data

    async def read_body(self) -> bytes:
        """The rest of the request's body, without its framing."""
        if self.request.value("Transfer-Encoding"):
            while await self.read_chunk():
                pass
        else:
            missing = int(self.request.value("Content-Length") or 0) - len(self.request.body)
            self.request.body += await self._reader.readexactly(missing)
        return bytes(self.request.body)

    async def until_gone(self) -> None:
        """Read on until the other side leaves; then its leaving is noted."""
        while await self.read_some():
            pass
        self.note_gone()

    def note_gone(self) -> None:
        self.is_over = True
        if not self._gone.done():
            self._gone.set_result(asyncio.get_running_loop().time())

    async def gone_at(self) -> float:
        """When the other side left, in loop time."""
        async with asyncio.timeout(PATIENCE):
            return await asyncio.shield(self._gone)

    def finish(self) -> None:
        """Close the connection (FIN)."""
        self.is_over = True
        self._writer.close()

    def reset(self) -> None:
        """Close the connection with RST, as a crash does."""
        self.is_over = True
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Script = Callable[[Exchange], Awaitable[None]]


def response(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """A whole response with a Content-Length, as bytes."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def answers(body: bytes = b"", *headers: str, status: str = "200 OK") -> Script:
    """A script: read the request whole, answer with a Content-Length, keep the connection."""

    async def script(exchange: Exchange) -> None:
        await exchange.read_body()
        await exchange.send(response(body, *headers, status=status))

    return script


def sends(*pieces: bytes) -> Script:
    """A script: read the request whole, send these bytes one write each, close."""

    async def script(exchange: Exchange) -> None:
        await exchange.read_body()
        for piece in pieces:
            await exchange.send(piece)
        exchange.finish()

    return script


async def reflect(exchange: Exchange) -> None:
    """A script: answer with the request itself, as JSON."""
    await exchange.read_body()
    request = exchange.request
    seen = {
        "method": request.method,
        "target": request.target,
        "headers": [
            [name.decode("latin-1"), text.decode("latin-1")] for name, text in request.headers
        ],
        "body": request.body.decode("latin-1"),
    }
    await exchange.send(response(json.dumps(seen).encode(), "Content-Type: application/json"))


async def never_answers(exchange: Exchange) -> None:
    """A script: read on until the other side gives up."""
    await exchange.until_gone()


class Upstream:
    """A server that plays one script for every request, and keeps what it saw."""

    def __init__(self) -> None:
        self.script: Script = reflect
        self.requests: list[Request] = []
        self.connections = 0
        self.port = 0  # where it listens, if a test needs to know
        self._begun: asyncio.Queue[Exchange] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._faults: list[Exception] = []
        self._listener: socket.socket | None = None

    def start(self, listener: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serve on a listening socket (TCP or unix), which is taken over."""
        listener.setblocking(False)
        self._listener = listener
        self._begin(self._accept(listener, tls))

    async def stop(self) -> None:
        """Close all; a script that failed fails the test here."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
        for writer in self._writers:
            writer.transport.abort()
        await _settle()
        if self._faults:
            raise self._faults[0]

    @property
    def request(self) -> Request:
        """The only request that came."""
        assert len(self.requests) == 1, f"{len(self.requests)} requests came"
        return self.requests[0]

    async def exchange(self) -> Exchange:
        """Wait for the next exchange to begin."""
        async with asyncio.timeout(PATIENCE):
            return await self._begun.get()

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            self._begin(self._converse(connection, tls))

    async def _converse(self, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=LIMIT)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=tls)
        except (ssl.SSLError, ConnectionError):
            return  # the other side rejected the certificate, and reports that itself
        self.connections += 1
        transport.set_write_buffer_limits(high=0)  # a drain means the kernel has it all
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self._writers.append(writer)
        try:
            while request := await _read_request(reader):
                if not await self._play(Exchange(request, reader, writer)):
                    break
        finally:
            writer.close()

    async def _play(self, exchange: Exchange) -> bool:
        """Play the script; True when the connection can carry another request."""
        self.requests.append(exchange.request)
        self._begun.put_nowait(exchange)
        try:
            await self.script(exchange)
        except (ConnectionError, asyncio.IncompleteReadError):
            exchange.note_gone()
        except Exception as fault:  # noqa: BLE001 - kept, and raised when the test ends
            self._faults.append(fault)
            return False
        return not exchange.is_over


async def _settle() -> None:
    """Let the event loop do what it has begun: transports call their protocols in later turns."""
    for _ in range(10):
        await asyncio.sleep(0)


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request head; None when the other side closed instead."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (ConnectionError, asyncio.IncompleteReadError):
        return None
    start, *lines = head[:-4].split(b"\r\n")
    method, target, version = start.decode("latin-1").split(" ")
    pairs = (line.partition(b":") for line in lines)
    return Request(
        method, target, version, [(name, value.strip(b" \t")) for name, _, value in pairs]
    )
