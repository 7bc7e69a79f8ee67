"""A request is read to its last byte and no further, however it is cut, or is malformed."""

import contextlib
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.errors import BAD_REQUEST, HEADERS_TOO_LARGE, Malformed
from gateway.http.request_parser import (
    MAX_CHUNK_LINE,
    MAX_HEADERS,
    MAX_LENGTH_DIGITS,
    MAX_TRAILERS,
    BodyReceiver,
    RequestHead,
    RequestReader,
)
from tests.support.llhttp import Chunks
from tests.wire.security.test_hostile import MALFORMED

MAX_HEAD = 32 * 1024
GET = b"GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
NOT_OF_THE_PARSER = {"chunked-twice", "http-1.0-chunked"}  # `Request.check_body` rejects them


class Body(BodyReceiver):
    """What came of a body."""

    def __init__(self) -> None:
        self.data = b""
        self.payload = 0
        self.is_complete = False

    def body(self, data: bytes) -> None:
        self.data += data

    def chunks(self, data: bytes, payload: int) -> None:
        self.data += data
        self.payload += payload

    def body_complete(self) -> None:
        assert not self.is_complete
        self.is_complete = True


class Connection:
    """Reads requests as a connection does: the parts in turn, each to its end."""

    def __init__(self) -> None:
        self.reader = RequestReader(MAX_HEAD)
        self.requests: list[tuple[RequestHead, Body]] = []

    def feed(self, data: bytes) -> None:
        while data:
            if self.reader.is_complete:
                size, head = self.reader.read_head(data)
                if head is not None:
                    self.requests.append((head, Body()))
            else:
                size = self.reader.read_body(data, self.requests[-1][1])
            assert 0 < size <= len(data)
            data = data[size:]


def read(*parts: bytes) -> list[tuple[RequestHead, Body]]:
    connection = Connection()
    for part in parts:
        connection.feed(part)
    return connection.requests


def fault(*parts: bytes) -> Malformed:
    with pytest.raises(Malformed) as caught:
        read(*parts)
    return caught.value


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    at = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(at)]


def test_a_head_is_as_it_came() -> None:
    [(head, _)] = read(
        b"GET /a%2F?b=+ HTTP/1.1\r\nhost: h\r\nX-A:\t 1 \t\r\nX-a: \xff\r\nB:\r\n\r\n"
    )
    assert (head.method, head.target, head.is_http_11) == ("GET", b"/a%2F?b=+", True)
    assert head.headers == [(b"host", b"h"), (b"X-A", b"1"), (b"X-a", b"\xff"), (b"B", b"")]
    assert (head.keeps_alive, head.has_body) == (True, False)


@pytest.mark.parametrize(
    ("version", "connection", "keeps_alive"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: close\r\n", False),
        ("1.0", "", False),
        ("1.0", "Connection: keep-alive\r\n", True),
    ],
)
def test_it_is_known_whether_the_connection_is_kept(
    version: str, connection: str, keeps_alive: bool
) -> None:
    [(head, _)] = read(f"GET / HTTP/{version}\r\nHost: h\r\n{connection}\r\n".encode())
    assert (head.keeps_alive, head.is_http_11) == (keeps_alive, version == "1.1")


def test_requests_that_come_together_are_read_apart() -> None:
    sized = b"POST /s HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
    chunked = CHUNKED + b"3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n"
    requests = read((GET + sized + chunked) * 3)
    assert [head.target for head, _ in requests] == [b"/a?b", b"/s", b"/a"] * 3
    assert [body.data for _, body in requests] == [b"", b"abc", b"3\r\nabc\r\n"] * 3
    assert [body.is_complete for _, body in requests] == [False, True, True] * 3


@pytest.mark.parametrize("name", sorted(MALFORMED.keys() - NOT_OF_THE_PARSER))
def test_what_is_malformed_is_a_fault(name: str) -> None:
    assert fault(MALFORMED[name] + GET).failure is BAD_REQUEST


@pytest.mark.parametrize("name", sorted(MALFORMED.keys() - NOT_OF_THE_PARSER))
def test_what_is_malformed_is_a_fault_byte_by_byte(name: str) -> None:
    data = MALFORMED[name] + GET
    assert fault(*(data[at : at + 1] for at in range(len(data)))).failure is BAD_REQUEST


@pytest.mark.parametrize(
    "chunks",
    [
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\nabc\r\n0\r\n\r\n",
        b" 3\r\nabc\r\n0\r\n\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\na\r\n0\r\n\r\n",
        b"0x1\r\na\r\n0\r\n\r\n",
        b"1_0\r\n",
        b"3;a=\0\r\nabc\r\n0\r\n\r\n",
        b"3;a=\n\r\nabc\r\n0\r\n\r\n",
        b"11111111111111111\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nX : 1\r\n\r\n",
        b"0\r\nX: 1\r\n folded\r\n\r\n",
        b"0\r\nX: a\0b\r\n\r\n",
        b"0\r\nX: a\nb\r\n\r\n",
    ],
)
def test_a_body_that_can_be_read_in_two_ways_is_a_fault(chunks: bytes) -> None:
    assert fault(CHUNKED + chunks).failure is BAD_REQUEST
    data = CHUNKED + chunks
    assert fault(*(data[at : at + 1] for at in range(len(data)))).failure is BAD_REQUEST


