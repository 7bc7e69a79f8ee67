"""What all workers tell, gathered for the ops port, with what the dead ones had told."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from gateway.runtime.worker_handle import WorkerHandle
from gateway.telemetry.prometheus import Snapshot
from gateway.telemetry.report import Report


class ReportAggregator:
    """Asks each worker for its report, and forgets no count of one that told it once.

    `silent` is how many workers did not answer when they were last asked. What a worker counted
    after its last report dies with it.
    """

    def __init__(self) -> None:
        self.silent = 0
        self._of_dead: list[Snapshot] = []

    async def collect(self, handles: Sequence[WorkerHandle]) -> tuple[list[Report], list[Snapshot]]:
        """The reports of those who answer, and the counts of those who do not, or never again."""
        answers = await asyncio.gather(*(handle.report() for handle in handles))
        # Nothing is waited for from here on, so that nobody counts as alive and as dead.
        told = zip(handles, answers, strict=True)
        known = [(each.last_report, is_told) for each, is_told in told if each.last_report]
        self.silent = sum(
            each.is_ready and not is_told for each, is_told in zip(handles, answers, strict=True)
        )
        reports = [report for report, is_told in known if is_told]
        silent = [_counts(report.snapshot) for report, is_told in known if not is_told]
        return reports, [*self._of_dead, *silent]

    def keep_counters(self, handle: WorkerHandle) -> None:
        """Keep what a worker that died had counted when it last told."""
        report, handle.last_report = handle.last_report, None
        if report is not None:
            self._of_dead = [Snapshot.merged([*self._of_dead, _counts(report.snapshot)])]


def _counts(snapshot: Snapshot) -> Snapshot:
    """What only ever grows, without what is so at a moment."""
    tallies = {route: counters.copy() for route, counters in snapshot.tallies.items()}
    return replace(snapshot, tallies=tallies, upstreams={})
