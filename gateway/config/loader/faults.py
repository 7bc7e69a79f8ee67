"""The faults of a routes.yaml, with their places: collected, so that all are reported at once."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import yaml

D = TypeVar("D")
T = TypeVar("T")

_LONGEST_QUOTE = 60


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One fault. Line and column count from 1; line 0 is the file as a whole."""

    line: int
    column: int
    message: str


class ConfigError(Exception):
    """A routes.yaml that is not valid. Its text is one line for each fault, sorted by place."""

    def __init__(self, faults: Iterable[Fault], source: str = "routes.yaml") -> None:
        self.faults = tuple(sorted(set(faults)))
        self.source = source
        super().__init__(self.faults, source)

    def __str__(self) -> str:
        return "\n".join(self._line(fault) for fault in self.faults)

    def _line(self, fault: Fault) -> str:
        place = f":{fault.line}:{fault.column}" if fault.line else ""
        return f"{self.source}{place}: {fault.message}"


class Unresolved(Exception):
    """A value that depends on the environment, which is not read."""


def fault_at(node: yaml.Node, message: str) -> Fault:
    mark = node.start_mark
    return Fault(mark.line + 1, mark.column + 1, message)


def unfit(node: yaml.Node, message: str) -> ConfigError:
    """Returns the error of a single fault."""
    return ConfigError([fault_at(node, message)])


def quoted(text: str) -> str:
    """Returns text of the file for a message: short, and on one line."""
    return repr(text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "...")


class Gathering:
    """Goes on after a fault, and raises all of them at the end."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.is_resolved = True

    def attempt(self, read: Callable[[], T], default: D) -> T | D:
        """Returns what `read` returns; the default if it raises a fault or is unresolved."""
        try:
            return read()
        except ConfigError as error:
            self.faults += error.faults
        except Unresolved:
            self.is_resolved = False
        return default

    def finish(self) -> None:
        """Raises ConfigError with every fault that was found, if any."""
        if self.faults:
            raise ConfigError(self.faults)
