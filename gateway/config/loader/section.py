"""Typed reading of nodes: texts, lists and mappings with known keys.

Each reader takes a node and returns its value, or raises ConfigError with every fault in it.
"""

import difflib
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TypeVar

import yaml
from yaml.constructor import SafeConstructor

from gateway.config.loader import expansion
from gateway.config.loader.faults import Gathering, Unresolved, fault_at, quoted, unfit

D = TypeVar("D")
T = TypeVar("T")

_TAG = "tag:yaml.org,2002:"
_BOOL, _NULL, _MERGE, _STR = (f"{_TAG}{name}" for name in ("bool", "null", "merge", "str"))


def boolean(node: yaml.Node) -> bool:
    if node.tag != _BOOL:
        raise unfit(node, "must be true or false")
    return SafeConstructor.bool_values[node.value.lower()]


def is_false(node: yaml.Node) -> bool:
    return node.tag == _BOOL and not boolean(node)


def is_off(node: yaml.Node) -> bool:
    """Whether a section is turned off: `none` or `false`."""
    return is_false(node) or (isinstance(node, yaml.ScalarNode) and node.value == "none")


def text(node: yaml.Node) -> str:
    """Reads text as it is written, also a number."""
    if not isinstance(node, yaml.ScalarNode):
        raise unfit(node, "must be text; put it in quotes if it starts with [, { or *")
    if node.tag == _NULL:
        raise unfit(node, "has no value: give one, or remove the key")
    if node.tag == _BOOL:
        raise unfit(node, "must be text, not true or false: put it in quotes if you mean the word")
    value: str = node.value
    return value


def parsed(node: yaml.Node, parse: Callable[[str], T]) -> T:
    """Reads text through a parser whose ValueError says what is wrong."""
    return _blaming(node, lambda: parse(text(node)))


def expanded(node: yaml.Node, environ: Mapping[str, str] | None, parse: Callable[[str], T]) -> T:
    """Reads text with its environment references filled in. Raises Unresolved, see expand."""
    written = text(node)
    value = _blaming(node, lambda: expansion.expand(written, environ))
    names = "".join(f" (${name} filled in)" for name in expansion.names(written))
    return _blaming(node, lambda: parse(value), names)


def one_or_many(node: yaml.Node, read: Callable[[yaml.Node], T]) -> tuple[T, ...]:
    """Reads a list of at least one value, or a single value."""
    if not isinstance(node, yaml.SequenceNode):
        return (read(node),)
    if not node.value:
        raise unfit(node, "the list is empty: name at least one, or remove the key")
    return items(node, read)


def items(node: yaml.Node, read: Callable[[yaml.Node], T]) -> tuple[T, ...]:
    """Reads a list, which may be empty. Raises Unresolved if one of its values is."""
    if not isinstance(node, yaml.SequenceNode):
        raise unfit(node, "must be a list, such as [a, b]")
    gathering = Gathering()
    values: list[T] = []
    for item in node.value:
        gathering.attempt(lambda: values.append(read(item)), None)  # noqa: B023 - run at once
    gathering.finish()
    if not gathering.is_resolved:
        raise Unresolved
    return tuple(values)


def pairs(
    node: yaml.Node, read_key: Callable[[yaml.Node], str], read_value: Callable[[yaml.Node], str]
) -> tuple[tuple[str, str], ...]:
    """Reads a mapping with keys of the user's own. Raises Unresolved if a value is."""
    gathering = Gathering()
    found = []
    for key_node, value_node in _entries(node, gathering).values():
        key = gathering.attempt(partial(read_key, key_node), None)
        value = gathering.attempt(partial(read_value, value_node), None)
        if key is not None and value is not None:
            found.append((key, value))
    gathering.finish()
    if not gathering.is_resolved:
        raise Unresolved
    return tuple(found)


def _entries(node: yaml.Node, gathering: Gathering) -> dict[str, tuple[yaml.Node, yaml.Node]]:
    """Returns the nodes of a mapping by key: text keys, each once, in the order of the file."""
    if not isinstance(node, yaml.MappingNode):
        raise unfit(node, "must be a mapping, such as key: value")
    entries: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    for key, value in node.value:
        gathering.attempt(partial(_add, entries, key, value), None)
    return entries


def _add(entries: dict[str, tuple[yaml.Node, yaml.Node]], key: yaml.Node, value: yaml.Node) -> None:
    if key.tag == _MERGE:
        raise unfit(key, "merge keys are not supported, use defaults:")
    if not isinstance(key, yaml.ScalarNode) or key.tag != _STR:
        raise unfit(key, "a key must be text: put it in quotes if you mean it so")
    if key.value in entries:
        first = fault_at(entries[key.value][0], "").line
        raise unfit(key, f"duplicate key {quoted(key.value)}: first given in line {first}")
    entries[key.value] = (key, value)


class Section(Gathering):
    """A mapping with known keys, read key by key."""

    def __init__(
        self,
        node: yaml.Node,
        known: Collection[str],
        later: Collection[str] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """`later` are keys of later versions. Raises ConfigError if the node is no mapping."""
        super().__init__()
        self.node = node
        self.environ = environ
        self.nodes: dict[str, yaml.Node] = {}
        self.unread: set[str] = set()  # keys whose value is faulty or unresolved
        for name, (key, value) in _entries(node, self).items():
            if name in known:
                self.nodes[name] = value
            elif name in later:
                self.faults.append(fault_at(key, f"this version does not support {quoted(name)}"))
            else:
                self.faults.append(fault_at(key, _unknown(name, known)))

    def read(self, key: str, reader: Callable[[yaml.Node], T], default: D) -> T | D:
        """Returns the value of a key; the default if it is absent, faulty or unresolved."""
        node = self.nodes.get(key)
        if node is None:
            return default
        values = self.attempt(lambda: (reader(node),), ())
        if not values:
            self.unread.add(key)
        return values[0] if values else default

    def blame(self, key: str, message: str) -> None:
        """Record a fault at the value of a key, or at the whole section if it is absent."""
        self.faults.append(fault_at(self.nodes.get(key, self.node), message))


def _unknown(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name[:40].lower(), known, n=1)
    hint = f"did you mean {quoted(near[0])}?" if near else f"known are {', '.join(sorted(known))}"
    return f"unknown key {quoted(name)}: {hint}"


def _blaming(node: yaml.Node, read: Callable[[], T], addition: str = "") -> T:
    try:
        return read()
    except ValueError as error:
        raise unfit(node, f"{error}{addition}") from error
