"""A service's response is read the same however it is cut, and nothing beyond it is anybody's."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.http.errors import UPSTREAM_BAD_RESPONSE, Failure
from gateway.http.response_parser import MAX_FRAMING, MAX_HEAD, MAX_HEADERS, Receiver, ResponseHead
from gateway.upstream.connection import Connection
from tests.support.llhttp import Chunks

Pairs = list[tuple[bytes, bytes]]
PATIENCE = 10.0
OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"


def parts(head: ResponseHead) -> tuple[object, ...]:
    """A head, to be compared."""
    return head.status, head.reason, head.headers, head.has_body, head.has_length


class Recorder(Receiver):
    """A receiver that records its calls; bytes of a body in a row are one event."""

    def __init__(self, *, is_chunk_taker: bool = True) -> None:
        self.is_chunk_taker = is_chunk_taker
        self._chunks = Chunks()
        self.events: list[tuple[object, ...]] = []
        self.over = asyncio.Event()

    def informational(self, status: int, headers: Pairs) -> None:
        self.events.append(("informational", status, headers))

    def head(self, head: ResponseHead) -> None:
        self.events.append(("head", parts(head)))

    def head_read(self) -> None:
        assert "head" in self.names

    def body(self, data: bytes) -> None:
        if self.events[-1][0] == "body":
            data = bytes(self.events.pop()[1]) + data  # type: ignore[call-overload] # it is bytes
        self.events.append(("body", data))

    def takes_chunks(self) -> bool:
        return self.is_chunk_taker

    def chunks(self, data: bytes, payload: int) -> None:
        content = self._chunks.read(data)
        assert len(content) == payload
        if content:
            self.body(content)

    def complete(self, trailers: Pairs) -> None:
        self.events.append(("complete", trailers))
        self.over.set()

    def broken(self, failure: Failure, why: str) -> None:
        self.events.append(("broken", failure, why))
        self.over.set()

    @property
    def names(self) -> list[object]:
        return [event[0] for event in self.events]

    @property
    def why(self) -> str:
        """What was broken; the one event that came last."""
        name, failure, why = self.events[-1]
        assert (name, failure) == ("broken", UPSTREAM_BAD_RESPONSE)
        return str(why)


class Wire(asyncio.Transport):
    """A transport with nobody at its other end: what is read is what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_aborted = False
        self.is_reading_paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_aborted

    def pause_reading(self) -> None:
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        self.is_reading_paused = False


@dataclass
class Talk:
    """One exchange over a wire."""

    wire: Wire = field(default_factory=Wire)
    connection: Connection = field(default_factory=Connection)
    got: Recorder = field(default_factory=Recorder)

    def __post_init__(self) -> None:
        self.connection.connection_made(self.wire)

    def ask(self, *, is_head: bool = False, has_body: bool = False) -> None:
        self.connection.start(b"head", self.got, is_head=is_head, has_body=has_body)

    def hear(self, *pieces: bytes) -> "Talk":
        for piece in pieces:
            if piece and not self.wire.is_aborted:
                self.connection.data_received(piece)
        return self

    def lose(self, *, saw_eof: bool) -> "Talk":
        if saw_eof:
            self.connection.eof_received()
        self.connection.connection_lost(None if saw_eof else ConnectionResetError("reset"))
        return self


def talk(*pieces: bytes, is_head: bool = False, is_chunk_taker: bool = True) -> Talk:
    talking = Talk(got=Recorder(is_chunk_taker=is_chunk_taker))
    talking.ask(is_head=is_head)
    return talking.hear(*pieces)


# Any valid response, cut anywhere


@dataclass(frozen=True)
class Valid:
    """A valid response: its bytes, and the calls that a receiver must get."""

    raw: bytes
    events: list[tuple[object, ...]]
    ends_with_connection: bool


names = st.from_regex(rb"X-[A-Za-z0-9!#$%&'*+.^_`|~-]{0,12}", fullmatch=True)
texts = st.from_regex(
    rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]{0,20}[!-~\x80-\xff])?)?", fullmatch=True
)
fields = st.lists(st.tuples(names, texts), max_size=4)
spaces = st.sampled_from([b"", b" ", b"\t", b"  "])
extensions = st.sampled_from([b"", b";a", b";a=1", b';a="1;2"', b";a=1;b=2"])
bodies = st.lists(st.binary(min_size=1, max_size=40), max_size=4)


