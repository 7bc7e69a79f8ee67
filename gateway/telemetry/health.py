"""Readiness: whether a gateway accepts new work, and if not, why."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple


class Workers(NamedTuple):
    """How many workers answer, of how many there are to be, and how many are there but silent."""

    ready: int
    wanted: int
    silent: int


@dataclass(frozen=True, slots=True)
class Health:
    """What is so at one moment.

    `routes_without` are the paths of routes whose upstreams are all down, and `routes_degraded` of
    those with some that are up. `required_without` are the routes whose health check says that the
    gateway is not ready without them. `faults` are those of a file that was not taken over, and
    None where none is watched. `workers` is None of one process.
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
        """Whether it takes new work. A file with faults changes nothing of that.

        Nor does an upstream that is down, unless it is required: the other routes are served. Nor
        does a worker that is gone: the others take what comes to its door. Who comes to one that is
        silent waits.
        """
        has_workers = self.workers is None or (self.workers.ready > 0 and not self.workers.silent)
        return self.has_keys and not self.is_draining and not self.required_without and has_workers

    @classmethod
    def merged(cls, all_: Sequence["Health"]) -> "Health":
        """That of several processes together, one at least: ready only where all are."""
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
        """Each thing that was looked at, whether it is `ok`, and the particulars."""
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
            # How many faults, and no more: what they say of the file is for the log.
            checks["reload"] = {"ok": not self.faults, "faults": self.faults}
        if self.workers is not None:
            ready, wanted, _ = self.workers
            checks["workers"] = {"ok": ready == wanted, "ready": ready, "wanted": wanted}
        return checks


def _united(paths: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Each path once, in the order in which they come."""
    return tuple(dict.fromkeys(chain.from_iterable(paths)))
