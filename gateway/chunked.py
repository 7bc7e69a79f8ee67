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
MAX_SIZE_DIGITS: Final = 8  # a chunk of up to 4 GiB; leading zeros count


def whole_chunks(data: bytes, start: int) -> tuple[int, int, int]:
    """How far `data` holds whole, plain chunks from `start`, which is where a chunk begins.

    Their end, the bytes of payload in them, and how many bytes of `data` and of what follows it the
    next chunk takes: 0 where it is not plain, or its size not known yet. A plain chunk has a size
    of hex digits only that is not 0, and no extension. The rest is left to llhttp.
    """
    end, payload, length = start, 0, len(data)
    while end < length:
        at, size = end, 0
        limit = min(length, end + MAX_SIZE_DIGITS)
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
        body = at + 2
        if not size or body > length:
            return end, payload, 0
        if data[at] != _CR or data[at + 1] != _LF:
            return end, payload, 0
        after = body + size + 2
        if after > length:
            return end, payload, after - end
        if data[after - 2] != _CR or data[after - 1] != _LF:
            return end, payload, 0
        end, payload = after, payload + size
    return end, payload, 0


def payload_of(chunks: bytes) -> bytes:
    """The payload of whole, plain chunks."""
    parts, start = [], 0
    while start < len(chunks):
        body = chunks.index(b"\r\n", start) + 2
        size = int(chunks[start : body - 2], 16)
        parts.append(chunks[body : body + size])
        start = body + size + 2
    return b"".join(parts)
