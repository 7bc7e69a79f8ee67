"""Plain chunks are told from all others just as llhttp would tell them."""

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.chunked import MAX_SIZE_DIGITS, payload_of, whole_chunks

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Reading:
    """What llhttp makes of a chunked body."""

    def __init__(self, body: bytes) -> None:
        self.payload = b""
        self.is_in_chunk = False
        self.is_complete = False
        parser = httptools.HttpResponseParser(self)
        parser.feed_data(HEAD)
        parser.feed_data(body)

    def on_chunk_header(self) -> None:
        self.is_in_chunk = True

    def on_chunk_complete(self) -> None:
        self.is_in_chunk = False

    def on_body(self, data: bytes) -> None:
        self.payload += data

    def on_message_complete(self) -> None:
        self.is_complete = True


plain = st.builds(
    lambda data, zeros, upper: (
        (b"%0*X" if upper else b"%0*x") % (zeros, len(data)) + b"\r\n" + data + b"\r\n"
    ),
    st.binary(min_size=1, max_size=40),
    st.integers(1, MAX_SIZE_DIGITS),
    st.booleans(),
)
scraps = st.sampled_from(
    [b"", b"0", b"5", b"\r", b"\n", b"\r\n", b"5\r\n", b"5\r\nab", b"g\r\n", b"0\r\n\r\n"]
)
likenesses = st.sampled_from(
    [
        b"0x5\r\nhello\r\n",
        b"+1\r\na\r\n",
        b"-1\r\n",
        b"1_0\r\n",
        b" 1\r\na\r\n",
        b"1 \r\na\r\n",
        b"1\na\r\n",
        b"1\r\nab\r\n",
        b"1\r\na\n\n",
        b"1\r\na\r\r",
        b"fffffffff\r\n",
        b"1;a\r\nb\r\n",
    ]
)
mixed = st.lists(plain | scraps | likenesses | st.binary(max_size=8), max_size=6).map(b"".join)


@given(mixed, st.binary(max_size=4))
@example(b"1\r\na\r\n2;x=y\r\nbc\r\n", b"")
@example(b"000000001\r\na\r\n", b"")
def test_whole_plain_chunks_are_what_llhttp_reads_as_whole_chunks(
    body: bytes, before: bytes
) -> None:
    end, size, length = whole_chunks(before + body, len(before))
    chunks = body[: end - len(before)]
    theirs = Reading(chunks)
    assert not theirs.is_in_chunk
    assert not theirs.is_complete
    assert theirs.payload == payload_of(chunks)
    assert size == len(theirs.payload)
    assert length == 0 or length > len(body) - len(chunks)


@given(st.lists(plain, max_size=6))
def test_plain_chunks_are_found_to_their_end(chunks: list[bytes]) -> None:
    data = b"".join(chunks)
    assert whole_chunks(data, 0) == (len(data), len(payload_of(data)), 0)


@given(st.lists(plain, min_size=1, max_size=4), st.data())
def test_a_plain_chunk_that_came_in_part_tells_its_length(
    chunks: list[bytes], data: st.DataObject
) -> None:
    *whole, last = chunks
    came = data.draw(st.integers(last.index(b"\r\n") + 2, len(last) - 1))
    end, _, length = whole_chunks(b"".join(whole) + last[:came], 0)
    assert (end, length) == (sum(map(len, whole)), len(last))


@pytest.mark.parametrize(
    "other",
    [
        b"0\r\n\r\n",
        b"1;a=b\r\nx\r\n",
        b"\r\n",
        b"0x1\r\na\r\n",
        b"1\r\nab\r\n",
        b"1\na\r\n",
        b"g",
        b"1" * (MAX_SIZE_DIGITS + 1) + b"\r\n",
        b"0" * MAX_SIZE_DIGITS + b"1\r\na\r\n",
    ],
)
def test_what_is_not_plain_is_left_alone(other: bytes) -> None:
    assert whole_chunks(b"1\r\na\r\n" + other, 0) == (6, 1, 0)
