"""Parses YAML text to nodes with their places, within bounds.

Nodes are kept instead of values, because a value has no line and column, and no quotes.
"""

import re
from typing import cast

import yaml

from gateway.config.loader.faults import ConfigError, Fault, fault_at

MAX_SIZE = 1024 * 1024  # bytes
TOO_LARGE = Fault(0, 0, "the file is over 1 MiB: no set of routes needs that much")
MAX_DEPTH = 20
MAX_NODES = 50_000  # with every alias counted as what it stands for

# NUL, and halves of surrogate pairs: a quoted escape can make them, but nothing accepts them.
_UNUSABLE = re.compile("[\0\ud800-\udfff]")

_HINTS = (
    (r"'\t'", "a tab cannot be used here: indent with spaces"),
    (
        "mapping values are not allowed",
        "a key is not allowed here: check the indentation, or quote a value that holds ': '",
    ),
    ("cannot start any token", "{problem}: put the value in quotes"),
    ("but found another document", "only one document is allowed: remove the second ---"),
    ("found duplicate anchor", "the name of this anchor (&) is taken: choose another"),
    ("expected <block end>", "the indentation does not fit with the lines above"),
)


def compose(text: str) -> yaml.Node:
    """Returns the root node of the single document in the text. Raises ConfigError."""
    if len(text) > MAX_SIZE:
        raise ConfigError([TOO_LARGE])
    try:
        composer = _Composer(text)
    except yaml.reader.ReaderError as error:
        raise ConfigError([_unreadable(text, error)]) from error
    try:
        root: yaml.Node | None = composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise ConfigError([*composer.faults, _syntax(error)]) from error
    except (ValueError, OverflowError) as error:
        # PyYAML accepts any number in an escape or a %YAML line, and int() and chr() fail on them.
        raise ConfigError([*composer.faults, composer.here("a number out of range")]) from error
    finally:
        composer.dispose()
    if root is None:
        raise ConfigError([Fault(1, 1, "the file is empty: it needs at least one route")])
    if composer.faults:
        raise ConfigError(composer.faults)
    return root


class _Composer(yaml.SafeLoader):
    """Composes nodes, and rejects what could only be a mistake or an attack."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.faults: list[Fault] = []
        self._depth = 0
        self._nodes = 0
        self._sizes: dict[str, int] = {}  # of each anchor that is complete

    def here(self, message: str) -> Fault:
        mark = self.get_mark()
        return Fault(mark.line + 1, mark.column + 1, message)

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        before = self._nodes
        self._count(event)
        self._drop_tag(event)
        if self._depth == MAX_DEPTH:
            raise _refusal(event, f"nested more than {MAX_DEPTH} levels deep")
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if event.anchor and not isinstance(event, yaml.AliasEvent):
            self._sizes[event.anchor] = self._nodes - before
        if isinstance(node, yaml.ScalarNode) and _UNUSABLE.search(node.value):
            self.faults.append(fault_at(node, "holds a character that text cannot have"))
        return node

    def _count(self, event: yaml.NodeEvent) -> None:
        is_alias = isinstance(event, yaml.AliasEvent)
        if is_alias and event.anchor in self.anchors and event.anchor not in self._sizes:
            raise _refusal(event, f"the alias *{event.anchor} stands inside what it stands for")
        self._nodes += self._sizes.get(event.anchor or "", 1) if is_alias else 1
        if self._nodes > MAX_NODES:
            raise _refusal(event, f"the file holds more than {MAX_NODES} values")

    def _drop_tag(self, event: yaml.NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if tag is None:
            return
        problem = "tags are not supported: remove it, or quote a value that starts with !"
        self.faults.append(_syntax(_refusal(event, problem)))
        # As if it had not been there, so that it causes no second fault.
        event.tag = None  # type: ignore[attr-defined]
        if isinstance(event, yaml.ScalarEvent):
            event.implicit = (event.style is None, True)


def _refusal(event: yaml.NodeEvent, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=cast("yaml.Mark", event.start_mark))


def _syntax(error: yaml.MarkedYAMLError) -> Fault:
    mark = error.problem_mark or error.context_mark
    problem = " ".join(filter(None, (error.context, error.problem)))
    for sign, hint in _HINTS:
        if sign in problem:
            problem = hint.format(problem=error.problem)
            break
    return Fault(mark.line + 1, mark.column + 1, problem) if mark else Fault(0, 0, problem)


def _unreadable(text: str, error: yaml.reader.ReaderError) -> Fault:
    before = text[: error.position]
    column = error.position - (before.rfind("\n") + 1) + 1
    return Fault(before.count("\n") + 1, column, "a control character is not allowed: remove it")
