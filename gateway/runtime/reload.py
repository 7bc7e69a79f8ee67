"""Reload: a changed routes.yaml is loaded while the gateway runs, or changes nothing at all."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from gateway.background import in_background
from gateway.config.file_source import Source
from gateway.config.loader import ConfigError, Fault
from gateway.config.model import Config
from gateway.runtime.status import ReloadResult

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

_BROKEN = Fault(0, 0, "a fault of the gateway's own: its log has the whole of it")


class Reload:
    """Reads the source again when asked or when it has changed, one time after another.

    `faults` are the errors of the last file that was not loaded; none if the present file is
    served.
    """

    def __init__(
        self,
        source: Source,
        take: Callable[[Config], Awaitable[None]],
        count: Callable[[ReloadResult], None],
    ) -> None:
        """`take` serves a configuration, or raises ConfigError and has changed nothing.

        `count` is called with each result.
        """
        self.faults: tuple[Fault, ...] = ()
        self._source, self._take, self._count = source, take, count
        self._asked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Watch the source and wait for requests, until `close`."""
        self._tasks = [in_background(self._watch()), in_background(self._serve())]

    def ask(self) -> None:
        """Read the source again, whether it has changed or not."""
        self._asked.set()

    def stop(self) -> None:
        """Reload no more. A running reload is cancelled, unless it is done."""
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Stop, and wait for the end."""
        self.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self) -> None:
        async for _ in self._source.changes():
            self.ask()

    async def _serve(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._reload()

    async def _reload(self) -> None:
        try:
            config = await self._source.read()
            await self._take(config)
        except ConfigError as error:
            self._refuse(error)
        except Exception:
            log.exception("reload_crashed")
            self._refuse(ConfigError([_BROKEN], str(self._source.path)))
        else:
            self.faults = ()
            self._count("success")
            log.info("reloaded", routes=len(config.routes))

    def _refuse(self, error: ConfigError) -> None:
        self.faults = error.faults
        self._count("failure")
        log.error("reload_failed", errors=str(error).splitlines())


def require_same_redis(config: Config, before: Config) -> None:
    """Raises ConfigError if a reload would change `limits.redis`."""
    if config.limits.redis != before.limits.redis:
        fault = Fault(0, 0, "limits.redis cannot be changed by a reload: restart the gateway")
        raise ConfigError([fault], config.source)
