"""The keys of a section: how each is read, what its value looks like, and what it means.

The parser, the JSON Schema and the reference pages are made from these tables, so that a key is
in all three or in none.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

import yaml

from gateway.config.loader import schema_types, section
from gateway.config.loader.schema_types import Shape
from gateway.config.loader.section import Section

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Environ = Mapping[str, str] | None
Read = Callable[[yaml.Node, Environ], T]

_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


@dataclass(frozen=True, slots=True)
class Value(Generic[T_co]):
    """A type of value. `read` raises ConfigError or Unresolved; `shape` is its JSON Schema."""

    read: Read[T_co]
    shape: Shape


@dataclass(frozen=True, slots=True)
class Field(Generic[T_co]):
    """One key of a section.

    `meaning` and `default` are Markdown for the reference pages. `default` says what holds without
    the key; it is "required" if there is nothing.
    """

    key: str
    value: Value[T_co]
    meaning: str
    default: str = ""

    @overload
    def of(self, section: Section) -> T_co | None: ...

    @overload
    def of(self: "Field[T]", section: Section, default: T) -> T: ...

    def of(self, section: Section, default: Any = None) -> Any:
        """Returns the value in a section; the default if it is absent, faulty or unresolved."""
        return section.read(self.key, lambda node: self.value.read(node, section.environ), default)

    @property
    def description(self) -> str:
        """The meaning as plain text, for editors."""
        default = f" Default: {self.default}." if self.default and not self.is_required else ""
        return _LINK.sub(r"\1", f"{_sentence(self.meaning)}{default}")

    @property
    def is_required(self) -> bool:
        """Whether a section without the key is an error."""
        return self.default == "required"


class Table:
    """All keys of one section, in the order of the reference pages."""

    def __init__(self, *fields: Field[Any]) -> None:
        self.fields = fields
        self.keys: schema_types.Keys = {
            each.key: {**each.value.shape, "description": each.description} for each in fields
        }
        self.required = [each.key for each in fields if each.is_required]

    def shape(self, description: str) -> Shape:
        """Returns the JSON Schema of the section."""
        return schema_types.section(self.keys, description, self.required)

    def without(self, *names: str) -> "Table":
        """Returns the table without these keys."""
        return Table(*(each for each in self.fields if each.key not in names))

    def markdown(self, title: str) -> str:
        """Returns the table as Markdown, with this title of the first column."""
        rows = [f"| {title} | meaning | default |", "|---|---|---|"]
        rows += [f"| `{each.key}` | {each.meaning} | {each.default} |" for each in self.fields]
        return "\n".join(rows)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text[0].upper()}{text[1:]}."


def plain(parse: Callable[[str], T], shape: Shape) -> Value[T]:
    """Returns a value that is written as it is. `parse` raises ValueError."""
    return Value(lambda node, _: section.parsed(node, parse), shape)


def expanded(parse: Callable[[str], T], shape: Shape) -> Value[T]:
    """Returns a value that may refer to the environment. `parse` raises ValueError."""
    return Value(
        lambda node, environ: section.expanded(node, environ, parse), schema_types.expanded(shape)
    )


def of_node(read: Callable[[yaml.Node], T], shape: Shape) -> Value[T]:
    """Returns a value whose node is read without the environment."""
    return Value(lambda node, _: read(node), shape)


FLAG = of_node(section.boolean, schema_types.flag())
TEXT = of_node(section.text, schema_types.text())
