"""A peer: how it is set up, started, measured and ended."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from bench.processes import BenchError, Process, last_words, reserved_port
from bench.report import DIRECT

SETUPS = Path(__file__).parent / "setups"
JSON = json.dumps({"id": 12345, "status": "completed", "progress": 100, "message": "done"})
# The service of the events has a port only while a peer is measured.
NOWHERE = 0
_VERSION = re.compile(r"\d+\.\d+\.\d+(, .+)?")

Command = Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class UpstreamRegistry:
    """The ports of the services behind a proxy: of /json and /files, and of all else."""

    events: int
    files: int


@dataclass(slots=True)
class Running:
    """A peer that answers requests. `process` is None for direct: nothing stands between."""

    name: str
    ports: dict[str, int]
    process: Process | None
    seconds_to_ready: float = 0.0

    def port(self, path: str) -> int:
        """Where to send a request for a path."""
        return self.ports.get(path, self.ports["*"])

    def cpu(self) -> float:
        """Processor time that it has spent, in seconds."""
        return self.process.cpu() if self.process else 0.0

    def pss(self) -> int:
        """Its memory now, in bytes."""
        return self.process.pss() if self.process else 0

    def peak(self) -> int:
        """The most memory that it ever had, in bytes."""
        return self.process.peak() if self.process else 0

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.stop()


@dataclass(frozen=True, slots=True)
class Peer:
    """`files` are written into its folder, the ports filled in; `command` is run there."""

    name: str
    command: Callable[[int, UpstreamRegistry], Command]
    version: Callable[[], Command]
    files: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def find_version(self) -> str:
        """What it says of itself; where it is not there, a `BenchError`."""
        try:
            answer = subprocess.run(
                list(self.version()),
                capture_output=True,
                text=True,
                check=False,
                timeout=20,
                env={**os.environ, **self.environment},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BenchError(f"{self.name} cannot be run: {error}") from error
        said = answer.stdout + answer.stderr
        found = _VERSION.search(said)
        if answer.returncode or not found:
            raise BenchError(f"{self.name} cannot be run: {last_words(said)}")
        return found[0]

    def start(self, folder: Path, upstreams: UpstreamRegistry) -> Running:
        """Start it, and wait until it answers."""
        place = fresh(folder / self.name)
        with reserved_port() as port:
            for file in self.files:
                fill(file, place, port, upstreams)
            process = self._process(place, port, upstreams)
            try:
                return Running(self.name, {"*": port}, process, process.wait_ready(port))
            except BaseException:
                process.stop()
                raise

    def _process(self, place: Path, port: int, upstreams: UpstreamRegistry) -> Process:
        try:
            return Process(
                self.command(port, upstreams),
                place / "output",
                environment=self.environment,
                folder=place,
            )
        except OSError as error:
            raise BenchError(f"{self.name} cannot be started: {error}") from error


def direct(upstreams: UpstreamRegistry) -> Running:
    """No proxy at all: what the load itself can do."""
    ports = {"*": upstreams.events, "/json": upstreams.files, "/files/large": upstreams.files}
    return Running(DIRECT, ports, None)


def fill(file: str, folder: Path, port: int, upstreams: UpstreamRegistry) -> None:
    """Write one of the setups with its ports filled in."""
    text = Template((SETUPS / file).read_text()).substitute(
        port=port, events=upstreams.events, files=upstreams.files, json=JSON, folder=folder
    )
    (folder / file).write_text(text)


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
