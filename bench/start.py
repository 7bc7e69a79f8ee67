"""From exec to the first request that is answered through it."""

from bench.peer import Running
from bench.report import Figure, Sample
from bench.stage import Stage

FIGURES = (Figure("ready", "ms until it answers"),)


async def measure(running: Running, _stage: Stage) -> Sample:
    """It was measured when the peer was started."""
    return Sample({"ready": running.seconds_to_ready * 1e3})
