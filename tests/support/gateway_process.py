"""The gateway as production starts it: a process, its signals, its log and its exit code."""

import asyncio
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, Self

from tests.support.fork_server import Child, Job
from tests.support.tokens import SECRET

ROOT = Path(__file__).parents[2]
PATIENCE = 15.0  # seconds: far over what any step takes on a busy machine

Line = dict[str, Any]


def environment(**changes: str) -> dict[str, str]:
    """The environment of the tests, with the tests' secret and no other GATEWAY_* variable."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return {**kept, "GATEWAY_JWT_SECRET": SECRET, "GATEWAY_LOG_FORMAT": "json", **changes}


def run_gateway(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    child = _start(arguments, env, cwd)
    with ThreadPoolExecutor(2) as readers:
        output = [readers.submit(stream.read) for stream in (child.stdout, child.stderr)]
        try:
            code = child.wait(PATIENCE)
        finally:
            child.kill()
    out, err = (each.result() for each in output)
    child.close()
    return subprocess.CompletedProcess(arguments, code, out, err)


def _start(
    arguments: Sequence[str],
    env: Mapping[str, str] | None,
    cwd: Path = ROOT,
    open_files: tuple[int, int] | None = None,
) -> Child:
    return Child(Job(arguments, environment() if env is None else env, str(cwd), open_files))


class GatewayProcess:
    """A running gateway. `port` and `ops_port` come from its own "listening" line."""

    def __init__(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        open_files: tuple[int, int] | None = None,
    ) -> None:
        """`open_files` are the soft and the hard limit, if not those of the tests."""
        self._process = _start(arguments, env, open_files=open_files)
        self._output: list[tuple[str, str]] = []
        self._lines: list[Line] = []
        self._news = threading.Condition()  # its lock may be taken again by who has it
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream), daemon=True)
            for name, stream in (("out", self._process.stdout), ("err", self._process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @classmethod
    def serve(
        cls,
        routes: str,
        directory: Path,
        *options: str,
        env: Mapping[str, str] | None = None,
        open_files: tuple[int, int] | None = None,
    ) -> Self:
        """Write routes.yaml into the directory, start `gateway serve` on it, await its ports."""
        file = directory / "routes.yaml"
        file.write_text(routes)
        ports = ("--host", "127.0.0.1", "--port", "0", "--ops-port", "0")
        command = ("serve", "--routes", str(file), *ports, *options)
        gateway = cls(*command, env=env, open_files=open_files)
        gateway.await_listening()
        return gateway

    def _read(self, name: str, stream: IO[str]) -> None:
        for text in stream:
            with self._news:
                self._output.append((name, text))
                if name == "out" and text.startswith("{"):
                    self._lines.append(json.loads(text))
                self._news.notify_all()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        """All that it wrote so far, for people and for assertions on what it must not say."""
        with self._news:
            return "".join(text for _, text in self._output)

    @property
    def error_output(self) -> str:
        with self._news:
            return "".join(text for name, text in self._output if name == "err")

    def resident_bytes(self) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("the process has no resident memory: it is gone")

    def open_files(self) -> int:
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def _first(self, wanted: Callable[[Line], bool]) -> Line | None:
        return next((line for line in self._lines if wanted(line)), None)

    def _await_line(self, what: str, wanted: Callable[[Line], bool]) -> Line:
        with self._news:
            self._news.wait_for(
                lambda: self._first(wanted) or self._process.poll() is not None, PATIENCE
            )
            line = self._first(wanted)
        if line is None:
            raise AssertionError(f"the gateway logged no {what}:\n{self.output}")
        return line

    def await_listening(self) -> None:
        line = self._await_line("listening line", lambda line: line.get("event") == "listening")
        self.port, self.ops_port = int(line["port"]), int(line["ops_port"])

    def await_output(self, text: str) -> None:
        """Wait until it has written this, in whatever format."""
        with self._news:
            self._news.wait_for(
                lambda: self._wrote(text) or self._process.poll() is not None, PATIENCE
            )
            came = self._wrote(text)
        assert came, f"the gateway never wrote {text!r}:\n{self.output}"

    def _wrote(self, text: str) -> bool:
        return any(text in written for _, written in self._output)

    def request_lines(self, **fields: object) -> list[Line]:
        """The "request" lines so far whose fields are these."""
        with self._news:
            return [line for line in self._lines if _is_request(line, fields)]

    async def request_line(self, **fields: object) -> Line:
        """Wait for the first "request" line whose fields are these."""
        wanted = f"request line with {fields}"
        return await asyncio.to_thread(
            self._await_line, wanted, lambda line: _is_request(line, fields)
        )

    async def await_request_lines(self, count: int, **fields: object) -> list[Line]:
        """Wait until it wrote so many "request" lines whose fields are these."""

        def wait() -> bool:
            with self._news:
                return self._news.wait_for(
                    lambda: len(self.request_lines(**fields)) >= count, PATIENCE
                )

        came = await asyncio.to_thread(wait)
        assert came, f"not {count} request lines with {fields}:\n{self.output}"
        return self.request_lines(**fields)

    def lines(self, event: str) -> list[Line]:
        """The lines so far of an event."""
        with self._news:
            return [line for line in self._lines if line.get("event") == event]

    async def await_lines(self, event: str, count: int = 1) -> list[Line]:
        """Wait until it wrote so many lines of an event."""

        def wait() -> bool:
            with self._news:
                return self._news.wait_for(lambda: len(self.lines(event)) >= count, PATIENCE)

        came = await asyncio.to_thread(wait)
        assert came, f"not {count} lines of {event}:\n{self.output}"
        return self.lines(event)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def exit_code(self, within: float = PATIENCE) -> int:
        """Wait for its end, at most `within` seconds; one that lives on is killed and a failure."""
        try:
            code = self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise AssertionError(f"the gateway did not end:\n{self.output}") from None
        finally:
            self._close()
        return code

    def _close(self) -> None:
        for reader in self._readers:
            reader.join(PATIENCE)
        self._process.close()

    def stop(self) -> int:
        """End it as an orchestrator does. Returns its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self.exit_code()


def _is_request(line: Line, fields: dict[str, object]) -> bool:
    return line.get("event") == "request" and fields.items() <= line.items()
