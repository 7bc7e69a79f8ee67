"""The workers' reports are gathered; a worker that is gone or silent takes no count with it."""

from collections import defaultdict

from gateway.runtime.report_aggregator import ReportAggregator
from gateway.runtime.worker_handle import WorkerHandle
from gateway.telemetry.counters import Counters
from gateway.telemetry.health import Health
from gateway.telemetry.prometheus import Snapshot
from gateway.telemetry.report import Report


class ReportingWorker(WorkerHandle):
    """A worker that reports so many bytes, or nothing."""

    def __init__(self, count: int) -> None:
        self.count: int | None = count
        self.is_ready = self.is_answering = True
        self.last_report = None

    async def report(self) -> bool:
        if self.count is None:
            return False
        tally = Counters()
        tally.bytes_out, tally.active = self.count, 1
        tallies = defaultdict(Counters, {"/a": tally})
        snapshot = Snapshot(tallies, {"x": 1}, {}, {("/a", "http://s"): True}, "digest")
        self.last_report = Report(0, snapshot, Health(1), (), ())
        return True


async def reported(aggregator: ReportAggregator, *workers: WorkerHandle) -> tuple[int, int, int]:
    """How many reports came, the bytes and the active streams of all."""
    reports, counts = await aggregator.collect(workers)
    total = Snapshot.merged([*(each.snapshot for each in reports), *counts])
    return len(reports), total.tallies["/a"].bytes_out, total.tallies["/a"].active


async def test_workers_that_died_are_counted_as_in_their_last_report() -> None:
    aggregator, one, other = ReportAggregator(), ReportingWorker(10), ReportingWorker(5)
    assert await reported(aggregator, one, other) == (2, 15, 2)
    aggregator.keep_counters(one)
    assert await reported(aggregator, other) == (1, 15, 1)
    aggregator.keep_counters(other)
    aggregator.keep_counters(ReportingWorker(1))  # it never reported anything
    reports, (counts,) = await aggregator.collect([])
    assert (reports, counts.tallies["/a"].bytes_out, counts.upstreams) == ([], 15, {})
    assert await reported(aggregator, ReportingWorker(1)) == (1, 16, 1)


async def test_workers_that_do_not_answer_are_counted_as_in_their_last_report() -> None:
    aggregator, one, other = ReportAggregator(), ReportingWorker(10), ReportingWorker(5)
    await reported(aggregator, one, other)
    one.count = None
    assert await reported(aggregator, one, other) == (1, 15, 1)
    assert aggregator.silent == 1
    one.count = 12
    assert await reported(aggregator, one, other) == (2, 17, 2)
    assert aggregator.silent == 0
