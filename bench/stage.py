"""What a measurement stands on: what to measure, with how much, and what it gives."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.peer import Running, UpstreamRegistry
from bench.report import DIRECT, Figure, Sample


@dataclass(frozen=True, slots=True)
class Stage:
    """`window` is how long a measurement goes on, in seconds, once things run evenly."""

    upstreams: UpstreamRegistry
    folder: Path
    window: float = 2.0
    settle: float = 0.7
    transfer: int = 1024**3


@dataclass(frozen=True, slots=True)
class Scenario:
    """`rounds` is how many are enough, where fewer than asked for do."""

    name: str
    about: str
    figures: tuple[Figure, ...]
    measure: Callable[[Running, Stage], Coroutine[Any, Any, Sample]]
    rounds: int | None = None
    only: tuple[str, ...] = ()
    has_direct: bool = True

    def is_for(self, peer: str) -> bool:
        """Whether it measures that peer."""
        return self.has_direct if peer == DIRECT else not self.only or peer in self.only

    @property
    def needs_direct(self) -> bool:
        """Whether a figure says what a proxy adds to direct."""
        return any(figure.is_added for figure in self.figures)
