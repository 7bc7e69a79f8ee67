"""The responses of a service, strictly read (RFC 9112)."""

from typing import Any, Final

import httptools
from mypy_extensions import mypyc_attr

from gateway.http.chunked import MORE, OTHER, plain_chunks
from gateway.http.errors import Failure
from gateway.http.headers import EVENT_STREAM, first, is_streaming, media_type, values

MAX_HEAD: Final = 64 * 1024
MAX_HEADERS: Final = 256
MAX_FRAMING: Final = 64 * 1024  # between two bytes of a body: chunk extensions, trailers
NO_BODY_STATUSES = (204, 304)
CONTINUE: Final = 100
SWITCHING_PROTOCOLS: Final = 101
FIRST_FINAL_STATUS: Final = 200
UNKNOWN: Final = -1


class ResponseHead:
    """A final response head. `has_body` is False where RFC 9112 6.3 rules a body out.

    `is_stream` and `is_event_stream` go by its parsed media type.
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
    """What takes a response as it comes. Exactly one of `complete` and `broken` is called last.

    A class, because each chunk goes through it: compiled code calls it without a look-up.
    """

    def informational(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """A 1xx response other than 101."""

    def head(self, head: ResponseHead) -> None:
        """The final response head, before any byte of its body."""

    def switched(self, reason: bytes, headers: list[tuple[bytes, bytes]]) -> bool:  # noqa: ARG002
        """A 101; whether it was asked for. If so, all that follows is `body`, to the last byte."""
        return False

    def ended(self) -> bool:
        """The service sends no more; whether it may still be sent to.

        If so, `complete` comes when its connection is closed as a whole.
        """
        return False

    def takes_chunks(self) -> bool:
        """Whether a chunked body may come as `chunks`; asked once, after the head."""
        return False

    def head_read(self) -> None:
        """All that came together with the head was handed over."""

    def chunks(self, data: bytes, payload: int) -> None:
        """Bytes of the body as the service framed them, in plain chunks; `payload` are its own.

        A chunk may come in parts: all of them come here.
        """

    def body(self, data: bytes) -> None:
        """Bytes of the body, without the service's own framing."""

    def complete(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The whole response came."""

    def broken(self, failure: Failure, why: str) -> None:
        """No more comes, and it was not all."""


NOBODY: Final = Receiver()


class ResponseReader:
    """The responses on one connection, strictly read, one after the other.

    llhttp reads the heads and whatever is not plain about a body: chunks with extensions, the last
    chunk, trailers. Plain chunks, and bodies that a length or the connection's end delimits, go on
    without it. `on_*` are its callbacks; no leniency of it is on.
    """

    def __init__(self) -> None:
        self._parser: Any = None
        self._is_parser_ready = False  # for the next response: it has read the last to its end
        self._reset(NOBODY, is_head=False)
        self.is_complete = True

    def begin(self, receiver: Receiver, *, is_head: bool) -> None:
        """Expect the answer to a request, which is for this receiver."""
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
        self._tail = b""  # of the head so far: an empty line may come in parts
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._framing_size = 0
        self._is_chunked = False
        self._takes_chunks = False
        self._is_parsed = False  # the body: it is llhttp's turn
        self._is_in_chunk = False
        self._owed = 0  # of the plain chunk that came in part
        self._stub = b""  # the beginning of a size line
        self._left = UNKNOWN  # of a body that has a length

    def feed(self, data: bytes) -> None:
        """Read what came. Raises `httptools.HttpParserError` where it is malformed."""
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
        """Say that this was all of it."""
        self.is_complete = True
        self._receiver.complete(self._headers)

    def rest(self) -> None:
        """Let go of the last response."""
        self._receiver, self._headers = NOBODY, []

    def close(self) -> None:
        """Read no more, and let go of the parser, which holds this object in turn."""
        self.rest()
        self.is_complete = True
        self._parser = None

    def _feed_head(self, data: bytes) -> int:
        """Give llhttp the head and no byte more, so that the body can go without it; its end."""
        start = 0
        while self._is_in_head and start < len(data):
            end = self._after_empty_line(data, start)
            part = data[start:end]
            self._tail = (self._tail + part)[-3:]
            try:
                self._parse(part)
            except httptools.HttpParserUpgrade:
                if not self._is_switched:
                    raise
            start = end
        return start

    def _after_empty_line(self, data: bytes, start: int) -> int:
        """Where a head may end: after the next empty line, or with the data."""
        astride = (self._tail + data[start : start + 3]).find(b"\r\n\r\n")
        if astride >= 0:
            return start + astride + 4 - len(self._tail)
        found = data.find(b"\r\n\r\n", start)
        return found + 4 if found >= 0 else len(data)

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
        """Leave it to llhttp, until it has just read the end of a chunk: the next may be plain.

        Not more than the end: the beginning of a size line cannot end like one.
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
        # llhttp reads values without the spaces after them, but gives them with. Tabs it takes
        # for part of the value: so must we, or our reading of the framing would not be its own.
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
        headers, self._headers = self._headers, []  # what is gathered from here on is trailers
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
        """Read on without HTTP, where that was asked for: what follows has no framing here."""
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
