"""Chunks that may go on as they stand (RFC 9112 7.1): no copy is made of what needs no change."""

from typing import Final

_CR: Final = 13
_LF: Final = 10
_ZERO: Final = 48
_NINE: Final = 57
_UPPER_A: Final = 65
_UPPER_F: Final = 70
_LOWER_A: Final = 97
_LOWER_F: Final = 102
_CRLF_SIZE: Final = 2
MAX_SIZE_DIGITS: Final = 8  # a chunk of up to 4 GiB; leading zeros count

# What follows the plain chunks at the beginning of some data. Plain numbers: each chunk asks.
MORE: Final = 0  # nothing, or the beginning of a size line
OTHER: Final = 1  # a chunk that is not plain, from its size line on: the last one, for instance
BROKEN: Final = 2  # no CRLF where a chunk ends


def plain_chunks(data: bytes, owed: int) -> tuple[int, int, int, int]:
    """How far `data` holds plain chunks, the last one perhaps only in part.

    `owed` is what is still to come, with its CRLF, of a chunk that began in earlier data; 0 where a
    chunk begins. Given are the end of the plain chunks, the bytes of payload in them, what is owed
    of the last, and what follows: `MORE`, `OTHER` or `BROKEN`. A plain chunk has a size of hex
    digits only that is not 0, and no extension.
    """
    at, payload, length = 0, 0, len(data)
    while True:
        if owed:
            after = at + owed
            payload += max(0, min(after - _CRLF_SIZE, length) - at)
            at = _end_of_chunk(data, at, after)
            if at < min(after, length):
                return at, payload, 0, BROKEN
            if at == length:
                return at, payload, after - length, MORE
        size, body, follows = _size_line(data, at)
        if not size:
            return at, payload, 0, follows
        at, owed = body, size + _CRLF_SIZE


def _end_of_chunk(data: bytes, at: int, after: int) -> int:
    """The end of what is there of a chunk from `at` to `after`, or where its CRLF goes wrong."""
    cr, lf = after - _CRLF_SIZE, after - 1
    if at <= cr < len(data) and data[cr] != _CR:
        return cr
    if lf < len(data) and data[lf] != _LF:
        return lf
    return min(after, len(data))


def _size_line(data: bytes, at: int) -> tuple[int, int, int]:
    """The size of the chunk that begins there, and where its payload does; 0 where it is not plain.

    Then the third number is what it is.
    """
    size, length = 0, len(data)
    limit = min(length, at + MAX_SIZE_DIGITS)
    while at < limit:
        digit = data[at]
        if _ZERO <= digit <= _NINE:
            size = size * 16 + digit - _ZERO
        elif _LOWER_A <= digit <= _LOWER_F:
            size = size * 16 + digit - _LOWER_A + 10
        elif _UPPER_A <= digit <= _UPPER_F:
            size = size * 16 + digit - _UPPER_A + 10
        else:
            break
        at += 1
    if at < length and (data[at] != _CR or not size):
        return 0, at, OTHER
    if at + 1 >= length:
        return 0, at, MORE
    if data[at + 1] != _LF:
        return 0, at, OTHER
    return size, at + _CRLF_SIZE, MORE
