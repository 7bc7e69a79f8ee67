"""The work itself. It knows nothing of HTTP: it puts its progress on a queue."""

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any

import structlog

from .order import Order
from .progress import Progress

FAILS_AT = 60  # percent
_STEPS = ((30, "fetching data"), (80, "processing"), (100, "saving"))  # up to this percent
_ACCEPTED = Progress("processing", 0, "The job is accepted", _STEPS[0][1])

log = structlog.get_logger()


class JobError(Exception):
    """A failure that the job foresees. Its text is for the user of the browser."""


@dataclass(eq=False, slots=True)
class Job:
    """One run of the work, with the queue between it and its watcher.

    The queue needs no limit: a job makes at most one report for each of its steps, and two more.
    """

    order: Order
    id: str = field(default_factory=lambda: secrets.token_hex(4))
    updates: asyncio.Queue[Progress] = field(default_factory=asyncio.Queue)
    latest: Progress = _ACCEPTED

    def report(self, progress: Progress) -> None:
        self.latest = progress
        self.updates.put_nowait(progress)

    def fail(self, message: str) -> None:
        self.report(Progress("error", self.latest.progress, message, self.latest.step))


async def work(job: Job) -> None:
    """Do the job. Its last report is always `completed` or `error`, unless it is cancelled."""
    log.info("job_started", job=job.id, steps=job.order.steps, seconds=job.order.seconds)
    try:
        result = await _process(job)
    except JobError as error:
        job.fail(str(error))
    except Exception:  # the watcher must see an end, whatever went wrong
        log.exception("job_crashed", job=job.id)
        job.fail("The job broke off; the log of the service says why")
    else:
        job.report(Progress("completed", 100, "The job is done", "saving", result))


async def _process(job: Job) -> dict[str, Any]:
    """Do all steps in turn; returns the result. Raises JobError if the order asks for it."""
    order = job.order
    job.report(job.latest)
    for done in range(1, order.steps + 1):
        # The real work of one step goes here; work that keeps a CPU busy goes to asyncio.to_thread.
        await asyncio.sleep(order.seconds / order.steps)
        percent = 100 * done // order.steps
        if order.fails and percent >= FAILS_AT:
            raise JobError("The source of the data closed the connection")
        if done < order.steps:
            step = _step_at(percent)
            message = f"Part {done} of {order.steps} is done"
            job.report(Progress("processing", percent, message, step))
    return {"parts": order.steps, "seconds": order.seconds}


def _step_at(percent: int) -> str:
    return next(name for until, name in _STEPS if percent < until)
