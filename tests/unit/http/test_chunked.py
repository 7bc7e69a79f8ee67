"""Plain chunks are found exactly where llhttp finds them."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.http.chunked import BROKEN, MAX_SIZE_DIGITS, MORE, OTHER, plain_chunks
from tests.support.llhttp import Chunks

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


def passing(body: bytes, places: list[int]) -> tuple[bytes, int, int]:
    """What goes on of a body that comes cut at these places, how it ends, and what is owed then."""
    passed, stub, owed, follows = b"", b"", 0, MORE
    at = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    theirs = Chunks()
    for start, end in pairwise(at):
        data = stub + body[start:end]
        upto, size, owed, follows = plain_chunks(data, owed)
        assert len(theirs.read(data[:upto])) == size
        passed, stub = passed + data[:upto], data[upto:]
        assert len(stub) <= MAX_SIZE_DIGITS + 1 or follows != MORE
        if follows != MORE:
            break
    assert theirs.is_in_chunk is (owed > 0) or follows == BROKEN
    assert not theirs.is_complete
    assert body.startswith(passed)
    return passed, follows, owed


cuts = st.lists(st.integers(0, 10_000), max_size=8)


@given(mixed, cuts)
@example(b"1\r\na\r\n2;x=y\r\nbc\r\n", [])
@example(b"000000001\r\na\r\n", [4, 9])
def test_what_goes_on_is_what_llhttp_reads_as_chunks(body: bytes, places: list[int]) -> None:
    assert passing(body, places) == passing(body, [])


@given(st.lists(plain, max_size=6), cuts)
def test_plain_chunks_go_on_to_the_last_byte(chunks: list[bytes], places: list[int]) -> None:
    body = b"".join(chunks)
    assert passing(body, places) == (body, MORE, 0)


@given(st.lists(plain, max_size=3), plain, st.data(), cuts)
def test_a_plain_chunk_goes_on_in_parts_once_its_size_is_known(
    whole: list[bytes], last: bytes, data: st.DataObject, places: list[int]
) -> None:
    came = data.draw(st.integers(last.index(b"\r\n") + 2, len(last) - 1))
    body = b"".join(whole) + last[:came]
    assert passing(body, places) == (body, MORE, len(last) - came)


@pytest.mark.parametrize("beginning", [b"", b"1", b"0", b"1f\r", b"1" * MAX_SIZE_DIGITS])
def test_the_beginning_of_a_size_line_waits_for_the_rest(beginning: bytes) -> None:
    assert plain_chunks(b"1\r\na\r\n" + beginning, 0) == (6, 1, 0, MORE)


@pytest.mark.parametrize(
    "other",
    [
        b"0\r\n\r\n",
        b"1;a=b\r\nx\r\n",
        b"\r\n",
        b"0x1\r\na\r\n",
        b"1\na\r\n",
        b"1\r\r",
        b"g",
        b"1" * (MAX_SIZE_DIGITS + 1) + b"\r\n",
        b"0" * MAX_SIZE_DIGITS + b"1\r\na\r\n",
    ],
)
def test_what_is_not_plain_is_left_alone(other: bytes) -> None:
    assert plain_chunks(b"1\r\na\r\n" + other, 0) == (6, 1, 0, OTHER)


@pytest.mark.parametrize("end", [b"bc", b"\n", b"\rb"])
@pytest.mark.parametrize("is_cut", [True, False])
def test_a_chunk_that_does_not_end_with_its_size_is_broken(end: bytes, is_cut: bool) -> None:
    data = b"1\r\na" + end
    sound = len(data.rstrip(b"bc\n"))
    places = list(range(len(data))) if is_cut else []
    assert passing(data, places) == (data[:sound], BROKEN, 0)
