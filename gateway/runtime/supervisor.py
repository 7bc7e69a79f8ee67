"""Several workers on one port: started, told what to do, replaced when they die or hang, and ended.

The supervisor serves no request of the public port. It holds what the workers share: the sockets,
so that a connection that waits at a dead worker's door is taken by another; the limits and used
tokens, which hold over all; and the ops port, which tells the sum.

An own supervisor, as those for aiohttp (gunicorn) restart workers to reload, which ends streams,
have all workers accept from one socket, and know no limit over all.
"""

import asyncio
import os
import secrets
import signal
from collections.abc import Awaitable
from typing import Final

from aiohttp import web

from gateway.auth.stream_tokens import KEY_SIZE
from gateway.background import in_background
from gateway.config.file_source import Source
from gateway.config.loader import ConfigError, Fault
from gateway.config.model import Config
from gateway.endpoints.health import Health, Workers
from gateway.endpoints.ops import Ops
from gateway.runtime.gateway import BACKLOG, END_GRACE, REDIS_STAYS, Settings, StartupError, listen
from gateway.runtime.ipc import Unanswered
from gateway.runtime.liveness import until_hung
from gateway.runtime.reload import Reload
from gateway.runtime.report_aggregator import ReportAggregator
from gateway.runtime.shared_limits import SharedLimits, WorkerClaims
from gateway.runtime.status import ReloadResult
from gateway.runtime.worker import WorkerBriefing
from gateway.runtime.worker_handle import WorkerHandle
from gateway.server.connection_count import shared, slots
from gateway.server.listeners import Listener, open_doors, port_of
from gateway.server.listeners import close as close_doors
from gateway.server.server import Server
from gateway.telemetry.logging import LogFormat, log, log_lines_dropped
from gateway.telemetry.prometheus import RestartReason, Snapshot
from gateway.telemetry.report import Report

NOT_A_WORKER: Final = -1  # the number of the supervisor's own report
# Seconds. A worker that lived for less died young, and the next one waits for longer.
YOUNG = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
CLOSE_GRACE = 5.0  # what a worker may take to close after its streams have ended


