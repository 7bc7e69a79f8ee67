"""The frames of a WebSocket are found however they are cut, and a close frame is not missed."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.http.websocket_frames import Frames, close_frame

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
LENGTHS = st.sampled_from([0, 1, 2, 125, 126, 127, 300, 65535, 65536, 70000])


def frame(opcode: int, size: int, *, is_masked: bool = False, is_final: bool = True) -> bytes:
    """A frame of so many bytes that all look like the beginning of a close frame (RFC 6455 5.2)."""
    mask = 0x80 if is_masked else 0
    if size < 126:
        length = bytes([mask | size])
    elif size < 65536:
        length = bytes([mask | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([mask | 127]) + size.to_bytes(8, "big")
    key = b"\x88\x00\x88\x00" if is_masked else b""
    return bytes([0x80 * is_final | opcode]) + length + key + b"\x88" * size


FRAMES = st.builds(
    frame,
    st.sampled_from([0, TEXT, BINARY, PING]),
    LENGTHS,
    is_masked=st.booleans(),
    is_final=st.booleans(),
)


def followed(data: bytes, cuts: list[int]) -> Frames:
    frames, at = Frames(), 0
    for cut in [*sorted(cuts), len(data)]:
        frames.follow(data[at:cut])
        at = cut
    return frames


@given(st.lists(FRAMES, max_size=6), st.booleans(), st.data())
@example([frame(TEXT, 126)], True, None)
def test_a_close_frame_is_seen_behind_any_others_however_they_are_cut(
    before: list[bytes], is_closed: bool, data: st.DataObject | None
) -> None:
    stream = b"".join(before) + (close_frame(1000) if is_closed else b"")
    places = st.lists(st.integers(0, len(stream)), max_size=20)
    cuts = list(range(len(stream))) if data is None else data.draw(places)
    frames = followed(stream, cuts)
    assert frames.has_closed is is_closed
    assert frames.is_between


@given(FRAMES, st.data())
def test_a_frame_in_part_is_no_place_for_another(whole: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, len(whole) - 1))
    frames = Frames()
    frames.follow(whole[:cut])
    assert not frames.is_between
    frames.follow(whole[cut:])
    assert frames.is_between


@given(st.lists(st.binary(max_size=40)))
def test_what_is_no_frame_does_no_harm(pieces: list[bytes]) -> None:
    frames = Frames()
    for piece in pieces:
        frames.follow(piece)


@pytest.mark.parametrize("code", [1000, 1001, 1011, 4999])
def test_a_close_frame_says_why_and_is_not_masked(code: int) -> None:
    assert close_frame(code) == b"\x88\x02" + code.to_bytes(2, "big")