def test_an_extension_is_dropped() -> None:
    [(_, body)] = read(CHUNKED + b'3;a="b"\r\nabc\r\n02\r\nde\r\n000;last\r\n\r\n')
    assert (body.data, body.payload, body.is_complete) == (b"3\r\nabc\r\n02\r\nde\r\n", 5, True)


def test_an_extension_without_an_end_is_a_fault() -> None:
    assert fault(CHUNKED + b"3;a=", *[b"b" * 1024] * (MAX_CHUNK_LINE // 1024 + 1))


def test_trailers_without_an_end_are_a_fault() -> None:
    assert fault(CHUNKED + b"0\r\nX: ", *[b"b" * 1024] * (MAX_TRAILERS // 1024 + 1))


def test_a_head_over_its_limits_is_a_fault() -> None:
    lines = b"X: 1\r\n" * (MAX_HEADERS - 1)
    assert read(GET[:-2] + lines + b"\r\n")
    assert fault(GET[:-2] + lines + b"X: 1\r\n\r\n").failure is HEADERS_TOO_LARGE
    long = b"X: %b\r\n" % (b"a" * MAX_HEAD)
    assert fault(GET[:-2] + long + b"\r\n").failure is HEADERS_TOO_LARGE
    target = b"GET /%b HTTP/1.1\r\nHost: h\r\n\r\n" % (b"a" * MAX_HEAD)
    assert fault(target).failure is HEADERS_TOO_LARGE


@pytest.mark.parametrize("start", [b"GET /\r\n", b"GET / HTTP/0.9\r\n"])
def test_http_0_9_is_a_fault_that_names_its_fix(start: bytes) -> None:
    assert "HTTP/1.1" in fault(start + b"Host: h\r\n\r\n").detail


@pytest.mark.parametrize("zeros", [MAX_LENGTH_DIGITS, 5000])
def test_a_length_of_more_digits_than_any_length_has_is_a_fault(zeros: int) -> None:
    length = b"Content-Length: %b2\r\n\r\nhi" % (b"0" * zeros)
    assert fault(GET[:-2] + length).failure is BAD_REQUEST


def test_the_bytes_behind_an_upgrade_are_left_alone() -> None:
    upgrade = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    reader = RequestReader(MAX_HEAD)
    size, head = reader.read_head(upgrade + b"\x81\x00")
    assert (size, head is None, reader.is_upgraded) == (len(upgrade), False, True)


TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8).map(str.encode)
VALUES = st.binary(max_size=12).map(
    lambda data: bytes(each for each in data if each >= 32 and each != 127).strip(b" \t")
)
FIELDS = st.lists(st.tuples(TOKENS.map(lambda name: b"x-" + name), VALUES), max_size=4)
PARTS = st.lists(st.binary(min_size=1, max_size=40), max_size=4)
STYLES = st.sampled_from([b"%x\r\n", b"%X\r\n", b"0%x\r\n", b"%x;a=b\r\n"])


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """A valid request: its bytes, its fields, and the payload of its body."""
    fields = draw(FIELDS)
    parts = draw(PARTS)
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    payload = b"" if framing == "none" else b"".join(parts)
    own = {"none": [], "length": [(b"Content-Length", b"%d" % len(payload))],
           "chunked": [(b"Transfer-Encoding", b"chunked")]}[framing]  # fmt: skip
    headers = [(b"Host", b"h"), *fields, *own]
    lines = b"".join(b"%b: %b\r\n" % pair for pair in headers)
    body = payload
    if framing == "chunked":
        body = b"".join(draw(STYLES) % len(part) + part + b"\r\n" for part in parts)
        body += draw(st.sampled_from([b"0\r\n\r\n", b"00\r\nX: 1\r\n\r\n", b"0;a\r\n\r\n"]))
    return b"POST /p HTTP/1.1\r\n" + lines + b"\r\n" + body, headers, payload


@given(st.lists(requests(), min_size=1, max_size=3), st.lists(st.integers(0, 5000), max_size=12))
def test_requests_read_the_same_wherever_they_are_cut(
    sent: list[tuple[bytes, list[tuple[bytes, bytes]], bytes]], places: list[int]
) -> None:
    found = read(*cut(b"".join(raw for raw, _, _ in sent), places))
    assert [head.headers for head, _ in found] == [headers for _, headers, _ in sent]
    for (head, body), (_, _, payload) in zip(found, sent, strict=True):
        assert body.is_complete is head.has_body
        if head.is_chunked:
            assert body.payload == len(payload)
            assert Chunks().read(body.data + b"0\r\n\r\n") == payload  # llhttp agrees
        else:
            assert body.data == payload


@given(st.binary(max_size=60), st.lists(st.integers(0, 200), max_size=4))
def test_any_bytes_at_all_are_a_request_or_a_fault(data: bytes, places: list[int]) -> None:
    for start in (b"", GET[:-4], CHUNKED):
        with contextlib.suppress(Malformed):  # any other exception fails the test
            read(*cut(start + data, places))
