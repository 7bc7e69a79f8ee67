"""Active health checks of an upstream (`health_check:` of a route)."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from gateway.background import in_background
from gateway.config.model import HealthCheck, Upstream
from gateway.http.errors import TOO_MANY_CONNECTIONS, Failure, Rejection
from gateway.http.response_parser import Receiver, ResponseHead
from gateway.upstream.connection import Connection

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

JITTER = 0.1  # share of the interval, plus or minus, so that checks do not come together

Connect = Callable[[float | None], Awaitable[Connection]]


class Health:
    """The state that a row of answers leads to. Pure. An upstream is healthy until checks fail."""

    def __init__(self, settings: HealthCheck) -> None:
        self.is_up = True
        self._settings = settings
        self._streak = 0  # consecutive answers against the present state

    def note(self, *, is_well: bool) -> bool:
        """Count an answer. Returns whether it changes the state."""
        if is_well == self.is_up:
            self._streak = 0
            return False
        self._streak += 1
        settings = self._settings
        if self._streak < (settings.healthy_after if is_well else settings.unhealthy_after):
            return False
        self.is_up, self._streak = is_well, 0
        return True


class Answer(Receiver):
    """Receives a whole response; then `fault` says what is wrong with it, if anything."""

    def __init__(self) -> None:
        self.fault = ""
        self.done = asyncio.Event()

    def head(self, head: ResponseHead) -> None:
        """Read the status: 2xx is healthy (RFC 9110 15.3)."""
        if head.status // 100 != 2:  # noqa: PLR2004 - the class of a status
            self.fault = f"it answered {head.status}"

    def complete(self, trailers: list[tuple[bytes, bytes]]) -> None:  # noqa: ARG002 - as its base
        """The response is complete."""
        self.done.set()

    def broken(self, failure: Failure, why: str) -> None:  # noqa: ARG002 - as its base
        """The response is incomplete."""
        self.fault = why
        self.done.set()


class HealthChecker:
    """Checks one upstream, over a new connection each time, from `start` to `stop`."""

    def __init__(self, upstream: Upstream, settings: HealthCheck, connect: Connect) -> None:
        self._upstream = upstream
        self._settings = settings
        self._connect = connect
        self._health = Health(settings)
        self._keeper: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether the upstream may get requests."""
        return self._health.is_up

    def start(self) -> None:
        """Check now and go on. A second call changes nothing."""
        if self._keeper is None:
            self._keeper = in_background(self._keep())

    def stop(self) -> None:
        """Stop checking."""
        if self._keeper is not None:
            self._keeper.cancel()

    async def _keep(self) -> None:
        while True:
            try:
                fault = await self._ask()
            except Exception:
                log.exception("health_check_failed", upstream=self._upstream.url)
            else:
                if fault is not None:
                    self._note(fault)
            jitter = random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
            await asyncio.sleep(self._settings.interval * jitter)

    async def _ask(self) -> str | None:
        """Send one check. Returns what is wrong, if anything, within the timeout.

        Returns None if this process cannot check, which says nothing about the upstream.
        """
        bound = self._settings.timeout
        due = asyncio.get_running_loop().time() + bound
        try:
            connection = await self._connect(bound)
            async with asyncio.timeout_at(due):
                return await self._answer(connection)
        except TimeoutError:
            return f"it did not answer within {bound:g}s"
        except Rejection as rejection:
            return None if rejection.failure is TOO_MANY_CONNECTIONS else rejection.reason

    async def _answer(self, connection: Connection) -> str:
        answer = Answer()
        try:
            connection.start(self._request, answer, is_head=False, has_body=False)
            await answer.done.wait()
        finally:
            connection.abort()
        return answer.fault

    @property
    def _request(self) -> bytes:
        return (
            f"GET {self._settings.path} HTTP/1.1\r\nHost: {self._upstream.authority}\r\n"
            "User-Agent: gateway\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        ).encode()

    def _note(self, fault: str) -> None:
        if not self._health.note(is_well=not fault):
            return
        if fault:
            log.warning("upstream_marked_unhealthy", upstream=self._upstream.url, error=fault)
        else:
            log.info("upstream_marked_healthy", upstream=self._upstream.url)
