"""Follows the frames of a WebSocket as they pass: where they end, not what they contain.

Nothing is held back or judged. Bytes that are no frame pass as well.
"""

from typing import Final

# RFC 6455 5.2
_OPCODE: Final = 0x0F
_CLOSE: Final = 0x8
_FINAL: Final = 0x80
_MASKED: Final = 0x80
_LENGTH: Final = 0x7F
_TWO_BYTES: Final = 126  # this length means that the next two bytes are the length
_EIGHT_BYTES: Final = 127
_SHORTEST: Final = 2  # bytes of a frame's head


class Frames:
    """The frames that one side sends. `has_closed` is whether there was a close frame."""

    def __init__(self) -> None:
        self.has_closed = False
        self._left = 0  # bytes missing of an incomplete frame
        self._head = b""  # the start of a frame's head

    @property
    def is_between(self) -> bool:
        """Whether all frames so far are complete."""
        return self._left == 0 and not self._head

    def follow(self, data: bytes) -> None:
        """Follow bytes that pass."""
        if self._left >= len(data):
            self._left -= len(data)
            return
        if self._head:
            data = self._head + data
        at, size = self._left, len(data)
        while at < size:
            length = data[at + 1] if size - at >= _SHORTEST else _EIGHT_BYTES
            # Most frames are short, and those of an upstream have no mask: one step for each.
            length = _SHORTEST + length if length < _TWO_BYTES else _size(data, at)
            if length == 0:
                break
            if data[at] & _OPCODE == _CLOSE:
                self.has_closed = True
            at += length
        self._left = max(0, at - size)
        self._head = data[at:]


def close_frame(code: int) -> bytes:
    """Returns a close frame of a server with this reason (RFC 6455 5.5.1, 7.4)."""
    return bytes((_FINAL | _CLOSE, 2)) + code.to_bytes(2, "big")


def _size(data: bytes, at: int) -> int:
    """Returns the size of the frame at `at` with its head; 0 if its head is incomplete."""
    if len(data) - at < _SHORTEST:
        return 0
    length = data[at + 1] & _LENGTH
    extra = 0
    if length == _TWO_BYTES:
        extra = 2
    elif length == _EIGHT_BYTES:
        extra = 8
    if extra:
        if len(data) - at < _SHORTEST + extra:
            return 0
        length = int.from_bytes(data[at + _SHORTEST : at + _SHORTEST + extra], "big")
    mask = 4 if data[at + 1] & _MASKED else 0
    return _SHORTEST + extra + mask + length