@st.composite
def valid_responses(draw: st.DrawFn) -> Valid:
    def lines(pairs: Pairs) -> bytes:
        return b"".join(b"%b:%b%b\r\n" % (name, draw(spaces), value) for name, value in pairs)

    raw, events = b"", list[tuple[object, ...]]()
    for status in draw(st.lists(st.sampled_from([100, 102, 103, 199]), max_size=2)):
        headers = draw(fields)
        raw += b"HTTP/1.1 %d Interim\r\n%b\r\n" % (status, lines(headers))
        events.append(("informational", status, headers))
    framing = draw(st.sampled_from(["chunked", "length", "connection", "none"]))
    status = draw(st.sampled_from([204, 304] if framing == "none" else [200, 299, 404, 503]))
    reason = draw(st.sampled_from([b"", b"OK", b"Quite \xe4 fine"]))
    headers, trailers, pieces = draw(fields), list[tuple[bytes, bytes]](), draw(bodies)
    content = b"" if framing == "none" else b"".join(pieces)
    sent = content
    if framing == "length":
        headers = [*headers, (b"content-Length", b"%d" % len(content))]
    elif framing == "chunked":
        headers = [(b"Transfer-Encoding", b"Chunked"), *headers]
        trailers = draw(fields)
        chunks = [b"%x%b\r\n%b\r\n" % (len(piece), draw(extensions), piece) for piece in pieces]
        sent = b"".join([*chunks, b"0%b\r\n" % draw(extensions), lines(trailers), b"\r\n"])
    raw += b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (status, reason, lines(headers), sent)
    head = ResponseHead(status, reason, headers, framing != "none", framing == "length")
    events += [
        ("head", parts(head)),
        *([("body", content)] if content else []),
        ("complete", trailers),
    ]
    return Valid(raw, events, framing == "connection")


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    at = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(at)]


@given(valid_responses(), st.lists(st.integers(0, 10_000), max_size=8), st.booleans())
@example(Valid(EMPTY, [("head", (200, b"OK", [(b"Content-Length", b"0")], True, True)),
                       ("complete", [])], False), range(len(EMPTY)), True)  # fmt: skip
def test_a_response_reads_the_same_wherever_it_is_cut(
    valid: Valid, places: Sequence[int], is_chunk_taker: bool
) -> None:
    talking = talk(*cut(valid.raw, places), is_chunk_taker=is_chunk_taker)
    if valid.ends_with_connection:
        assert "complete" not in talking.got.names
        talking.lose(saw_eof=True)
    assert talking.got.events == valid.events
    assert talking.connection.is_reusable is not valid.ends_with_connection


@given(valid_responses(), st.integers(1, 10_000), st.booleans())
def test_a_response_that_breaks_off_is_never_complete(
    valid: Valid, place: int, saw_eof: bool
) -> None:
    head_end = valid.raw.rindex(b"\r\n\r\n") if valid.ends_with_connection else len(valid.raw)
    cut_off = valid.raw[: place % head_end]
    talking = talk(cut_off).lose(saw_eof=saw_eof)
    assert talking.got.names.count("broken") == 1
    assert talking.got.names[-1] == "broken"
    assert "complete" not in talking.got.names


def test_a_body_that_only_a_close_ends_is_broken_by_a_reset() -> None:
    talking = talk(OK + b"\r\nall?").lose(saw_eof=False)
    assert talking.got.names == ["head", "body", "broken"]
    assert "reset" in talking.got.why


@given(st.binary(max_size=200), st.lists(st.integers(0, 10_000), max_size=4))
def test_whatever_comes_has_at_most_one_end(noise: bytes, places: list[int]) -> None:
    talking = talk(*cut(b"HTTP/1.1 " + noise, places)).lose(saw_eof=True)
    ends = [name for name in talking.got.names if name in {"complete", "broken"}]
    assert len(ends) == 1
    assert talking.got.names[-1] == ends[0]


