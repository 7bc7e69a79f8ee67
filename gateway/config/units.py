"""Durations, sizes, counts and rates as in routes.yaml: `1h30m`, `10MiB`, `10/s`."""

import re
from decimal import Decimal

LONGEST = 8760 * 3600  # a year, in seconds
LARGEST = 1024**4  # 1 TiB
MOST = 1_000_000  # of whatever is counted

_NUMBER = r"([0-9]{1,9}(?:\.[0-9]{1,9})?)"
DURATION = re.compile(
    rf"(?:{_NUMBER}d)?(?:{_NUMBER}h)?(?:{_NUMBER}m(?!s))?(?:{_NUMBER}s)?(?:{_NUMBER}ms)?"
)
_SECONDS = (Decimal(86400), Decimal(3600), Decimal(60), Decimal(1), Decimal("0.001"))
_SHORTEST = Decimal("0.001")

RATE = re.compile(r"([0-9]{1,9})/([smh])")
_PERIODS = {"s": 1, "m": 60, "h": 3600}

SIZE = re.compile(r"(0|[1-9][0-9]{0,18})([A-Za-z]*)")
_BYTES = {
    "": 1,
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}


def duration(text: str, *, zero_allowed: bool = False) -> float | None:
    """Returns the seconds of `300s`, `5m`, `1h30m`, `1d` or `250ms`; None of `none`.

    From 1ms to a year (365d), or zero if it is allowed. Raises ValueError.
    """
    if text == "none":
        return None
    if re.fullmatch(r"[0-9.]+", text):
        raise ValueError(f"a duration needs a unit, such as {text[:20]}s")
    parts = DURATION.fullmatch(text)
    if parts is None or not text:
        raise ValueError("must be a duration such as 300s, 5m, 1h30m, 1d or 250ms, or none")
    pairs = zip(parts.groups("0"), _SECONDS, strict=True)
    seconds = sum((Decimal(number) * unit for number, unit in pairs), Decimal(0))
    if seconds == 0 and zero_allowed:
        return 0.0
    if not _SHORTEST <= seconds <= LONGEST:
        raise ValueError("must be from 1ms to 365d; none is no bound")
    return float(seconds)


def size(text: str) -> int:
    """Returns the bytes of `10MiB`, `512KiB`, `1GB` or `4096`. Raises ValueError."""
    parts = SIZE.fullmatch(text)
    if parts is None or parts[2] not in _BYTES:
        raise ValueError("must be a size such as 10MiB, 512KiB, 1GB or a number of bytes")
    count = int(parts[1]) * _BYTES[parts[2]]
    if not 1 <= count <= LARGEST:
        raise ValueError("must be from 1 byte to 1024GiB")
    return count


def count(text: str) -> int:
    """Returns a count from 1 to `MOST`. Raises ValueError."""
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= MOST:
        raise ValueError(f"must be a whole number from 1 to {MOST}")
    return int(text)


def rate(text: str) -> tuple[int, int]:
    """Returns how many in how many seconds, of `10/s`, `100/m` or `1000/h`. Raises ValueError."""
    parts = RATE.fullmatch(text)
    if parts is None:
        raise ValueError("must be a rate such as 10/s, 100/m or 1000/h")
    if not 1 <= int(parts[1]) <= MOST:
        raise ValueError(f"must be from 1 to {MOST} for each s, m or h")
    return int(parts[1]), _PERIODS[parts[2]]
