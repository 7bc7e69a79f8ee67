"""The chunked transfer coding (RFC 9112 7.1).

Chunks that can be forwarded unparsed are found here, so that they are not copied.
"""

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
LAST_CHUNK: Final = b"0\r\n\r\n"  # without trailers
MAX_SIZE_DIGITS: Final = 8  # a chunk of up to 4 GiB; leading zeros count

# What follows the plain chunks at the start of some data. Plain numbers, because each chunk needs
# them.
MORE: Final = 0  # nothing, or the start of a size line
OTHER: Final = 1  # a chunk that is not plain, such as the last one, from its size line on
BROKEN: Final = 2  # no CRLF at the end of a chunk


def plain_chunks(data: bytes, owed: int) -> tuple[int, int, int, int]:
    """Returns how far `data` holds plain chunks, of which the last may be incomplete.

    `owed` is what is missing, with its CRLF, of a chunk that began in earlier data; 0 at the start
    of a chunk. The result is the end of the plain chunks, their bytes of payload, what is missing
    of the last chunk, and what follows: `MORE`, `OTHER` or `BROKEN`. The size of a plain chunk is
    hex digits only and not 0, without an extension.
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
    """Returns the end of a chunk in the data, from `at` to `after`, or where its CRLF is wrong."""
    cr, lf = after - _CRLF_SIZE, after - 1
    if at <= cr < len(data) and data[cr] != _CR:
        return cr
    if lf < len(data) and data[lf] != _LF:
        return lf
    return min(after, len(data))


def _size_line(data: bytes, at: int) -> tuple[int, int, int]:
    """Returns the size of the chunk that begins at `at`, and where its payload begins.

    The size is 0 if the chunk is not plain. Then the third number says what it is.
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


def chunk(data: bytes) -> bytes:
    """Returns bytes as one chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def payload_of(chunks: bytes) -> bytes:
    """Returns the bytes within whole plain chunks."""
    parts, at = [], 0
    while at < len(chunks):
        size, body, _ = _size_line(chunks, at)
        parts.append(chunks[body : body + size])
        at = body + size + _CRLF_SIZE
    return b"".join(parts)
