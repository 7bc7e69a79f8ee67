"""The header rules of a route, and which headers a file may name at all."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import yaml

from gateway.config.loader import schema_types
from gateway.config.loader.faults import quoted
from gateway.config.loader.field import Field, Table, Value, of_node
from gateway.config.loader.section import Section, expanded, one_or_many, pairs, parsed
from gateway.config.model import HeaderRules

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2

# The gateway itself writes what is for one connection, or frames the message
# (RFC 9110, section 7.6.1).
_OF_THE_CONNECTION = frozenset(
    (
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_NOT_IN_A_VALUE = re.compile(r"[^\t\x20-\x7e]")


def header_name(text: str) -> str:
    """Checks the name of a header that a file may set or remove. Raises ValueError."""
    if not TOKEN.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a header name")
    if text.lower() in _OF_THE_CONNECTION:
        raise ValueError(f"{text} belongs to the connection: the gateway writes it by itself")
    if text.lower() == "host":
        raise ValueError("Host is not set by a rule: use preserve_host")
    return text


def header_value(text: str) -> str:
    """Checks a header's value (RFC 9110, section 5.5). Raises ValueError."""
    if _NOT_IN_A_VALUE.search(text):
        raise ValueError("a header's value is one line of ASCII, with no control characters")
    return text.strip(" \t")


def header_rules(node: yaml.Node, environ: Mapping[str, str] | None) -> HeaderRules:
    """Reads `request_headers` or `response_headers`. Raises ConfigError."""
    section = Section(node, TABLE.keys, environ=environ)
    put = SET.of(section, ())
    removed = REMOVE.of(section, ())
    for name in repeated(name for name, _ in put):
        section.blame("set", f"{name} is set twice: names of headers ignore upper and lower case")
    for name in sorted({name.lower() for name, _ in put} & {name.lower() for name in removed}):
        section.blame("remove", f"{name} is also in set, which replaces it: remove it here")
    section.finish()
    return HeaderRules(put, removed)


def repeated(names: Iterable[str]) -> list[str]:
    """Returns, in lower case, the header names that occur more than once."""
    counts = Counter(name.lower() for name in names)
    return [name for name, count in counts.items() if count > 1]


def _name(node: yaml.Node) -> str:
    return parsed(node, header_name)


def _pairs(node: yaml.Node, environ: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    return pairs(node, _name, lambda value: expanded(value, environ, header_value))


SET = Field(
    "set",
    Value(_pairs, schema_types.pairs(schema_types.text())),
    "headers to set; each replaces all of its name",
)
REMOVE = Field(
    "remove",
    of_node(lambda node: one_or_many(node, _name), schema_types.one_or_many(schema_types.text())),
    "names of headers to remove",
)
TABLE = Table(SET, REMOVE)
VALUE = Value(header_rules, TABLE.shape("Headers to set and to remove."))
