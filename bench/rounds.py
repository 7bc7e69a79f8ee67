"""Rounds: in each one all peers run the same scenario, one after another, each started anew."""

import asyncio
import sys
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import uvloop

from bench.peer import Running, direct
from bench.peers import PEERS
from bench.processes import BenchError, reserved_port
from bench.report import DIRECT, FOREIGN_IS_MUCH, Round, Sample, number
from bench.stage import Scenario, Stage

# The longest that one measurement may take, in seconds.
LIMIT = 60.0


@dataclass(slots=True)
class Outcome:
    """What the rounds of a scenario gave, and what kept a peer from its part in them."""

    rounds: list[Round] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


def run(scenario: Scenario, peers: Sequence[str], count: int, stage: Stage) -> Outcome:
    """Run a scenario. A peer that fails is left out of the rounds that follow."""
    outcome = Outcome()
    for turn in range(count):
        samples: dict[str, Sample] = {}
        # Nobody always comes first, or always after the same one.
        first = turn % len(peers)
        for name in (*peers[first:], *peers[:first]):
            if name in outcome.failures:
                continue
            began = time.monotonic()
            try:
                samples[name] = _measure(scenario, name, stage)
                said = _line(samples[name])
            except (BenchError, OSError, ExceptionGroup) as error:
                said = outcome.failures[name] = _reason(error)
            seconds = time.monotonic() - began
            report(f"{scenario.name} {turn + 1}/{count} {name} ({seconds:.1f} s): {said}")
        outcome.rounds.append(samples)
    return outcome


def report(line: str) -> None:
    """Say how far things are."""
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)


def _measure(scenario: Scenario, name: str, stage: Stage) -> Sample:
    # The service has another port each time: what a peer closed stays in TIME_WAIT for a minute,
    # and so many connections to one port as several rounds of `churn` make could use up the ports
    # that they can come from.
    with reserved_port() as events:
        stage = replace(stage, upstreams=replace(stage.upstreams, events=events))
        running = _start(name, stage)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(_bounded(scenario.measure(running, stage)))
        finally:
            running.stop()


def _start(name: str, stage: Stage) -> Running:
    if name == DIRECT:
        return direct(stage.upstreams)
    return PEERS[name].start(stage.folder, stage.upstreams)


async def _bounded(measurement: Coroutine[Any, Any, Sample]) -> Sample:
    async with asyncio.timeout(LIMIT):
        return await measurement


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return str(error) or f"not done within {LIMIT:.0f} s"
    if isinstance(error, ExceptionGroup):
        return _reason(error.exceptions[0])
    return str(error) or type(error).__name__


def _line(sample: Sample) -> str:
    said = [f"{key} {number(value)}" for key, value in sample.values.items()]
    if sample.load_busy:
        said.append(f"load {sample.load_busy:.0%}")
    if sample.foreign > FOREIGN_IS_MUCH:
        said.append(f"others took {sample.foreign:.0%} of its core")
    if sample.faults:
        said.append(f"{sample.faults} FAULTS")
    return ", ".join(said)
