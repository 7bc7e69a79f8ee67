"""`python -m bench`: runs scenarios with the peers in turn, and prints a table for each."""

import argparse
import signal
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace

from bench import rounds
from bench.machine import describe
from bench.peers import INSTALLED, PEERS, start_service
from bench.processes import BenchError, Process, prepare_this_process
from bench.report import DIRECT, table
from bench.scenarios import SCENARIOS
from bench.stage import Scenario, Stage
from bench.transfers import make_file

FOLDER = INSTALLED / "work"
ROUNDS = 5
QUICK_PEERS = ["gateway", "nginx", DIRECT]
QUICK_ROUNDS = 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    scenarios = [f"  {each.name:12} {each.about}" for each in SCENARIOS.values()]
    command = argparse.ArgumentParser(
        prog="bench/run",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=textwrap.dedent(
            """\
            Runs the gateway beside its peers on the same work, and prints a table for each
            scenario on stdout, its progress on stderr. A full run takes about 25 minutes."""
        ),
        epilog="\n".join(["scenarios:", *scenarios]),
    )
    command.add_argument(
        "--quick",
        action="store_true",
        help=f"under two minutes: {', '.join(QUICK_PEERS)}, one round, windows half as long, "
        "transfers of 256 MiB instead of 1 GiB",
    )
    command.add_argument("--rounds", type=int, metavar="N", help=f"{ROUNDS}, quick {QUICK_ROUNDS}")
    command.add_argument(
        "--scenario", action="append", metavar="NAME", choices=SCENARIOS, help="only this; repeat"
    )
    peers = [*PEERS, DIRECT]
    command.add_argument(
        "--peer",
        action="append",
        metavar="NAME",
        choices=peers,
        help=f"only this; repeat. They are {', '.join(peers)}",
    )
    return command


def main() -> None:
    """Run what was asked for; whatever ends it, ends what it started."""
    options = parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    prepare_this_process()
    count = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    names = options.peer or (QUICK_PEERS if options.quick else [*PEERS, DIRECT])
    scenarios = [SCENARIOS[name] for name in options.scenario or SCENARIOS]
    try:
        stage = Stage(start_service(FOLDER), FOLDER)
        if options.quick:
            stage = replace(stage, window=1.0, settle=0.4, transfer=256 * 1024**2)
        make_file(FOLDER / "service", stage.transfer)
        peers = present(names)
        for scenario in scenarios:
            report(scenario, peers, count, stage)
    except BenchError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        Process.stop_all()


def present(names: Sequence[str]) -> list[str]:
    """The peers that can be run. Says what all of this is, and what is missing."""
    print(f"# {describe()}\n", flush=True)
    found = []
    for name in names:
        try:
            print(f"- {name}: {'no proxy' if name == DIRECT else PEERS[name].find_version()}")
            found.append(name)
        except BenchError as error:
            print(f"- **{name} is left out**: {error}")
    sys.stdout.flush()
    return found


def report(scenario: Scenario, peers: Sequence[str], count: int, stage: Stage) -> None:
    """Run a scenario, and print what came of it."""
    chosen = [name for name in peers if scenario.is_for(name)]
    if scenario.needs_direct and DIRECT not in chosen:
        chosen.append(DIRECT)
    if not chosen:
        return
    outcome = rounds.run(scenario, chosen, min(count, scenario.rounds or count), stage)
    print(f"\n## {scenario.name}: {scenario.about}\n")
    print(table(scenario.figures, outcome.rounds, chosen))
    for name, reason in outcome.failures.items():
        print(f"\n{name} failed: {reason}")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