# What has no body


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X: y"])
def test_an_answer_to_head_ends_with_its_head(framing: bytes) -> None:
    talking = talk(OK + framing + b"\r\n\r\n", is_head=True)
    assert talking.got.names == ["head", "complete"]


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_an_answer_to_head_leaves_the_connection_to_the_next(framing: bytes) -> None:
    assert talk(OK + framing + b"\r\n\r\n", is_head=True).connection.is_reusable


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize("framing", [b"", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n"])
def test_a_status_without_a_body_ends_with_its_head(status: bytes, framing: bytes) -> None:
    talking = talk(b"HTTP/1.1 " + status + b"\r\n" + framing + b"\r\n")
    assert talking.got.names == ["head", "complete"]
    assert talking.connection.is_reusable


def test_a_body_that_head_did_not_ask_for_is_nobodys() -> None:
    talking = talk(OK + b"Content-Length: 5\r\n\r\n", b"hello", is_head=True)
    assert talking.got.names == ["head", "complete"]
    assert not talking.connection.is_reusable


# Reuse


def test_after_a_complete_exchange_another_may_follow() -> None:
    talking = talk(EMPTY)
    assert talking.connection.is_reusable
    talking.connection.rest()
    talking.ask()
    assert not talking.connection.got_bytes
    talking.hear(EMPTY)
    assert talking.got.names == ["head", "complete"] * 2


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Connection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        EMPTY + b"x",
        EMPTY + EMPTY,
        EMPTY + b"HTTP/1.1 100 Continue\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nx",
    ],
)
def test_a_connection_is_not_reused_after_a_close_or_excess_bytes(answer: bytes) -> None:
    talking = talk(answer)
    assert talking.got.names == ["head", "complete"]
    assert not talking.connection.is_reusable


def test_excess_bytes_that_come_later_end_the_connection() -> None:
    talking = talk(EMPTY, b"HTTP/1.1 200 Forged\r\n\r\n")
    assert talking.got.names == ["head", "complete"]
    assert talking.wire.is_aborted
    assert not talking.connection.is_reusable


