"""Whether a gateway takes new work, and if not, why: what `/healthz` and `/readyz` say."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aiohttp import web

from gateway.answer import told


class Workers(NamedTuple):
    """How many workers answer, of how many there are to be, and how many are there but silent."""

    ready: int
    wanted: int
    silent: int


@dataclass(frozen=True, slots=True)
class Health:
    """What is so at one moment.

    `routes_without` are the paths of routes whose upstreams are all down. `faults` are those of a
    file that was not taken over, and None where none is watched. `workers` is None of one process.
    """

    routes: int
    has_keys: bool = True
    routes_without: tuple[str, ...] = ()
    is_draining: bool = False
    streams: int = 0
    faults: int | None = None
    workers: Workers | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it takes new work. A file with faults changes nothing of that.

        Nor does a worker that is gone: the others take what comes to its door. Who comes to one
        that is silent waits.
        """
        has_workers = self.workers is None or (self.workers.ready > 0 and not self.workers.silent)
        return self.has_keys and not self.is_draining and not self.routes_without and has_workers

    @classmethod
    def merged(cls, all_: Sequence["Health"]) -> "Health":
        """That of several processes together, one at least: ready only where all are."""
        faults = [each.faults for each in all_ if each.faults is not None]
        return cls(
            routes=min(each.routes for each in all_),
            has_keys=all(each.has_keys for each in all_),
            routes_without=tuple(
                dict.fromkeys(path for each in all_ for path in each.routes_without)
            ),
            is_draining=any(each.is_draining for each in all_),
            streams=sum(each.streams for each in all_),
            faults=max(faults, default=None),
            workers=next((each.workers for each in all_ if each.workers is not None), None),
        )

    def checks(self) -> dict[str, dict[str, object]]:
        """Each thing that was looked at, whether it is `ok`, and the particulars."""
        missing = list(self.routes_without)
        checks: dict[str, dict[str, object]] = {
            "routes": {"ok": True, "loaded": self.routes},
            "keys": {"ok": self.has_keys},
            "upstreams": {"ok": not missing, "routes_without": missing},
            "draining": {"ok": not self.is_draining, "streams": self.streams},
        }
        if self.faults is not None:
            # How many faults, and no more: what they say of the file is for the log.
            checks["reload"] = {"ok": not self.faults, "faults": self.faults}
        if self.workers is not None:
            ready, wanted, _ = self.workers
            checks["workers"] = {"ok": ready == wanted, "ready": ready, "wanted": wanted}
        return checks


def alive() -> web.Response:
    """Say that the process is alive."""
    return told({"status": "ok"})


def readiness(health: Health) -> web.Response:
    """Say whether new work is taken: 200, or 503 and what is not so."""
    status = "ready" if health.is_ready else "not_ready"
    return told({"status": status, "checks": health.checks()}, 200 if health.is_ready else 503)
