"""A browser made of bytes: it sends exactly what a test says, and knows a clean end from a cut.

Nothing is read from the socket until a test asks, so not asking is a stalled browser.
"""

import asyncio
import json
import socket
import struct
import time
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Self

PATIENCE = 10.0  # seconds for one read: a response that never comes is a failure, not a hang
READ_SIZE = 64 * 1024

Headers = list[tuple[bytes, bytes]]


class Ending(Enum):
    """How a response ended."""

    CLEAN = "clean"  # its framing says that all of it came
    CUT = "cut"  # the connection closed before that
    RESET = "reset"  # the connection was reset before that


class Framing(Enum):
    """How the end of a body is known (RFC 9112, section 6.3)."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"


@dataclass(slots=True)
class Response:
    """What came. `chunks` are the boundaries on the wire; `arrivals` are monotonic seconds."""

    version: bytes
    status: int
    reason: bytes
    headers: Headers
    interim: "list[Response]" = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    chunks: list[bytearray] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)
    trailers: Headers = field(default_factory=list)
    ending: Ending | None = None

    def values(self, name: str) -> list[bytes]:
        wanted = name.lower().encode()
        return [value for key, value in self.headers if key.lower() == wanted]

    def value(self, name: str) -> str | None:
        """The one value of a header; None without it. A repeated one is a failure."""
        values = self.values(name)
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0].decode("latin-1") if values else None

    def json(self) -> Any:
        return json.loads(self.body)


def framing(response: Response, method: str) -> Framing:
    """How this response to this method ends (RFC 9112, section 6.3)."""
    if method == "HEAD" or response.status in (204, 304) or response.status < 200:
        return Framing.NONE
    if response.values("Transfer-Encoding"):
        assert response.value("Transfer-Encoding") == "chunked"
        assert response.value("Content-Length") is None, "both framings at once"
        return Framing.CHUNKED
    return Framing.CLOSE if response.value("Content-Length") is None else Framing.LENGTH


class RawClient:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray()
        self._framing = Framing.NONE
        self._left = 0  # bytes that the current chunk or Content-Length still owes
        self.response: Response | None = None

    @classmethod
    async def connect(
        cls, port: int, *, source: str = "127.0.0.1", receive_buffer: int | None = None
    ) -> Self:
        connection = socket.socket()
        connection.setblocking(False)
        if receive_buffer is not None:  # before connecting, or the window is already offered
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            connection.bind((source, 0))
            async with asyncio.timeout(PATIENCE):
                await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def request(
        self, target: str, *headers: str, method: str = "GET", body: bytes = b""
    ) -> None:
        """Send a request; a Host header, and Content-Length for a body, are added."""
        lines = [f"{method} {target} HTTP/1.1", "Host: gateway.test", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    async def fetch(
        self, target: str, *headers: str, method: str = "GET", body: bytes = b""
    ) -> Response:
        """Send a request and read the whole response."""
        await self.request(target, *headers, method=method, body=body)
        await self.head(method)
        return await self.rest()

    async def head(self, method: str = "GET") -> Response:
        """Read the next final response's head, collecting the 1xx responses before it."""
        interim: list[Response] = []
        while (response := await self.next_head(method)).status < 200:
            interim.append(response)
        response.interim = interim
        return response

    async def next_head(self, method: str = "GET") -> Response:
        """Read one head, a 1xx too."""
        version, status, reason = (*(await self._line()).split(b" ", 2), b"")[:3]
        response = Response(version, int(status), reason, await self._fields())
        response.arrivals.append(time.monotonic())
        self.response, self._framing = response, framing(response, method)
        self._left = int(response.value("Content-Length") or 0)
        if self._framing is Framing.NONE or (self._framing, self._left) == (Framing.LENGTH, 0):
            response.ending = Ending.CLEAN
        return response

    async def until(self, marker: bytes) -> Response:
        """Read the body until it holds this; a body that ends before is a failure."""
        response = self._current()
        while marker not in response.body:
            assert response.ending is None, (
                f"{response.ending} before {marker!r}: {response.body!r}"
            )
            await self._piece(response)
        return response

    async def take(self, size: int) -> Response:
        """Read at least so many bytes more of the body, unless it ends."""
        response = self._current()
        wanted = len(response.body) + size
        while len(response.body) < wanted and response.ending is None:
            await self._piece(response)
        return response

    async def rest(self) -> Response:
        """Read the body to its end, whatever that is."""
        response = self._current()
        while response.ending is None:
            await self._piece(response)
        return response

    async def raw(self, size: int) -> bytes:
        """So many bytes as they came, of another protocol than HTTP."""
        taken = b""
        while len(taken) < size:
            taken += await self._some(size - len(taken))
        return taken

    async def closed(self) -> bytes:
        """Wait until the other side has closed; what came before that is the answer."""
        try:
            while await self._fill():
                pass
        except ConnectionResetError:
            pass
        return bytes(self._buffer)

    def half_close(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()

    def reset(self) -> None:
        """Close with RST, as a crashed browser does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _current(self) -> Response:
        assert self.response is not None, "no head was read yet"
        return self.response

    async def _fill(self) -> bool:
        """Read what is there, waiting for the first byte; False at the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            data = await asyncio.get_running_loop().sock_recv(self._socket, READ_SIZE)
        self._buffer += data
        return bool(data)

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            if not await self._fill():
                raise EOFError(f"the connection ended in a line: {bytes(self._buffer)!r}")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    async def _fields(self) -> Headers:
        fields: Headers = []
        while line := await self._line():
            name, _, value = line.partition(b":")
            fields.append((name, value.strip(b" \t")))
        return fields

    async def _some(self, limit: int) -> bytes:
        """Between one and `limit` bytes."""
        if not self._buffer and not await self._fill():
            raise EOFError
        data = bytes(self._buffer[:limit])
        del self._buffer[: len(data)]
        return data

    async def _piece(self, response: Response) -> None:
        """Read one more piece of the body, or learn how it ended."""
        try:
            if self._framing is Framing.CHUNKED and self._left == 0:
                await self._next_chunk(response)
            else:
                await self._data(response)
        except EOFError:
            is_clean = self._framing is Framing.CLOSE
            response.ending = Ending.CLEAN if is_clean else Ending.CUT
        except ConnectionResetError:
            response.ending = Ending.RESET

    async def _next_chunk(self, response: Response) -> None:
        self._left = int((await self._line()).split(b";")[0], 16)
        if self._left:
            response.chunks.append(bytearray())
        else:
            response.trailers = await self._fields()
            response.ending = Ending.CLEAN

    async def _data(self, response: Response) -> None:
        is_counted = self._framing is not Framing.CLOSE
        data = await self._some(self._left if is_counted else READ_SIZE)
        response.body += data
        response.arrivals.append(time.monotonic())
        if not is_counted:
            return
        self._left -= len(data)
        if self._framing is Framing.CHUNKED:
            response.chunks[-1] += data
            if self._left == 0:
                assert await self._line() == b"", "a chunk longer than its size"
        elif self._left == 0:
            response.ending = Ending.CLEAN
