"""What the value of a key looks like, as JSON Schema (2020-12), for editors.

Each section names its keys once, with their shapes: the loader takes the names, `gateway schema`
prints the shapes. A shape is never narrower than what the loader reads, but for a few texts that
look like numbers; what only the loader can tell (a well-formed path, a key strong enough) is left
to it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.config import units

Shape = Mapping[str, Any]
# A section's keys, each with its shape. It is also the collection of their names.
Keys = Mapping[str, Shape]

_REFERENCE = r"\$"


def flag(description: str) -> Shape:
    return {"type": "boolean", "description": description}


def text(description: str = "") -> Shape:
    """Text that may look like a number."""
    return _described({"type": ["string", "number"]}, description)


def matching(pattern: str, description: str = "") -> Shape:
    """Text that a regular expression is found in."""
    return _described({"type": "string", "pattern": pattern}, description)


def expanded(shape: Shape) -> Shape:
    """The same, where the environment is read: what a variable comes to is not known here."""
    return {**shape, "pattern": f"{shape['pattern']}|{_REFERENCE}"}


def duration(description: str) -> Shape:
    return matching(rf"^(?:none|(?=.){units.DURATION.pattern})$", description)


def size(description: str, *, least: int = 1) -> Shape:
    """How many bytes, of which `least` is told for a bare number alone."""
    form = {"type": ["string", "integer"], "pattern": f"^{units.SIZE.pattern}$", "minimum": least}
    return {**form, "description": description}


def count(description: str, least: int = 1, most: int = units.MOST) -> Shape:
    """How many, within these bounds."""
    form = {"type": ["string", "integer"], "pattern": "^[0-9]{1,9}$"}
    return {**form, "minimum": least, "maximum": most, "description": description}


def one_of(choices: Sequence[str], description: str = "") -> Shape:
    return _described({"enum": list(choices)}, description)


def one_or_many(item: Shape, description: str, *, least: int = 1) -> Shape:
    """A value that stands alone, or a list of at least so many."""
    return {"anyOf": [item, many(item, "", least=least)], "description": description}


def many(item: Shape, description: str, *, least: int = 0) -> Shape:
    return _described({"type": "array", "items": item, "minItems": least}, description)


def pairs(value: Shape, description: str) -> Shape:
    """A mapping whose keys are the user's own."""
    return {"type": "object", "additionalProperties": value, "description": description}


def section(keys: Keys, description: str, required: Sequence[str] = ()) -> Shape:
    """A mapping whose keys are known."""
    shape = {"type": "object", "properties": dict(keys), "additionalProperties": False}
    if required:
        shape["required"] = list(required)
    return {**shape, "description": description}


def or_off(shape: Shape, *words: str) -> Shape:
    """A value that `false`, or one of the words, turns off."""
    off: list[object] = [*words, False]
    return {"anyOf": [shape, {"enum": off}], "description": shape["description"]}


def _described(shape: Shape, description: str) -> Shape:
    return {**shape, "description": description} if description else shape
