"""What a value looks like, as JSON Schema (2020-12), for editors.

A shape is never narrower than what the loader reads, except for a few texts that look like
numbers. What only the loader can check (a valid path, a strong key) is left to it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.config import units

Shape = Mapping[str, Any]
# The keys of a section, each with its shape.
Keys = Mapping[str, Shape]

_REFERENCE = r"\$"


def flag(description: str = "") -> Shape:
    """True or false."""
    return _described({"type": "boolean"}, description)


def text(description: str = "") -> Shape:
    """Text, which may look like a number."""
    return _described({"type": ["string", "number"]}, description)


def matching(pattern: str, description: str = "") -> Shape:
    """Text in which a regular expression is found."""
    return _described({"type": "string", "pattern": pattern}, description)


def expanded(shape: Shape) -> Shape:
    """The same for a value that may refer to the environment, which is not known here."""
    return {**shape, "pattern": f"{shape['pattern']}|{_REFERENCE}"}


def duration(description: str = "") -> Shape:
    """A duration, or none."""
    return matching(rf"^(?:none|(?=.){units.DURATION.pattern})$", description)


def size(description: str = "", *, least: int = 1) -> Shape:
    """A number of bytes; `least` applies only to a bare number."""
    form = {"type": ["string", "integer"], "pattern": f"^{units.SIZE.pattern}$", "minimum": least}
    return _described(form, description)


def count(description: str = "", least: int = 1, most: int = units.MOST) -> Shape:
    """A number within these bounds."""
    form = {"type": ["string", "integer"], "pattern": "^[0-9]{1,9}$"}
    return _described({**form, "minimum": least, "maximum": most}, description)


def one_of(choices: Sequence[str], description: str = "") -> Shape:
    return _described({"enum": list(choices)}, description)


def one_or_many(item: Shape, description: str = "", *, least: int = 1) -> Shape:
    """A single value, or a list of at least so many."""
    return _described({"anyOf": [item, many(item, "", least=least)]}, description)


def many(item: Shape, description: str = "", *, least: int = 0) -> Shape:
    return _described({"type": "array", "items": item, "minItems": least}, description)


def pairs(value: Shape, description: str = "") -> Shape:
    """A mapping with keys of the user's own."""
    return _described({"type": "object", "additionalProperties": value}, description)


def section(keys: Keys, description: str, required: Sequence[str] = ()) -> Shape:
    """A mapping with known keys."""
    shape = {"type": "object", "properties": dict(keys), "additionalProperties": False}
    if required:
        shape["required"] = list(required)
    return {**shape, "description": description}


def or_off(shape: Shape, *words: str) -> Shape:
    """A value that `false` or one of the words turns off."""
    off: list[object] = [*words, False]
    return _described({"anyOf": [shape, {"enum": off}]}, shape.get("description", ""))


def _described(shape: Shape, description: str) -> Shape:
    return {**shape, "description": description} if description else shape
