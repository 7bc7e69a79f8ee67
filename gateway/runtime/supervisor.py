"""Several workers on one port: started, reloaded, replaced when they exit or hang, and drained.

The supervisor serves no request of the public port. It holds what the workers share. The sockets
are shared, so that another worker accepts a connection that waits for one that has exited. The
limits and used tokens hold over all workers. The ops port reports the sum.

Why not gunicorn: it restarts workers on reload (streams would end), shares one listening socket,
and has no limits across workers.
"""

import asyncio
import os
import secrets
from typing import Final

import structlog

from gateway.auth.stream_tokens import KEY_SIZE
from gateway.background import in_background
from gateway.config.file_source import Source
from gateway.config.loader import ConfigError, Fault
from gateway.config.model import Config
from gateway.endpoints.ops import Ops
from gateway.runtime.ipc import Unanswered
from gateway.runtime.lifecycle import Lifecycle, StartupError
from gateway.runtime.liveness import until_hung
from gateway.runtime.ports import open_ops_port, open_public_port, ops_runner
from gateway.runtime.reload import Reload, require_same_redis
from gateway.runtime.report_aggregator import ReportAggregator
from gateway.runtime.settings import END_GRACE, Settings
from gateway.runtime.shared_limits import SharedLimits, WorkerClaims
from gateway.runtime.status import ReloadResult
from gateway.runtime.worker import WorkerBriefing
from gateway.runtime.worker_handle import WorkerHandle
from gateway.server.connection_count import shared, slots
from gateway.server.listeners import Listener, close_listeners, port_of
from gateway.telemetry.health import Health, Workers
from gateway.telemetry.logging import LogFormat, log_lines_dropped
from gateway.telemetry.prometheus import RestartReason, Snapshot
from gateway.telemetry.report import Report

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

NOT_A_WORKER: Final = -1  # the number of the supervisor's own report
# Seconds. The replacement of a worker that lived for less is delayed, longer each time.
MIN_LIFE = 10.0
FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
CLOSE_GRACE = 5.0  # seconds that a worker has to close after its streams have ended