class Supervisor:
    """Serves a source with `count` workers until it is told to stop."""

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
        self._commons: SharedLimits
        self._doors: list[Listener] = []
        self._headcount = -1
        self._members: list[WorkerHandle] = []
        self._keepers: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._reload = Reload(source, self._take, self._reloaded)
        self._reloads: dict[str, int] = {"success": 1, "failure": 0}
        self._muster = ReportAggregator()
        self._restarts: dict[RestartReason, int] = {"exited": 0, "hung": 0}
        self._status = Ops(self._reports)
        self._ops = web.ServerRunner(Server(self._status), shutdown_timeout=END_GRACE)
        self._ops_port = 0

    def stop(self) -> None:
        """Begin to drain; asked a second time, end at once."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop`, then drain. Raises ConfigError, OSError or StartupError."""
        self._config = await self._source.read()
        self._data = self._source.data
        self._commons = SharedLimits(self._config)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload.ask)
        try:
            self._ops_port = await listen(self._ops, self._settings.host, self._settings.ops_port)
            self._open()
            await self._start()
            await self._stop.wait()
            await self._drain()
        finally:
            await self._close()

    # The beginning

    def _open(self) -> None:
        settings = self._settings
        try:
            self._doors = open_doors(settings.host, settings.port, self._count, BACKLOG)
        except OSError as error:
            place = f"{settings.host}:{settings.port}"
            raise StartupError(f"cannot listen on {place}: {error.strerror or error}") from None
        self._headcount = shared(self._count)

    async def _start(self) -> None:
        """Start all, and wait for them unless told to stop. One that cannot start ends it all."""
        self._members = [self._member(number) for number in range(self._count)]
        starts = asyncio.gather(*(self._begin(member) for member in self._members))
        await self._unless(self._stop, starts)
        if self._stop.is_set():
            return
        self._keepers = [in_background(self._keep(each)) for each in range(self._count)]
        self._reload.start()
        log.info(
            "listening",
            host=self._settings.host,
            port=port_of(self._doors[0]),
            ops_port=self._ops_port,
            routes=len(self._config.routes),
            workers=self._count,
        )

    def _member(self, number: int) -> WorkerHandle:
        return WorkerHandle(number, self._briefing, WorkerClaims(self._commons))

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

    async def _begin(self, member: WorkerHandle) -> None:
        await member.start(self._headcount, self._doors)
        if self._stop.is_set():
            member.tell("stop")
        self._share_doors()

    def _share_doors(self) -> None:
        """Tell each worker its own door, and all the doors of those who are not there or hang."""
        if not self._doors:
            return
        ready = [member for member in self._members if member.is_ready]
        answering = {member.number for member in ready if member.is_answering}
        orphaned = set(range(self._count)) - answering
        for member in ready:
            member.tell("accept_at", sorted({member.number, *orphaned}))

    # The long middle

    async def _keep(self, number: int) -> None:
        """See that there is a worker in this place, until told to stop."""
        loop = asyncio.get_running_loop()
        began, pause = loop.time(), 0.0
        while True:
            member = self._members[number]
            reason = await self._end_of(member)
            if self._stop.is_set():
                return
            pause = 0.0 if loop.time() - began > YOUNG else pause
            await self._unless(self._stop, asyncio.sleep(pause))
            if self._stop.is_set():
                return
            began, pause = loop.time(), min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
            self._restarts[reason] += 1
            await self._replace(number)

    async def _end_of(self, member: WorkerHandle) -> RestartReason:
        """Wait for a worker's end, and bring it about where it hangs. What it ended for."""
        watching = in_background(self._kill_once_hung(member))
        try:
            code = await member.ended()
        finally:
            watching.cancel()
        self._lost(member, code)
        return "hung" if watching.done() else "exited"

    async def _kill_once_hung(self, member: WorkerHandle) -> None:
        silent = await until_hung(member, self._share_doors)
        member.kill()
        log.error("worker_hung", worker=member.number, pid=member.pid, silent_s=round(silent, 1))

    def _lost(self, member: WorkerHandle, code: int) -> None:
        slots(self._headcount)[member.number] = 0
        self._muster.bury(member)
        if member.pid and not self._stop.is_set():
            log.error("worker_exited", worker=member.number, pid=member.pid, exit_code=code)
        self._share_doors()

    async def _replace(self, number: int) -> None:
        member = self._members[number] = self._member(number)
        try:
            await self._begin(member)
        except StartupError as error:
            log.error("worker_start_failed", worker=number, error=str(error))
        else:
            log.info("worker_replaced", worker=number, pid=member.pid)

    async def _take(self, config: Config) -> None:
        """Have all workers serve by another configuration, or none. Raises ConfigError."""
        if config.limits.redis != self._config.limits.redis:
            raise ConfigError([REDIS_STAYS], config.source)
        before, self._data = self._data, self._source.data  # for one that starts meanwhile
        self._commons.adopt(config)
        faults = await self._hand_out(self._data)
        if faults:
            self._data = before
            self._commons.adopt(self._config)
            await self._hand_out(before)
            raise ConfigError(faults, config.source)
        self._config = config

    async def _hand_out(self, data: bytes) -> set[Fault]:
        """Give a configuration to all workers; the faults of those that cannot take it."""
        path = str(self._source.path)
        taken = await asyncio.gather(
            *(member.take(data, path) for member in self._members), return_exceptions=True
        )
        faults: set[Fault] = set()
        for told in taken:
            if isinstance(told, tuple):
                faults.update(told)
            elif not isinstance(told, Unanswered):  # one that is gone takes it when it is replaced
                raise told
        return faults

    def _reloaded(self, result: ReloadResult) -> None:
        self._reloads[result] += 1
        self._tell("faults", len(self._reload.faults))

    # What is told

    async def _reports(self) -> list[Report]:
        """Those of the workers, and one of what only the supervisor knows."""
        reports, counts = await self._muster.call(self._members)
        own = Snapshot(
            {},
            {},
            self._reloads.copy(),
            {},
            self._config.digest,
            self._commons.quotas.fallbacks,
            self._commons.quotas.is_shared,
            workers=len(reports),
            restarts=self._restarts.copy(),
            log_lines_dropped=log_lines_dropped(),
        )
        health = Health(
            routes=len(self._config.routes),
            is_draining=self._stop.is_set(),
            faults=len(self._reload.faults),
            workers=Workers(len(reports), self._count, self._muster.silent),
        )
        return [Report(NOT_A_WORKER, Snapshot.merged([own, *counts]), health, (), ()), *reports]

    # The end

    async def _drain(self) -> None:
        """As each worker does by itself, and the sockets with them; then bounded waiting."""
        settings = self._settings
        self._reload.stop()
        log.info("draining", timeout=settings.drain_timeout)
        self._tell("stop")
        await self._unless(self._hurry, asyncio.sleep(settings.drain_delay))
        close_doors(self._doors)
        self._doors = []
        bound = settings.drain_timeout + END_GRACE + CLOSE_GRACE
        if not await self._unless(self._hurry, self._all_ended(bound)):
            self._tell("hurry")
            await self._all_ended(END_GRACE + CLOSE_GRACE)

    def _tell(self, name: str, *arguments: object) -> None:
        for member in self._members:
            member.tell(name, *arguments)

    async def _all_ended(self, bound: float) -> None:
        """Wait until no worker is left, `bound` seconds at most."""
        ended = [asyncio.create_task(member.ended()) for member in self._members]
        if ended:
            await asyncio.wait(ended, timeout=bound)

    async def _close(self) -> None:
        """End whoever is left, and let go of everything."""
        for member in self._members:
            member.kill()
        await asyncio.gather(*(member.ended() for member in self._members), *self._keepers)
        await self._reload.close()
        await self._status.close()
        await self._ops.cleanup()
        close_doors(self._doors)
        if self._headcount >= 0:
            os.close(self._headcount)
        await self._commons.close()
        log.info("stopped")

    async def _unless(self, event: asyncio.Event, waiting: Awaitable[object]) -> bool:
        """Wait for something, but not past an event. Whether it came about; raises what it did."""
        work, bell = asyncio.ensure_future(waiting), asyncio.create_task(event.wait())
        try:
            await asyncio.wait([work, bell], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            return work.done()
        finally:
            work.cancel()
            bell.cancel()
