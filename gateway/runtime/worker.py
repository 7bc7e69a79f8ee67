"""A worker: one of several processes that serve the public port together, under a supervisor.

The supervisor controls it over a channel of their own. A worker ignores signals, because a
terminal or a service manager that signals all processes means the gateway as a whole. A worker
whose supervisor is gone drains and exits.
"""

import asyncio
import os
import signal
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import uvloop

from gateway.config.loader import ConfigError, Fault, parse
from gateway.limits.registry import QuotaRegistry
from gateway.runtime.gateway import Gateway, Shared
from gateway.runtime.ipc import Channel, Handlers, Unanswered
from gateway.runtime.lifecycle import Lifecycle, StartupError
from gateway.runtime.settings import Settings
from gateway.runtime.shared_limits import SupervisorLimitStore, SupervisorUsedTokens
from gateway.server.connection_count import ConnectionCount, slots
from gateway.server.listeners import Listener
from gateway.telemetry.logging import LogFormat, configure_logging
from gateway.telemetry.report import Report

PATIENCE = 30.0  # seconds, for a supervisor that is busy starting others


@dataclass(frozen=True, slots=True)
class WorkerBriefing:
    """What a worker needs to begin.

    `data` are the bytes of the routes.yaml at `path`. `faults` counts the errors of a later one
    that was not loaded.
    """

    settings: Settings
    own_key: bytes
    path: str
    data: bytes
    faults: int
    log_format: LogFormat
    log_level: str


class Worker:
    """A gateway that is controlled by a supervisor."""

    def __init__(
        self, number: int, connection_count: ConnectionCount, listeners: list[Listener]
    ) -> None:
        self._number = number
        self._connection_count = connection_count
        self._listeners = listeners
        self._gateway: Gateway | None = None
        self._lifecycle = Lifecycle()
        self._is_started = asyncio.Event()
        self._taking = asyncio.Lock()

    async def run(self, sock: socket.socket) -> int:
        """Serve until stopped. Returns the exit code; the supervisor has been sent the error."""
        handlers: Handlers = {
            "accept_at": self._accept_at,
            "take": self._take,
            "faults": self._faults,
            "report": self._report,
            "ping": self._ping,
            "stop": self._stop,
            "force_stop": self._force_stop,
        }
        channel = await Channel.over(sock, handlers)
        serving = asyncio.create_task(self._listen(channel))
        try:
            await self._serve(channel)
        except (ConfigError, StartupError, OSError) as error:
            channel.send("failed", str(error))
            return 1
        except Unanswered:
            return 1
        finally:
            await channel.finish()
            await serving
        return 0

    async def _listen(self, channel: Channel) -> None:
        await channel.serve()
        await self._stop()

    async def _serve(self, channel: Channel) -> None:
        briefing: WorkerBriefing = await channel.ask("brief", within=PATIENCE)
        configure_logging(briefing.log_format, briefing.log_level)
        config = parse(briefing.data, os.environ, briefing.path)
        shared = Shared(
            QuotaRegistry(None, SupervisorLimitStore(channel)),
            self._connection_count,
            self._listeners,
            briefing.own_key,
            SupervisorUsedTokens(channel, config.auth.leeway),
        )
        gateway = self._gateway = Gateway(config, shared, worker=self._number)
        gateway.config_faults = briefing.faults
        if self._lifecycle.is_stopping:
            return
        try:
            await gateway.start()
            self._is_started.set()
            channel.send("ready")
            await self._lifecycle.stopped()
            await gateway.drain(briefing.settings, self._lifecycle)
        finally:
            await gateway.close()

    # Requests of the supervisor

    async def _accept_at(self, listeners: Iterable[int]) -> None:
        if self._gateway is not None:
            await self._gateway.accept_at(listeners)

    async def _take(self, data: bytes, path: str) -> tuple[Fault, ...]:
        """Serve another routes.yaml. Returns the errors that prevent it."""
        gateway = self._gateway
        if gateway is not None and not self._lifecycle.is_stopping:
            await self._is_started.wait()
            try:
                async with self._taking:
                    await gateway.take(await asyncio.to_thread(parse, data, os.environ, path))
            except ConfigError as error:
                return error.faults
        return ()

    async def _faults(self, count: int) -> None:
        if self._gateway is not None:
            self._gateway.config_faults = count

    async def _report(self) -> Report | None:
        return None if self._gateway is None else self._gateway.report()

    async def _ping(self) -> None:
        """Answer, which shows that the event loop does not hang."""

    async def _stop(self) -> None:
        """Begin to drain. A second call changes nothing."""
        if not self._lifecycle.is_stopping:
            self._lifecycle.stop()

    async def _force_stop(self) -> None:
        """End at once."""
        await self._stop()
        self._lifecycle.stop()


def main(arguments: Sequence[str]) -> int:
    """Runs a worker. Returns the exit code.

    The arguments are numbers: the worker's own, the descriptors of its channel and of the shared
    connection count, and for each listener those of its sockets, with commas between them.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    own, channel, count = map(int, arguments[:3])
    listeners: list[Listener] = [
        [socket.socket(fileno=int(each)) for each in at.split(",")] for at in arguments[3:]
    ]
    worker = Worker(own, ConnectionCount(slots(count), own), listeners)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(worker.run(socket.socket(fileno=channel)))
