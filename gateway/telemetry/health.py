"""Readiness: whether a gateway accepts new work, and if not, why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple


class Workers(NamedTuple):
    """How many workers answer, how many there should be, and how many run but are silent."""

    ready: int
    wanted: int
    silent: int


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a gateway at one moment.

    `routes_without` are the paths of routes whose upstreams are all down, `routes_degraded` of
    routes with some down. `required_without` are the routes without which the gateway is not ready.
    `faults` counts the errors of a file that was not loaded; None without reload. `workers` is None
    for a single process.
    """

    routes: int
    has_keys: bool = True
    routes_without: tuple[str, ...] = ()
    routes_degraded: tuple[str, ...] = ()
    required_without: tuple[str, ...] = ()
    is_draining: bool = False
    streams: int = 0
    faults: int | None = None
    workers: Workers | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the gateway accepts new work.

        A file with errors does not matter, because the last good one is served. An upstream that is
        down does not matter unless it is required. A worker that is gone does not matter, because
        the others accept its connections. A silent worker does, because its connections wait.
        """
        has_workers = self.workers is None or (self.workers.ready > 0 and not self.workers.silent)
        return self.has_keys and not self.is_draining and not self.required_without and has_workers

    @classmethod
    def merged(cls, all_: Sequence["Health"]) -> "Health":
        """Returns the health of several processes, at least one. They are ready only if all are."""
        faults = [each.faults for each in all_ if each.faults is not None]
        return cls(
            routes=min(each.routes for each in all_),
            has_keys=all(each.has_keys for each in all_),
            routes_without=_united(each.routes_without for each in all_),
            routes_degraded=_united(each.routes_degraded for each in all_),
            required_without=_united(each.required_without for each in all_),
            is_draining=any(each.is_draining for each in all_),
            streams=sum(each.streams for each in all_),
            faults=max(faults, default=None),
            workers=next((each.workers for each in all_ if each.workers is not None), None),
        )

    def checks(self) -> dict[str, dict[str, object]]:
        """Returns each check: whether it is `ok`, and its details."""
        checks: dict[str, dict[str, object]] = {
            "routes": {"ok": True, "loaded": self.routes},
            "keys": {"ok": self.has_keys},
            "upstreams": {
                "ok": not self.routes_without and not self.routes_degraded,
                "routes_without": list(self.routes_without),
                "routes_degraded": list(self.routes_degraded),
                "required_without": list(self.required_without),
            },
            "draining": {"ok": not self.is_draining, "streams": self.streams},
        }
        if self.faults is not None:
            # Only the number of errors: their texts are in the log.
            checks["reload"] = {"ok": not self.faults, "faults": self.faults}
        if self.workers is not None:
            ready, wanted, _ = self.workers
            checks["workers"] = {"ok": ready == wanted, "ready": ready, "wanted": wanted}
        return checks


def _united(paths: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Returns each path once, in the order in which they come."""
    return tuple(dict.fromkeys(chain.from_iterable(paths)))
