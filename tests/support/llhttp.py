"""What llhttp makes of a chunked body: the judge of our own reading."""

from typing import Any

import httptools

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Chunks:
    """A chunked body, read as it comes."""

    def __init__(self) -> None:
        self.is_in_chunk = False
        self.is_complete = False
        self._payload = b""
        self._parser: Any = httptools.HttpResponseParser(self)
        self._parser.feed_data(HEAD)

    def read(self, data: bytes) -> bytes:
        """The payload in these bytes. Raises `httptools.HttpParserError` where they are wrong."""
        self._payload = b""
        self._parser.feed_data(data)
        return self._payload

    def on_chunk_header(self) -> None:
        self.is_in_chunk = True

    def on_chunk_complete(self) -> None:
        self.is_in_chunk = False

    def on_body(self, data: bytes) -> None:
        self._payload += data

    def on_message_complete(self) -> None:
        self.is_complete = True
