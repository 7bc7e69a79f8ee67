"""Strict parser for the requests of a client (RFC 9112): heads by llhttp, bodies by their framing.

It reads no byte beyond the end of a message, because another request or protocol may follow.
"""

import re
from typing import Any, Final

import httptools
from mypy_extensions import mypyc_attr

from gateway.http.chunked import BROKEN, MORE, plain_chunks
from gateway.http.errors import BAD_REQUEST, HEADERS_TOO_LARGE, Malformed
from gateway.http.headers import EMPTY_LINE, after_empty_line, by_name

MAX_HEADERS: Final = 256
MAX_CHUNK_LINE: Final = 4096  # bytes of a size line with its extensions
MAX_TRAILERS: Final = 16 * 1024  # bytes
MAX_LENGTH_DIGITS: Final = 19  # digits of the largest 64-bit number

_VERSIONS: Final = ("1.0", "1.1")
# A size line that is not plain: an extension (RFC 9112 7.1.1), a last chunk, or leading zeros.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_TRAILERS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n")


class RequestHead:
    """A request head. `target` and `headers` are as received; values have no space around them.

    `index` is as `by_name` returns it. `keeps_alive` is what the client asked for. `is_chunked` or
    a `length` over 0 is a body.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a head
        self,
        method: str,
        target: bytes,
        is_http_11: bool,
        headers: list[tuple[bytes, bytes]],
        index: dict[bytes, list[bytes]],
        keeps_alive: bool,
    ) -> None:
        self.method = method
        self.target = target
        self.is_http_11 = is_http_11
        self.headers = headers
        self.keeps_alive = keeps_alive
        self.index = index
        self.is_chunked = b"transfer-encoding" in index
        length = index.get(b"content-length")
        self.length = 0 if length is None or self.is_chunked else int(length[0])

    @property
    def has_body(self) -> bool:
        """Whether a body follows."""
        return self.is_chunked or self.length > 0

    def forget(self) -> None:
        """Release target and headers, because a stream may go on for hours."""
        self.target, self.headers, self.index = b"", [], {}


@mypyc_attr(allow_interpreted_subclasses=True)
class BodyReceiver:
    """Receives a request body as it comes.

    It is a class and no protocol, because compiled code calls it for each chunk without a look-up.
    """

    def body(self, data: bytes) -> None:
        """Receives bytes of the body, without framing."""

    def chunks(self, data: bytes, payload: int) -> None:
        """Receives whole or partial chunks as they came; `payload` counts the bytes within."""

    def body_complete(self) -> None:
        """The whole body has come. Its trailers, if any, were dropped."""


class RequestReader:
    """Reads the requests on one connection, one after the other.

    `read_head` reads a head, then `read_body` its body, until `is_complete`. `on_*` are callbacks
    of llhttp, none of whose lenient modes is on.
    """

    def __init__(self, max_head_size: int) -> None:
        self.is_complete = True
        self.is_upgraded = False  # whether the bytes behind the head may be no HTTP
        self._max_head_size = max_head_size
        self._parser: Any = None
        self._is_parser_used = True
        self._head: RequestHead | None = None
        self._fault: Malformed | None = None
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._tail = b""  # of the head so far, because an empty line may come in parts
        self._left = 0  # bytes missing of a body with a length
        self._owed = 0  # bytes missing of an incomplete plain chunk
        self._stub = b""  # the start of a size line, or of the trailers
        self._is_in_trailers = False

    def read_head(self, data: bytes) -> tuple[int, RequestHead | None]:
        """Returns how many bytes were read, and the head if it ended there. Raises `Malformed`."""
        if self._is_parser_used:
            self._parser = httptools.HttpRequestParser(self)
            self._is_parser_used = False
            self._reset()
        at = 0
        while at < len(data) and self._head is None:
            end = after_empty_line(self._tail, data, at)
            part = data[at:end]
            self._tail = (self._tail + part)[-3:]
            self._parse(part)
            at = end
        head, self._head = self._head, None
        if head is not None:
            self._begin_body(head)
        return at, head

    def read_body(self, data: bytes, receiver: BodyReceiver) -> int:
        """Returns how many bytes of the body were read. Raises `Malformed`."""
        if self._left:
            return self._read_sized(data, receiver)
        return self._read_chunked(data, receiver)

    def close(self) -> None:
        """Release the parser, which refers to this object."""
        self._parser = None
        self._is_parser_used = True

    # Heads

    def _reset(self) -> None:
        """Expect another head."""
        self._target, self._headers, self._head_size, self._tail = b"", [], 0, b""
        self._left = self._owed = 0
        self._stub, self._is_in_trailers = b"", False

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.is_upgraded = True
        except httptools.HttpParserCallbackError:
            raise
        except httptools.HttpParserError as error:
            raise self._fault or Malformed(BAD_REQUEST, reason=type(error).__name__) from None
        if self._fault is not None:
            raise self._fault

    def on_url(self, part: bytes) -> None:
        """Called by llhttp for each part of the target."""
        self._target += part
        self._count(len(part))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp for each header line."""
        self._count(len(name) + len(value))
        if len(self._headers) == MAX_HEADERS:
            self._fault = Malformed(HEADERS_TOO_LARGE)
        elif self._fault is None:
            self._headers.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """Called by llhttp at the end of a head."""
        version = self._parser.get_http_version()
        index = by_name(self._headers)
        if self._fault is None:
            self._fault = _fault(version, index)
        if self._fault is None:
            self._head = RequestHead(
                self._parser.get_method().decode(),
                self._target,
                version == _VERSIONS[1],
                self._headers,
                index,
                self._parser.should_keep_alive(),
            )

    def _count(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._max_head_size:
            self._fault = Malformed(HEADERS_TOO_LARGE)

    # Bodies

    def _begin_body(self, head: RequestHead) -> None:
        """Once it expects a body, a parser of llhttp can read no other head."""
        self._is_parser_used = head.has_body or self.is_upgraded
        self._left = head.length
        self.is_complete = not head.has_body
        if self.is_complete:
            self._reset()

    def _read_sized(self, data: bytes, receiver: BodyReceiver) -> int:
        size = min(self._left, len(data))
        self._left -= size
        receiver.body(data if size == len(data) else data[:size])
        if not self._left:
            self._finish(receiver)
        return size

    def _read_chunked(self, data: bytes, receiver: BodyReceiver) -> int:
        """Read plain chunks as they are, and the rest line by line."""
        held = len(self._stub)
        if held:
            data, self._stub = self._stub + data, b""
        at = 0
        while at < len(data) and not self.is_complete:
            if not self._is_in_trailers:
                rest = data if at == 0 else data[at:]
                end, payload, self._owed, follows = plain_chunks(rest, self._owed)
                if end:
                    receiver.chunks(rest if end == len(rest) else rest[:end], payload)
                    at += end
                if follows == BROKEN:
                    raise Malformed(BAD_REQUEST, reason="a chunk is longer than its size says")
                if at == len(data):
                    break
                if follows == MORE:
                    self._hold(data[at:], MAX_CHUNK_LINE)
                    break
            at = self._read_line(data, at, receiver)
            if self._stub:
                break
        return (at if self.is_complete else len(data)) - held

    def _read_line(self, data: bytes, at: int, receiver: BodyReceiver) -> int:
        """Read a size line that is not plain, or the trailers. Returns where they end."""
        if self._is_in_trailers:
            return self._read_trailers(data, at, receiver)
        line = _SIZE_LINE.match(data, at)
        if line is None:
            if b"\n" in data[at:]:
                raise Malformed(BAD_REQUEST, reason="a chunk has no valid size line")
            self._hold(data[at:], MAX_CHUNK_LINE)
            return len(data)
        size = int(line[1], 16)
        if size:
            # Its extension is dropped, so that it goes on as a plain chunk.
            self._owed = size + 2
            receiver.chunks(b"%x\r\n" % size, 0)
        else:
            self._is_in_trailers = True
        return line.end()

    def _read_trailers(self, data: bytes, at: int, receiver: BodyReceiver) -> int:
        """The trailers are dropped (RFC 9110 6.5.1)."""
        found = _TRAILERS.match(data, at)
        if found is not None:
            self._finish(receiver)
            return found.end()
        if EMPTY_LINE in data[at:]:
            raise Malformed(BAD_REQUEST, reason="a trailer is malformed")
        self._hold(data[at:], MAX_TRAILERS)
        return len(data)

    def _hold(self, data: bytes, limit: int) -> None:
        if len(data) > limit:
            raise Malformed(BAD_REQUEST, reason="a chunk has too long an extension, or trailers")
        self._stub = data

    def _finish(self, receiver: BodyReceiver) -> None:
        self.is_complete = True
        self._reset()
        receiver.body_complete()


def _fault(version: str, index: dict[bytes, list[bytes]]) -> Malformed | None:
    """Returns what is wrong with a head that llhttp accepts."""
    if version not in _VERSIONS:
        return Malformed(BAD_REQUEST, f"HTTP/{version} is not supported. Use HTTP/1.1.")
    # RFC 9112 3.2: exactly one Host, which HTTP/1.0 need not have.
    hosts = len(index.get(b"host", ()))
    if hosts > 1 or (hosts == 0 and version == _VERSIONS[1]):
        return Malformed(BAD_REQUEST, "Send one Host header.")
    lengths = index.get(b"content-length")
    if lengths is not None and len(lengths[0]) > MAX_LENGTH_DIGITS:
        return Malformed(BAD_REQUEST, "The Content-Length has too many digits.")
    return None
