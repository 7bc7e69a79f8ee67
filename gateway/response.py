"""One response of a service, as llhttp reads it (RFC 9112): strict, with no leniency on."""

from dataclasses import dataclass
from typing import Protocol

import httptools

from gateway.errors import Failure
from gateway.headers import first, values

MAX_HEAD = 64 * 1024
MAX_HEADERS = 256
MAX_FRAMING = 64 * 1024  # between two bytes of a body: chunk extensions, trailers
NO_BODY_STATUSES = (204, 304)
CONTINUE = 100
SWITCHING_PROTOCOLS = 101
FIRST_FINAL_STATUS = 200


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A final response head. `has_body` is False where RFC 9112 6.3 rules a body out."""

    status: int
    reason: bytes
    headers: list[tuple[bytes, bytes]]
    has_body: bool
    has_length: bool


class Receiver(Protocol):
    """What takes a response as it comes. Exactly one of `complete` and `broken` is called last."""

    def informational(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """A 1xx response other than 101."""

    def head(self, head: ResponseHead) -> None:
        """The final response head, before any byte of its body."""

    def body(self, data: bytes) -> None:
        """Bytes of the body, without the service's own framing."""

    def complete(self, trailers: list[tuple[bytes, bytes]]) -> None:
        """The whole response came."""

    def broken(self, failure: Failure, why: str) -> None:
        """No more comes, and it was not all."""


class Response:
    """One response as llhttp reads it: strict, no leniency is on. `on_*` are its callbacks."""

    def __init__(self, receiver: Receiver, *, is_head: bool) -> None:
        self.is_complete = False
        self.has_excess = False
        self.keeps_alive = False
        self.ends_with_connection = False
        self.refusal = ""
        self._receiver = receiver
        self._is_head = is_head
        self._is_in_head = True
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._framing_size = 0
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self._framing_size += len(data)
        self._parser.feed_data(data)
        if self._framing_size > MAX_FRAMING and not self.is_complete:
            self._refuse(f"it sent over {MAX_FRAMING} bytes of framing without a byte of body")

    def finish(self) -> None:
        self.is_complete = True
        self._receiver.complete(self._headers)

    def on_message_begin(self) -> None:
        if self.is_complete:
            self.has_excess = True
        self._headers = []
        self._reason = b""

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        # llhttp reads values without the spaces after them, but gives them with. Tabs it takes
        # for part of the value: so must we, or our reading of the framing would not be its own.
        value = value.rstrip(b" ")
        self._head_size += len(name) + len(value)
        if self._head_size > MAX_HEAD or len(self._headers) == MAX_HEADERS:
            self._refuse(f"its headers are over {MAX_HEAD} bytes or {MAX_HEADERS} lines")
        else:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.is_complete or self.refusal:
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
                self._refuse("it switched protocols, which nobody asked for")
            else:
                self._receiver.informational(status, headers)
            return
        self._is_in_head = False
        codings = values(headers, b"transfer-encoding")
        if codings and [coding.lower() for coding in codings] != [b"chunked"]:
            self._refuse("it used a transfer coding other than chunked, which nobody asked for")
            return
        self._start(status, headers, is_chunked=bool(codings))

    def _start(self, status: int, headers: list[tuple[bytes, bytes]], *, is_chunked: bool) -> None:
        has_body = not self._is_head and status not in NO_BODY_STATUSES
        has_length = first(headers, b"content-length") is not None
        self.ends_with_connection = has_body and not has_length and not is_chunked
        self.keeps_alive = not self.ends_with_connection and self._parser.should_keep_alive()
        self._receiver.head(ResponseHead(status, self._reason, headers, has_body, has_length))
        if not has_body:
            self.finish()

    def on_body(self, data: bytes) -> None:
        if self.is_complete:
            self.has_excess = True
        elif not self.refusal:
            self._framing_size = 0
            self._receiver.body(data)

    def on_message_complete(self) -> None:
        if not self._is_in_head and not self.is_complete and not self.refusal:
            self.finish()

    def _refuse(self, why: str) -> None:
        self.refusal = self.refusal or why