class Supervisor:
    """Serves a source with `count` workers until it is stopped."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        count: int,
        *,
        log_format: LogFormat = "json",
        log_level: str = "info",
    ) -> None:
        self._settings = settings
        self._source = source
        self._count = count
        self._logging = (log_format, log_level)
        self._own_key = secrets.token_bytes(KEY_SIZE)
        self._data = b""
        self._config: Config
        self._shared_limits: SharedLimits
        self._listeners: list[Listener] = []
        self._connection_count = -1
        self._handles: list[WorkerHandle] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._lifecycle = Lifecycle()
        self._reload = Reload(source, self._take, self._reloaded)
        self._reloads: dict[str, int] = {"success": 1, "failure": 0}
        self._aggregator = ReportAggregator()
        self._restarts: dict[RestartReason, int] = {"exited": 0, "hung": 0}
        self._status = Ops(self._reports)
        self._ops = ops_runner(self._status)
        self._ops_port = 0

    async def run(self) -> None:
        """Serve until a signal or `stop`, then drain. Raises ConfigError or StartupError."""
        self._config = await self._source.read()
        self._data = self._source.data
        self._shared_limits = SharedLimits(self._config)
        await self._lifecycle.run(self, self._reload.ask)

    def stop(self) -> None:
        """Begin to drain; when called a second time, end at once."""
        self._lifecycle.stop()

    # Start

    async def start(self) -> None:
        """Open the ports and start all workers. Raises StartupError if one cannot start."""
        self._ops_port = await open_ops_port(self._ops, self._settings)
        self._listeners = open_public_port(self._settings, self._count)
        self._connection_count = shared(self._count)
        self._handles = [self._handle(number) for number in range(self._count)]
        starts = asyncio.gather(*(self._begin(handle) for handle in self._handles))
        await self._lifecycle.unless_stopping(starts)
        if self._lifecycle.is_stopping:
            return
        self._keepers = [in_background(self._keep(each)) for each in range(self._count)]
        self._reload.start()
        log.info(
            "listening",
            host=self._settings.host,
            port=port_of(self._listeners[0]),
            ops_port=self._ops_port,
            routes=len(self._config.routes),
            workers=self._count,
        )

    def _handle(self, number: int) -> WorkerHandle:
        return WorkerHandle(number, self._briefing, WorkerClaims(self._shared_limits))

    def _briefing(self) -> WorkerBriefing:
        path = str(self._source.path)
        return WorkerBriefing(
            self._settings,
            self._own_key,
            path,
            self._data,
            len(self._reload.faults),
            *self._logging,
        )

    async def _begin(self, handle: WorkerHandle) -> None:
        await handle.start(self._connection_count, self._listeners)
        if self._lifecycle.is_stopping:
            handle.send("stop")
        self._share_listeners()

    def _share_listeners(self) -> None:
        """Give each worker its own listener, and those of all workers that are gone or hang."""
        if not self._listeners:
            return
        ready = [handle for handle in self._handles if handle.is_ready]
        answering = {handle.number for handle in ready if handle.is_answering}
        orphaned = set(range(self._count)) - answering
        for handle in ready:
            handle.send("accept_at", sorted({handle.number, *orphaned}))

    # Workers

    async def _keep(self, number: int) -> None:
        """Keep a worker in this place until the gateway stops."""
        loop = asyncio.get_running_loop()
        began, delay = loop.time(), 0.0
        while True:
            handle = self._handles[number]
            reason = await self._end_of(handle)
            if self._lifecycle.is_stopping:
                return
            delay = 0.0 if loop.time() - began > MIN_LIFE else delay
            await self._lifecycle.unless_stopping(asyncio.sleep(delay))
            if self._lifecycle.is_stopping:
                return
            began, delay = loop.time(), min(max(2 * delay, FIRST_DELAY), LONGEST_DELAY)
            self._restarts[reason] += 1
            await self._replace(number)

    async def _end_of(self, handle: WorkerHandle) -> RestartReason:
        """Wait for a worker's end, and kill it if it hangs. Returns the reason of the restart."""
        watching = in_background(self._kill_once_hung(handle))
        try:
            code = await handle.ended()
        finally:
            watching.cancel()
        self._lost(handle, code)
        return "hung" if watching.done() else "exited"

    async def _kill_once_hung(self, handle: WorkerHandle) -> None:
        silent = await until_hung(handle, self._share_listeners)
        handle.kill()
        log.error("worker_hung", worker=handle.number, pid=handle.pid, silent_s=round(silent, 1))

    def _lost(self, handle: WorkerHandle, code: int) -> None:
        slots(self._connection_count)[handle.number] = 0
        self._aggregator.keep_counters(handle)
        if handle.pid and not self._lifecycle.is_stopping:
            log.error("worker_exited", worker=handle.number, pid=handle.pid, exit_code=code)
        self._share_listeners()

    async def _replace(self, number: int) -> None:
        handle = self._handles[number] = self._handle(number)
        try:
            await self._begin(handle)
        except StartupError as error:
            log.error("worker_start_failed", worker=number, error=str(error))  # noqa: TRY400 - the text says it
        else:
            log.info("worker_replaced", worker=number, pid=handle.pid)

    async def _take(self, config: Config) -> None:
        """Serve another configuration in all workers, or in none. Raises ConfigError."""
        require_same_redis(config, self._config)
        before, self._data = self._data, self._source.data  # for a worker that starts meanwhile
        self._shared_limits.adopt(config)
        faults = await self._hand_out(self._data)
        if faults:
            self._data = before
            self._shared_limits.adopt(self._config)
            await self._hand_out(before)
            raise ConfigError(faults, config.source)
        self._config = config

    async def _hand_out(self, data: bytes) -> set[Fault]:
        """Pass a configuration to all workers. Returns the errors of those that cannot serve it."""
        path = str(self._source.path)
        taken = await asyncio.gather(
            *(handle.take(data, path) for handle in self._handles), return_exceptions=True
        )
        faults: set[Fault] = set()
        for result in taken:
            if isinstance(result, tuple):
                faults.update(result)
            elif not isinstance(result, Unanswered):  # a replaced worker gets it anyway
                raise result
        return faults

    def _reloaded(self, result: ReloadResult) -> None:
        self._reloads[result] += 1
        self._send_all("faults", len(self._reload.faults))

    # Reports

    async def _reports(self) -> list[Report]:
        """Returns the reports of the workers, and one of what only the supervisor knows."""
        reports, counts = await self._aggregator.collect(self._handles)
        own = Snapshot(
            {},
            {},
            self._reloads.copy(),
            {},
            self._config.digest,
            self._shared_limits.quotas.fallbacks,
            self._shared_limits.quotas.is_shared,
            workers=len(reports),
            restarts=self._restarts.copy(),
            log_lines_dropped=log_lines_dropped(),
        )
        health = Health(
            routes=len(self._config.routes),
            is_draining=self._lifecycle.is_stopping,
            faults=len(self._reload.faults),
            workers=Workers(len(reports), self._count, self._aggregator.silent),
        )
        return [Report(NOT_A_WORKER, Snapshot.merged([own, *counts]), health, (), ()), *reports]

    # End

    async def drain(self) -> None:
        """Drain the workers and close the sockets; then wait within bounds."""
        settings = self._settings
        self._reload.stop()
        log.info("draining", timeout=settings.drain_timeout)
        self._send_all("stop")
        await self._lifecycle.unless_forced(asyncio.sleep(settings.drain_delay))
        close_listeners(self._listeners)
        self._listeners = []
        bound = settings.drain_timeout + END_GRACE + CLOSE_GRACE
        if not await self._lifecycle.unless_forced(self._all_ended(bound)):
            self._send_all("force_stop")
            await self._all_ended(END_GRACE + CLOSE_GRACE)

    def _send_all(self, name: str, *arguments: object) -> None:
        for handle in self._handles:
            handle.send(name, *arguments)

    async def _all_ended(self, bound: float) -> None:
        """Wait until no worker is left, `bound` seconds at most."""
        ended = [asyncio.create_task(handle.ended()) for handle in self._handles]
        if ended:
            await asyncio.wait(ended, timeout=bound)

    async def close(self) -> None:
        """Kill the workers that are left, and close everything."""
        for handle in self._handles:
            handle.kill()
        await asyncio.gather(*(handle.ended() for handle in self._handles), *self._keepers)
        await self._reload.close()
        await self._status.close()
        await self._ops.cleanup()
        close_listeners(self._listeners)
        if self._connection_count >= 0:
            os.close(self._connection_count)
        await self._shared_limits.close()
