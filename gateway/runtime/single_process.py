"""A gateway in one process, with its own ports, signals and reload."""

import asyncio

import structlog

from gateway.config.file_source import Source
from gateway.config.model import Config
from gateway.endpoints.ops import Ops
from gateway.runtime.gateway import Gateway, Shared
from gateway.runtime.lifecycle import Lifecycle
from gateway.runtime.ports import open_ops_port, open_public_port, ops_runner
from gateway.runtime.reload import Reload
from gateway.runtime.settings import Settings
from gateway.runtime.status import ReloadResult
from gateway.server.listeners import port_of
from gateway.telemetry.report import Report

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")


class SingleProcess:
    """Serves a configuration on two ports until it is stopped.

    With the `source` of the configuration, it reloads on SIGHUP and when the source has changed.
    """

    def __init__(self, config: Config, settings: Settings, source: Source | None = None) -> None:
        self._settings = settings
        self._lifecycle = Lifecycle()
        self._shared = Shared.alone(config)
        self._gateway = Gateway(config, self._shared)
        self._gateway.metrics.reloaded("success")
        self._reload: Reload | None = None
        if source is not None:
            self._reload = Reload(source, self._gateway.take, self._reloaded)
            self._gateway.config_faults = 0
        self._ops = Ops(self._reports)
        self._ops_runner = ops_runner(self._ops)
        self.started = asyncio.Event()
        self.port = self.ops_port = 0

    async def run(self) -> None:
        """Serve until a signal or `stop`, then drain and close. Raises StartupError."""
        await self._lifecycle.run(self, None if self._reload is None else self._reload.ask)

    def stop(self) -> None:
        """Begin to drain; when called a second time, end at once."""
        self._lifecycle.stop()

    async def start(self) -> None:
        """Open both ports. Raises StartupError."""
        settings = self._settings
        await self._gateway.start()
        if self._reload is not None:
            self._reload.start()
        self.ops_port = await open_ops_port(self._ops_runner, settings)
        self._shared.listeners.extend(open_public_port(settings, 1))
        self.port = port_of(self._shared.listeners[0])
        await self._gateway.accept_at([0])
        self.started.set()
        log.info(
            "listening",
            host=settings.host,
            port=self.port,
            ops_port=self.ops_port,
            routes=self._gateway.route_count,
        )

    async def drain(self) -> None:
        """Accept nothing more and wait for open exchanges, within bounds."""
        settings = self._settings
        if self._reload is not None:
            self._reload.stop()
        log.info("draining", streams=self._gateway.open_exchanges, timeout=settings.drain_timeout)
        await self._gateway.drain(settings, self._lifecycle)

    async def close(self) -> None:
        """Close both ports and every connection."""
        if self._reload is not None:
            await self._reload.close()
        await self._gateway.close()
        await self._ops.close()
        await self._ops_runner.cleanup()

    async def _reports(self) -> list[Report]:
        return [self._gateway.report()]

    def _reloaded(self, result: ReloadResult) -> None:
        self._gateway.metrics.reloaded(result)
        if self._reload is not None:
            self._gateway.config_faults = len(self._reload.faults)
