"""The header rules of a route, and which headers a file may name at all."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial

import yaml

from gateway.config.loader import schema_types
from gateway.config.loader.faults import quoted
from gateway.config.loader.section import Section, expanded, one_or_many, pairs, parsed
from gateway.config.model import HeaderRules

KEYS: schema_types.Keys = {
    "set": schema_types.pairs(schema_types.text(), "Headers to set, in place of any of that name."),
    "remove": schema_types.one_or_many(schema_types.text(), "Headers to remove, by name."),
}

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2

# What holds for one connection, or frames the message, is the gateway's to write
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
    """Check the name of a header that a file may set or remove. Raises ValueError."""
    if not TOKEN.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a header name")
    if text.lower() in _OF_THE_CONNECTION:
        raise ValueError(f"{text} belongs to the connection: the gateway writes it by itself")
    if text.lower() == "host":
        raise ValueError("Host is not set by a rule: use preserve_host")
    return text


def header_value(text: str) -> str:
    """Check a header's value (RFC 9110, section 5.5). Raises ValueError."""
    if _NOT_IN_A_VALUE.search(text):
        raise ValueError("a header's value is one line of ASCII, with no control characters")
    return text.strip(" \t")


def header_rules(node: yaml.Node, environ: Mapping[str, str] | None) -> HeaderRules:
    """Read `request_headers` or `response_headers`. Raises ConfigError."""
    section = Section(node, KEYS)
    value = partial(expanded, environ=environ, parse=header_value)
    put = section.read("set", lambda node: pairs(node, _name, value), ())
    removed = section.read("remove", lambda node: one_or_many(node, _name), ())
    for name in repeated(name for name, _ in put):
        section.blame("set", f"{name} stands twice: the case of a header's name does not count")
    for name in sorted({name.lower() for name, _ in put} & {name.lower() for name in removed}):
        section.blame("remove", f"{name} is also in set, which replaces it: remove it here")
    section.finish()
    return HeaderRules(put, removed)


def repeated(names: Iterable[str]) -> list[str]:
    """List, in lower case, the header names that occur more than once."""
    counts = Counter(name.lower() for name in names)
    return [name for name, count in counts.items() if count > 1]


def _name(node: yaml.Node) -> str:
    return parsed(node, header_name)