def test_bytes_that_nobody_asked_for_end_an_idle_connection() -> None:
    talking = talk(EMPTY)
    talking.connection.rest()
    talking.hear(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert talking.wire.is_aborted
    assert talking.got.names == ["head", "complete"]


def test_a_request_that_was_not_sent_whole_bars_reuse() -> None:
    talking = Talk()
    talking.ask(has_body=True)
    talking.hear(EMPTY)
    assert not talking.connection.is_reusable
    talking.connection.finish_request()
    assert talking.connection.is_reusable


def test_a_connection_that_was_never_used_or_is_gone_is_not_reused() -> None:
    fresh = Connection()
    fresh.connection_made(Wire())
    assert not fresh.is_reusable
    assert not talk(EMPTY).lose(saw_eof=True).connection.is_reusable


def test_a_fault_of_our_own_is_not_taken_for_the_services() -> None:
    class Faulty(Recorder):
        def head(self, head: ResponseHead) -> None:
            raise RuntimeError(f"a fault of our own at {head.status}")

    talking = Talk(got=Faulty())
    talking.ask()
    with pytest.raises(httptools.HttpParserCallbackError) as raised:
        talking.hear(OK + b"Content-Length: 2\r\n\r\nhi")
    assert isinstance(raised.value.__context__, RuntimeError)
    assert talking.got.names == []
    talking.lose(saw_eof=False)
    assert talking.got.names == ["broken"]


def test_a_connection_that_was_aborted_calls_nobody() -> None:
    talking = talk(OK + b"Content-Length: 5\r\n\r\n")
    talking.connection.abort()
    talking.lose(saw_eof=False)
    assert talking.wire.is_aborted
    assert talking.got.names == ["head"]


def test_a_connection_that_is_gone_takes_every_call_in_peace() -> None:
    talking = talk().lose(saw_eof=True)
    connection = talking.connection
    connection.write(b"x")
    connection.pause_reading()
    connection.resume_reading()
    connection.abort()
    assert talking.wire.written == b"head"
    assert not talking.wire.is_aborted
    assert not talking.wire.is_reading_paused


def test_a_connection_that_is_closing_takes_every_call_in_peace() -> None:
    """Between an abort and its `connection_lost` uvloop's transport can no longer be used."""
    talking = talk()
    talking.connection.abort()
    talking.connection.write(b"x")
    talking.connection.pause_reading()
    talking.connection.resume_reading()
    assert talking.wire.written == b"head"
    assert not talking.wire.is_reading_paused
    assert not talking.connection.is_fit


def test_a_rested_connection_reads_again() -> None:
    talking = talk(EMPTY)
    talking.connection.pause_reading()
    assert talking.wire.is_reading_paused
    talking.connection.rest()
    assert not talking.wire.is_reading_paused


class SecureWire(Wire):
    """A wire that cannot end one direction alone, as with TLS."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closed = False

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.is_closed = True


def test_where_no_direction_ends_alone_the_end_of_the_request_side_is_a_close() -> None:
    wire = SecureWire()
    talking = Talk(wire)
    talking.connection.switch()
    talking.connection.end_writing()
    assert wire.is_closed


def test_a_connection_that_is_gone_has_nothing_unsent_and_ends_nothing() -> None:
    talking = talk(EMPTY)
    talking.connection.abort()
    talking.connection.switch()
    talking.connection.end_writing()
    assert talking.connection.unsent() == 0


# What is refused


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/2.0 200 OK\r\n\r\n", "version"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "protocols"),
        (b"HTTP/1.1 099 What\r\n\r\n", "under 100"),
        (b"HTTP/1.1 000 What\r\nContent-Length: 2\r\n\r\nhi", "under 100"),
        (OK + b"Transfer-Encoding: gzip\r\n\r\n", "coding"),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "coding"),
    ],
)
def test_what_nobody_asked_for_is_refused(answer: bytes, why: str) -> None:
    talking = talk(answer)
    assert talking.got.names == ["broken"]
    assert talking.wire.is_aborted
    assert why in talking.got.why.lower()


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"X : y\r\n\r\n",
        OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        OK + b"X: a\x00b\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
    ],
)
def test_a_head_that_two_readers_could_read_differently_is_refused(answer: bytes) -> None:
    talking = talk(answer)
    assert talking.got.names == ["broken"]
    assert talking.wire.is_aborted


@pytest.mark.parametrize("size", [b"g", b"-1", b"0x1", b"1 1", b"ffffffffffffffffff"])
def test_a_chunk_size_that_is_none_breaks_the_body(size: bytes) -> None:
    talking = talk(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n" + size + b"\r\n")
    assert talking.got.names == ["head", "body", "broken"]


# Limits


def head_of(lines: int, size: int = 1) -> bytes:
    return OK + b"".join(b"X: %b\r\n" % (b"a" * size) for _ in range(lines))


def test_as_many_headers_as_the_limit_pass() -> None:
    assert talk(head_of(MAX_HEADERS) + b"\r\n").got.names == ["head"]


def test_more_headers_than_the_limit_are_refused() -> None:
    talking = talk(head_of(MAX_HEADERS + 1) + b"\r\n")
    assert talking.got.names == ["broken"]
    assert str(MAX_HEADERS) in talking.got.why


def test_a_head_over_the_limit_is_refused() -> None:
    talking = talk(head_of(2, MAX_HEAD // 2) + b"\r\n")
    assert talking.got.names == ["broken"]
    assert talking.wire.is_aborted


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 ", OK + b"X-", OK + b"X: "])
def test_a_head_without_an_end_is_refused(start: bytes) -> None:
    talking = talk(start, *[b"a" * 1024] * (MAX_FRAMING // 1024 + 1))
    assert talking.got.names == ["broken"]
    assert talking.wire.is_aborted


def test_interim_responses_without_an_end_are_refused() -> None:
    interim = b"HTTP/1.1 102 Processing\r\n\r\n"
    talking = talk(*[interim] * (MAX_FRAMING // len(interim) + 1))
    assert talking.got.names[-1] == "broken"


@pytest.mark.parametrize("start", [b"1;", b"0\r\nX: ", b"1\r\na\r\n1;"])
def test_framing_without_a_byte_of_body_is_bounded(start: bytes) -> None:
    head = OK + b"Transfer-Encoding: chunked\r\n\r\n"
    talking = talk(head + start, *[b"a" * 1024] * (MAX_FRAMING // 1024 + 1))
    assert "complete" not in talking.got.names
    assert talking.got.names[-1] == "broken"


def test_a_body_of_any_size_passes_the_bound_of_its_framing() -> None:
    head = OK + b"Content-Length: %d\r\n\r\n" % (4 * MAX_FRAMING)
    talking = talk(head + b"a" * (2 * MAX_FRAMING), b"a" * (2 * MAX_FRAMING))
    assert talking.got.names == ["head", "body", "complete"]


# A service that takes nothing


async def until_writable(connection: Connection) -> None:
    writable = connection.writable()
    if writable is not None:
        await writable


async def test_a_writer_waits_while_the_service_takes_nothing() -> None:
    talking = talk()
    talking.connection.pause_writing()
    waiting = asyncio.create_task(until_writable(talking.connection))
    await asyncio.sleep(0)
    assert not waiting.done()
    talking.connection.resume_writing()
    await waiting
    await until_writable(talking.connection)


async def test_a_writer_does_not_wait_for_a_service_that_is_gone() -> None:
    talking = talk()
    talking.connection.pause_writing()
    waiting = asyncio.create_task(until_writable(talking.connection))
    await asyncio.sleep(0)
    talking.lose(saw_eof=False)
    await waiting


async def test_a_writer_that_was_cancelled_is_not_woken() -> None:
    talking = talk()
    talking.connection.pause_writing()
    waiting = asyncio.create_task(until_writable(talking.connection))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    talking.connection.resume_writing()
    await until_writable(talking.connection)


@pytest.mark.parametrize(
    "framed",
    [
        OK + b"Transfer-Encoding: chunked  \r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        OK + b"Content-Length: 2  \r\n\r\nhi",
        OK + b"Content-Length: 2\t\r\n\r\nhi",
    ],
)
def test_white_space_behind_a_value_is_none_of_it(framed: bytes) -> None:
    talking = talk(framed)
    assert talking.got.names == ["head", "body", "complete"]
    assert talking.got.events[1] == ("body", b"hi")
    assert talking.connection.is_reusable


@pytest.mark.parametrize("space", [b"\t", b" \t", b"\t "])
def test_framing_that_the_parser_reads_otherwise_never_passes_for_a_body(space: bytes) -> None:
    """With a tab behind `chunked` llhttp knows it no more, and reads the chunks as they stand."""
    answer = OK + b"Transfer-Encoding: chunked" + space + b"\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    bodies = [event[1] for event in talk(answer).got.events if event[0] == "body"]
    assert bodies in ([], [b"hi"])


# Over a real socket


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Connection, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    transport, connection = await asyncio.get_running_loop().create_connection(
        Connection, sock=ours
    )
    yield connection, theirs
    transport.abort()
    theirs.close()


async def test_an_exchange_over_a_socket(pair: tuple[Connection, socket.socket]) -> None:
    connection, service = pair
    loop, got = asyncio.get_running_loop(), Recorder()
    async with asyncio.timeout(PATIENCE):
        connection.start(b"GET / HTTP/1.1\r\n\r\n", got, is_head=False, has_body=False)
        assert await loop.sock_recv(service, 1024) == b"GET / HTTP/1.1\r\n\r\n"
        await loop.sock_sendall(service, OK + b"Content-Length: 2\r\n\r\nhi")
        await got.over.wait()
    assert got.events[1:] == [("body", b"hi"), ("complete", [])]
    assert connection.is_reusable


async def test_a_close_over_a_socket_ends_a_body_without_a_length(
    pair: tuple[Connection, socket.socket],
) -> None:
    connection, service = pair
    got = Recorder()
    async with asyncio.timeout(PATIENCE):
        connection.start(b"GET / HTTP/1.1\r\n\r\n", got, is_head=False, has_body=False)
        await asyncio.get_running_loop().sock_sendall(service, OK + b"\r\nall of it")
        service.shutdown(socket.SHUT_WR)
        await got.over.wait()
    assert got.events[1:] == [("body", b"all of it"), ("complete", [])]
    assert not connection.is_reusable


async def test_an_abort_over_a_socket_is_seen_at_once(
    pair: tuple[Connection, socket.socket],
) -> None:
    connection, service = pair
    connection.start(b"", Recorder(), is_head=False, has_body=False)
    connection.abort()
    async with asyncio.timeout(PATIENCE):
        assert await asyncio.get_running_loop().sock_recv(service, 1) == b""


# After a rest


Pair = tuple[Connection, socket.socket]


async def rested(pair: Pair) -> Pair:
    """A connection after a whole exchange, and the service's end of it."""
    connection, service = pair
    got = Recorder()
    async with asyncio.timeout(PATIENCE):
        connection.start(b"GET / HTTP/1.1\r\n\r\n", got, is_head=False, has_body=False)
        await asyncio.get_running_loop().sock_sendall(service, EMPTY)
        await got.over.wait()
    connection.rest()
    assert connection.is_fit
    return connection, service


async def test_a_close_that_only_the_kernel_knows_of_makes_a_connection_unfit(pair: Pair) -> None:
    connection, service = await rested(pair)
    service.close()
    assert connection.is_open
    assert not connection.is_fit


async def test_stray_bytes_that_only_the_kernel_knows_of_make_it_unfit(pair: Pair) -> None:
    connection, service = await rested(pair)
    service.send(EMPTY)
    assert not connection.is_fit


async def test_a_close_that_was_heard_makes_it_unfit(pair: Pair) -> None:
    connection, _ = await rested(pair)
    connection.eof_received()
    assert not connection.is_fit


async def test_bytes_that_were_heard_make_it_unfit(pair: Pair) -> None:
    connection, _ = await rested(pair)
    connection.data_received(EMPTY)
    assert not connection.is_fit
