"""Strict parser for the responses of an upstream (RFC 9112), on llhttp."""

from typing import Any, Final

import httptools
from mypy_extensions import mypyc_attr

from gateway.http.chunked import MORE, OTHER, plain_chunks
from gateway.http.errors import Failure
from gateway.http.headers import (
    EVENT_STREAM,
    after_empty_line,
    first,
    is_streaming,
    media_type,
    values,
)

MAX_HEAD: Final = 64 * 1024
MAX_HEADERS: Final = 256
MAX_FRAMING: Final = 64 * 1024  # bytes between two bytes of a body: chunk extensions, trailers
NO_BODY_STATUSES = (204, 304)
CONTINUE: Final = 100
SWITCHING_PROTOCOLS: Final = 101
FIRST_FINAL_STATUS: Final = 200
UNKNOWN: Final = -1


class ResponseHead:
    """A final response head. `has_body` is False where RFC 9112 6.3 rules a body out.

    `is_stream` and `is_event_stream` follow from the media type.
    """

    def __init__(
        self,
        status: int,
        reason: bytes,
        headers: list[tuple[bytes, bytes]],
        has_body: bool,
        has_length: bool,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.has_body = has_body
        self.has_length = has_length
        kind = media_type(first(headers, b"content-type"))
        self.is_event_stream = kind == EVENT_STREAM
        self.is_stream = is_streaming(kind)


@mypyc_attr(allow_interpreted_subclasses=True)
class Receiver:
    """Receives a response as it comes. `complete` or `broken` is called last, and only one of them.

    It is a class and no protocol, because compiled code calls it for each chunk without a look-up.
    """

    def informational(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Receives a 1xx response other than 101."""

    def head(self, head: ResponseHead) -> None:
        """Receives the final response head, before any byte of its body."""

    def switched(self, reason: bytes, headers: list[tuple[bytes, bytes]]) -> bool:  # noqa: ARG002
        """Receives a 101. Returns whether it was requested; then all further bytes are `body`."""
        return False

    def ended(self) -> bool:
        """The upstream sends no more. Returns whether bytes may still be sent to it.

        If so, `complete` comes when its connection is closed.
        """
        return False

    def takes_chunks(self) -> bool:
        """Returns whether a chunked body may come as `chunks`; called once, after the head."""
        return False

    def head_read(self) -> None:
        """All bytes that came together with the head have been passed on."""

    def chunks(self, data: bytes, payload: int) -> None:
        """Receives bytes of the body as framed by the upstream; `payload` counts the bytes within.

        A chunk may come in several parts.
        """

    def body(self, data: bytes) -> None:
        """Receives bytes of the body, without the framing of the upstream."""

    def complete(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The whole response has come."""

    def broken(self, failure: Failure, why: str) -> None:
        """No more bytes come, and the response is incomplete."""


NOBODY: Final = Receiver()


class ResponseReader:
    """Reads the responses on one connection, one after the other.

    llhttp reads the heads, and what is not plain in a body: chunks with extensions, the last chunk,
    trailers. Plain chunks, and bodies that end by a length or with the connection, do not pass
    llhttp. `on_*` are its callbacks. None of its lenient modes is on.
    """

    def __init__(self) -> None:
        self._parser: Any = None
        self._is_parser_ready = False  # the last response was read to its end
        self._reset(NOBODY, is_head=False)
        self.is_complete = True

    def begin(self, receiver: Receiver, *, is_head: bool) -> None:
        """Expect the response to a request, for this receiver."""
        self._reset(receiver, is_head=is_head)
        if not self._is_parser_ready:
            self._parser = httptools.HttpResponseParser(self)
            self._is_parser_ready = True

    def _reset(self, receiver: Receiver, *, is_head: bool) -> None:
        self.is_complete = False
        self.has_excess = False
        self.keeps_alive = False
        self.ends_with_connection = False
        self.rejection = ""
        self._receiver = receiver
        self._is_head = is_head
        self._is_in_head = True
        self._is_switched = False
        self._tail = b""  # of the head so far, because an empty line may come in parts
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._framing_size = 0
        self._is_chunked = False
        self._takes_chunks = False
        self._is_parsed = False  # whether llhttp reads the body
        self._is_in_chunk = False
        self._owed = 0  # bytes missing of an incomplete plain chunk
        self._stub = b""  # the start of a size line
        self._left = UNKNOWN  # bytes missing of a body with a length

    def feed(self, data: bytes) -> None:
        """Read received bytes. Raises `httptools.HttpParserError` if they are malformed."""
        if not self._is_in_head:
            self._feed_body(data)
            return
        end = self._feed_head(data)
        if self._is_in_head:
            return
        rest = data[end:]
        if self.is_complete:
            self.has_excess = self.has_excess or bool(rest)
        elif len(rest) == self._left:
            self._parse(rest)  # so that llhttp is ready for the next response
        elif rest:
            self._feed_body(rest)
        self._receiver.head_read()

    def finish(self) -> None:
        """Record that the upstream has closed the connection."""
        self.is_complete = True
        self._receiver.complete(self._headers)

    def rest(self) -> None:
        """Release the last response."""
        self._receiver, self._headers = NOBODY, []

    def close(self) -> None:
        """Stop reading, and release the parser, which refers to this object."""
        self.rest()
        self.is_complete = True
        self._parser = None

    def _feed_head(self, data: bytes) -> int:
        """Pass the head to llhttp, and no byte more. Returns where the head ends."""
        start = 0
        while self._is_in_head and start < len(data):
            end = after_empty_line(self._tail, data, start)
            part = data[start:end]
            self._tail = (self._tail + part)[-3:]
            try:
                self._parse(part)
            except httptools.HttpParserUpgrade:
                if not self._is_switched:
                    raise
            start = end
        return start

    def _feed_body(self, data: bytes) -> None:
        if self._is_chunked:
            self._feed_chunked(data)
        elif self._left == UNKNOWN:
            self._receiver.body(data)
        else:
            self._feed_sized(data)

    def _feed_chunked(self, data: bytes) -> None:
        if self._is_parsed:
            self._feed_parsed(data)
            return
        if self._stub:
            data, self._stub = self._stub + data, b""
        end, payload, self._owed, follows = plain_chunks(data, self._owed)
        if end == len(data):
            self._receiver.chunks(data, payload)
            return
        if end:
            self._receiver.chunks(data[:end], payload)
        if follows == MORE:
            self._stub = data[end:]
        elif follows == OTHER:
            self._is_parsed = True
            self._feed_parsed(data[end:])
        else:
            self._refuse("a chunk of it is longer than its size says")

    def _feed_parsed(self, data: bytes) -> None:
        """Pass bytes to llhttp up to the end of a chunk, because the next chunk may be plain.

        The parser is given no more than the end: the start of a size line cannot end like it.
        """
        self._parse(data)
        is_between = not self._is_in_chunk and data.endswith(b"\r\n")
        self._is_parsed = not (is_between and self._takes_chunks)

    def _feed_sized(self, data: bytes) -> None:
        left = self._left
        if len(data) < left:
            self._left = left - len(data)
            self._receiver.body(data)
        else:
            self.has_excess = len(data) > left
            self._receiver.body(data[:left])
            self.finish()

    def _parse(self, data: bytes) -> None:
        self._framing_size += len(data)
        self._parser.feed_data(data)
        if self._framing_size > MAX_FRAMING and not self.is_complete:
            self._refuse(f"it sent over {MAX_FRAMING} bytes of framing without a byte of body")

    def on_message_begin(self) -> None:
        """Called by llhttp, also for what follows the response."""
        self._is_parser_ready = False
        if self.is_complete:
            self.has_excess = True
        self._headers = []
        self._reason = b""

    def on_status(self, reason: bytes) -> None:
        """Called by llhttp for each part of the reason phrase."""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp for each header line, and each trailer."""
        # llhttp skips spaces after a value, but passes them on with it. It reads tabs as a part of
        # the value. This code does the same, so that both read the framing alike.
        value = value.rstrip(b" ")
        self._head_size += len(name) + len(value)
        if self._head_size > MAX_HEAD or len(self._headers) == MAX_HEADERS:
            self._refuse(f"its headers are over {MAX_HEAD} bytes or {MAX_HEADERS} lines")
        else:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Called by llhttp at the end of a head, also of a 1xx one."""
        if self.is_complete or self.rejection:
            return
        if self._parser.get_http_version() not in {"1.0", "1.1"}:
            self._refuse("it answered in another version of HTTP than 1.x")
            return
        status = self._parser.get_status_code()
        headers, self._headers = self._headers, []  # headers from here on are trailers
        if status < CONTINUE:
            self._refuse("its status is under 100")
            return
        if status < FIRST_FINAL_STATUS:
            if status == SWITCHING_PROTOCOLS:
                self._switch(headers)
            else:
                self._receiver.informational(status, headers)
            return
        codings = values(headers, b"transfer-encoding")
        if codings and [coding.lower() for coding in codings] != [b"chunked"]:
            self._refuse("it used a transfer coding other than chunked, which nobody asked for")
            return
        self._is_in_head = False
        self._is_chunked = bool(codings)
        self._start(status, headers)
        self._takes_chunks = self._receiver.takes_chunks()
        self._is_parsed = not self._takes_chunks

    def _switch(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Read on without HTTP if that was requested: what follows has no framing."""
        if self._receiver.switched(self._reason, headers):
            self._is_in_head, self._is_switched = False, True
            self.ends_with_connection = True
        else:
            self._refuse("it switched protocols, which nobody asked for")

    def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        has_body = not self._is_head and status not in NO_BODY_STATUSES
        length = first(headers, b"content-length")
        if length is not None and not self._is_chunked:
            self._left = int(length)
        self.ends_with_connection = has_body and length is None and not self._is_chunked
        self.keeps_alive = not self.ends_with_connection and self._parser.should_keep_alive()
        self._receiver.head(
            ResponseHead(status, self._reason, headers, has_body, length is not None)
        )
        if not has_body:
            self.finish()

    def on_chunk_header(self) -> None:
        """Called by llhttp after the size line of a chunk."""
        self._is_in_chunk = True

    def on_chunk_complete(self) -> None:
        """Called by llhttp after the CRLF of a chunk."""
        self._is_in_chunk = False

    def on_body(self, data: bytes) -> None:
        """Called by llhttp for each part of the body."""
        if self.is_complete:
            self.has_excess = True
        elif not self.rejection:
            self._framing_size = 0
            self._receiver.body(data)

    def on_message_complete(self) -> None:
        """Called by llhttp at the end of each response, also of a 1xx one."""
        self._is_parser_ready = True
        is_under_way = not self._is_in_head and not self._is_switched
        if is_under_way and not self.is_complete and not self.rejection:
            self.finish()

    def _refuse(self, why: str) -> None:
        self.rejection = self.rejection or why
