"""A worker hangs once it misses several pings in a row, and not before."""

import pytest

from gateway.runtime import liveness
from gateway.runtime.liveness import MAX_MISSED, until_hung
from gateway.runtime.worker_handle import WorkerHandle

ANSWERED, MISSED = True, False


class Pinged(WorkerHandle):
    """A worker that answers pings, or not, as the test says."""

    def __init__(self, *answers: bool) -> None:
        self.is_answering = True
        self.left = list(answers)

    async def ping(self, within: float) -> bool:  # noqa: ARG002 - it answers at once, or not
        return self.left.pop(0)


@pytest.fixture(autouse=True)
def interval(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(liveness, "INTERVAL", 0.01)
    return 0.01


async def test_a_worker_hangs_that_misses_so_many_pings_in_a_row(interval: float) -> None:
    almost = [MISSED] * (MAX_MISSED - 1)
    worker = Pinged(*almost, ANSWERED, ANSWERED, *almost, MISSED)
    changes: list[bool] = []
    silent = await until_hung(worker, lambda: changes.append(worker.is_answering))
    assert (worker.left, changes) == ([], [False, True, False])
    assert silent >= MAX_MISSED * interval
