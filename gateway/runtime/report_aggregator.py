"""Collects the reports of the workers for the ops port. Counts of exited workers are kept."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from gateway.runtime.worker_handle import WorkerHandle
from gateway.telemetry.prometheus import Snapshot
from gateway.telemetry.report import Report


class ReportAggregator:
    """Asks each worker for its report, and never loses a count that was reported once.

    `silent` is how many workers did not answer the last time. What a worker counted after its last
    report is lost when it exits.
    """

    def __init__(self) -> None:
        self.silent = 0
        self._of_dead: list[Snapshot] = []

    async def collect(self, handles: Sequence[WorkerHandle]) -> tuple[list[Report], list[Snapshot]]:
        """Returns the reports of the workers that answer, and the counts of all others."""
        answers = await asyncio.gather(*(handle.report() for handle in handles))
        # There is no await below, so that no worker counts both as running and as exited.
        answered = zip(handles, answers, strict=True)
        known = [
            (each.last_report, has_answered) for each, has_answered in answered if each.last_report
        ]
        self.silent = sum(
            each.is_ready and not has_answered
            for each, has_answered in zip(handles, answers, strict=True)
        )
        reports = [report for report, has_answered in known if has_answered]
        silent = [_counts(report.snapshot) for report, has_answered in known if not has_answered]
        return reports, [*self._of_dead, *silent]

    def keep_counters(self, handle: WorkerHandle) -> None:
        """Keep the counts in the last report of a worker that has exited."""
        report, handle.last_report = handle.last_report, None
        if report is not None:
            self._of_dead = [Snapshot.merged([*self._of_dead, _counts(report.snapshot)])]


def _counts(snapshot: Snapshot) -> Snapshot:
    """Returns only what never decreases."""
    tallies = {route: counters.copy() for route, counters in snapshot.tallies.items()}
    return replace(snapshot, tallies=tallies, upstreams={})
