"""What a client asks for in the query: how many steps, how long, whether to fail."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_STEPS = 1000
MAX_SECONDS = 600.0
ALLOWED = {
    "steps": f"a whole number from 1 to {MAX_STEPS}",
    "seconds": f"a number from 0 to {MAX_SECONDS:g}, such as 2.5",
    "fail": "0 or 1",
}

# Python's own int() and float() also accept "1_000", " 7 ", "nan" and digits of other scripts.
_WHOLE = re.compile(r"[0-9]{1,4}")
_NUMBER = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?")


class BadOrderError(ValueError):
    """A value in the query that the job cannot use. The text says what is allowed."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} must be {ALLOWED[name]}.")


@dataclass(frozen=True, slots=True)
class Order:
    """A job to do: `steps` of equal length that together take `seconds`."""

    steps: int = 20
    seconds: float = 10.0
    fails: bool = False


def parse_order(query: Mapping[str, str]) -> Order:
    """Reads a query; other values keep their defaults. Raises BadOrderError."""
    default = Order()
    return Order(
        steps=_steps(query["steps"]) if "steps" in query else default.steps,
        seconds=_seconds(query["seconds"]) if "seconds" in query else default.seconds,
        fails=_fails(query["fail"]) if "fail" in query else default.fails,
    )


def _steps(text: str) -> int:
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= MAX_STEPS:
        raise BadOrderError("steps")
    return int(text)


def _seconds(text: str) -> float:
    if not _NUMBER.fullmatch(text) or float(text) > MAX_SECONDS:
        raise BadOrderError("seconds")
    return float(text)


def _fails(text: str) -> bool:
    if text not in ("0", "1"):
        raise BadOrderError("fail")
    return text == "1"
