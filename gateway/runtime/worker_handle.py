"""A worker as its supervisor sees it: a process, a channel to it, and its slots."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from socket import socketpair
from typing import TYPE_CHECKING

import gateway
from gateway.config.loader import Fault
from gateway.runtime.ipc import Channel, Handlers, Unanswered
from gateway.runtime.lifecycle import StartupError
from gateway.runtime.shared_limits import WorkerClaims
from gateway.runtime.worker import WorkerBriefing
from gateway.server.listeners import Listener

if TYPE_CHECKING:
    from gateway.telemetry.report import Report

START_PATIENCE = 60.0  # seconds, for a worker to be ready on a busy machine
END_PATIENCE = 5.0  # for a process to end after it closed its channel
REPORT_PATIENCE = 1.0  # for a worker to report
TAKE_PATIENCE = 30.0  # for a worker to serve another configuration

# The same code as the supervisor's own, whatever is in the working directory.
_ROOT = str(Path(gateway.__file__).parents[1])
_CODE = (
    "import sys; root = sys.argv[1]; root in sys.path or sys.path.insert(0, root);"
    " from gateway.runtime.worker import main; sys.exit(main(sys.argv[2:]))"
)


class WorkerHandle:
    """One worker process, from its start to its end. It is not started a second time."""

    def __init__(
        self, number: int, brief: Callable[[], WorkerBriefing], worker_claims: WorkerClaims
    ) -> None:
        """`number` is its index among the workers; `brief` returns what it needs to begin."""
        self.number = number
        self.is_ready = False
        self.is_answering = True  # as its last ping showed
        self.last_report: Report | None = None
        self._brief = brief
        self._worker_claims = worker_claims
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Task[int] | None = None

    @property
    def pid(self) -> int:
        """The id of its process, or 0 if none was started."""
        return self._process.pid if self._process is not None else 0

    async def start(self, connection_count: int, listeners: Sequence[Listener]) -> None:
        """Start it, and wait until it is ready. Raises StartupError; then it has exited, or will.

        `connection_count` is the descriptor of the shared memory.
        """
        handlers: Handlers = {
            "brief": self._briefing,
            "ready": self._is_up,
            "failed": self._has_failed,
            "acquire": self._worker_claims.acquire,
            "release": self._worker_claims.release,
            "claim": self._worker_claims.claim,
            "unclaim": self._worker_claims.unclaim,
        }
        ours, theirs = socketpair()
        with theirs:
            try:
                self._process = _spawn(self.number, theirs.fileno(), connection_count, listeners)
            except OSError as error:
                ours.close()
                raise StartupError(f"cannot start a worker: {error.strerror or error}") from None
        self._channel = await Channel.over(ours, handlers)
        self._ended = asyncio.create_task(self._serve(self._channel, self._process))
        try:
            async with asyncio.timeout(START_PATIENCE):
                await self._ready
        except TimeoutError:
            self.kill()
            raise StartupError(
                f"worker {self.number} was not ready in {START_PATIENCE:g}s"
            ) from None
        self.is_ready = True

    async def ended(self) -> int:
        """Wait for its end. Returns its exit code, which is negative for a signal."""
        return await self._ended if self._ended is not None else 0

    def kill(self) -> None:
        """Kill it at once."""
        if self._process is not None:
            self._process.kill()

    def send(self, name: str, *arguments: object) -> None:
        """Send it a message without a response, if it is running."""
        if self._channel is not None:
            self._channel.send(name, *arguments)

    async def take(self, data: bytes, path: str) -> tuple[Fault, ...]:
        """Have it serve another routes.yaml. Raises Unanswered."""
        if self._channel is None:
            return ()
        faults: tuple[Fault, ...] = await self._channel.ask(
            "take", data, path, within=TAKE_PATIENCE
        )
        return faults

    async def ping(self, within: float) -> bool:
        """Returns whether its event loop answers within so many seconds."""
        if self._channel is None:
            return False
        try:
            await self._channel.ask("ping", within=within)
        except Unanswered:
            return False
        return True

    async def report(self) -> bool:
        """Ask for a new `last_report`, unless the worker hangs. Returns whether it came."""
        if self._channel is None or not self.is_ready or not self.is_answering:
            return False
        try:
            self.last_report = await self._channel.ask("report", within=REPORT_PATIENCE)
        except Unanswered:
            return False
        return True

    async def _serve(self, channel: Channel, process: subprocess.Popen[bytes]) -> int:
        """Handle its requests to its end, then free its slots."""
        await channel.serve()
        self.is_ready = False
        try:
            code = await asyncio.to_thread(process.wait, END_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            code = await asyncio.to_thread(process.wait)
        self._worker_claims.drop()
        if not self._ready.done():
            self._ready.set_exception(
                StartupError(f"worker {self.number} ended as it started, with exit code {code}")
            )
        return code

    # Requests of the worker

    async def _briefing(self) -> WorkerBriefing:
        return self._brief()

    async def _is_up(self) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):  # nothing waits for it any more
            self._ready.set_result(None)

    async def _has_failed(self, fault: str) -> None:
        with contextlib.suppress(asyncio.InvalidStateError):
            self._ready.set_exception(StartupError(fault))


def _spawn(
    number: int, channel: int, connection_count: int, listeners: Sequence[Listener]
) -> subprocess.Popen[bytes]:
    """Start the process in a group of its own: a terminal signals the supervisor alone."""
    inherited = [[sock.fileno() for sock in listener] for listener in listeners]
    return subprocess.Popen(  # noqa: S603 - nothing in it comes from outside
        [
            *(sys.executable, "-P", "-c", _CODE, _ROOT),
            *map(str, (number, channel, connection_count)),
            *(",".join(map(str, each)) for each in inherited),
        ],
        stdin=subprocess.DEVNULL,
        pass_fds=[
            channel,
            connection_count,
            *(each for listener in inherited for each in listener),
        ],
        process_group=0,
    )
