"""Opens connections to upstreams, and keeps idle ones for the next request."""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Sequence
from typing import TypeVar

import structlog

from gateway.config.model import Upstream
from gateway.dns import Address, Resolver, numeric
from gateway.http.errors import (
    TOO_MANY_CONNECTIONS,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNREACHABLE,
    Rejection,
)
from gateway.open_files import OpenFiles
from gateway.upstream.connection import Connection
from gateway.upstream.dial import dial
from gateway.upstream.passive_health import PassiveHealth

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

# Shorter than the 5 s after which common servers (uvicorn, node) close an idle connection. So a
# request seldom gets one that is just being closed.
IDLE_EXPIRY = 4.0
MAX_IDLE = 64

T = TypeVar("T")


class Pool:
    """The connections to one upstream, and its passive health.

    New connections go to all addresses of its name in turn, as the resolver knows them at that
    moment, so that changed addresses are followed.
    """

    def __init__(
        self,
        upstream: Upstream,
        tls: ssl.SSLContext | None,
        files: OpenFiles | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.health = PassiveHealth()
        self._resolver = resolver or Resolver()
        address = numeric(upstream.host)
        self._numeric = () if address is None else (address,)
        self._files = files or OpenFiles()
        self._upstream = upstream
        self._turn = 0
        self._tls = tls if upstream.scheme == "https" else None
        self._idle: deque[tuple[float, Connection]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    def take_idle(self) -> Connection | None:
        """Returns the idle connection that was used last, or None."""
        while self._idle:
            _, connection = self._idle.pop()
            if connection.is_fit:
                return connection
            connection.abort()
        return None

    async def connect(self, timeout: float | None) -> Connection:  # noqa: ASYNC109 - a 504
        """Returns a new connection, within `timeout` seconds. Raises Rejection (502, 503 or 504).

        The caller decides whether a timeout is a failure of the upstream: see `connect_timed_out`.
        """
        try:
            async with asyncio.timeout(timeout):
                connection = await self._open()
        except TimeoutError:
            raise Rejection(UPSTREAM_TIMEOUT, reason="connect_timeout") from None
        except (OSError, RuntimeError) as error:  # uvloop raises either from a socket
            if self._files.caused(error):  # this is no failure of the upstream
                raise Rejection(TOO_MANY_CONNECTIONS, reason="too many open files") from error
            self._note_failure(str(error))
            raise Rejection(UPSTREAM_UNREACHABLE, reason=str(error)) from error
        self._note_success()
        return connection

    def connect_timed_out(self) -> None:
        """Count a failure, because the upstream had the whole connect timeout."""
        self._note_failure("connect_timeout")

    def release(self, connection: Connection) -> None:
        """Take a connection back after an exchange: kept if another may follow, else closed."""
        if self._is_closed or not connection.is_reusable or len(self._idle) >= MAX_IDLE:
            connection.abort()
            return
        connection.rest()
        self._note_success()
        loop = asyncio.get_running_loop()
        self._idle.append((loop.time() + IDLE_EXPIRY, connection))
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE_EXPIRY, self._expire)

    def close(self) -> None:
        """Close the idle connections, and keep none from now on. Connections in use go on."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        while self._idle:
            self._idle.pop()[1].abort()

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        while self._idle and self._idle[0][0] <= loop.time():
            self._idle.popleft()[1].abort()
        self._sweep = loop.call_at(self._idle[0][0], self._expire) if self._idle else None

    def _note_failure(self, why: str) -> None:
        seconds = self.health.connect_failed(time.monotonic())
        if seconds is not None:
            log.warning(
                "upstream_ejected",
                upstream=self._upstream.url,
                error=why,
                for_s=round(seconds, 3),
                failures=self.health.failures,
            )

    def _note_success(self) -> None:
        if self.health.is_failing and self.health.connected():
            log.info("upstream_recovered", upstream=self._upstream.url)

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        upstream = self._upstream
        if upstream.scheme == "unix":
            _, connection = await loop.create_unix_connection(Connection, upstream.socket_path)
            return connection
        addresses = self._numeric or await self._resolver.addresses(upstream.host)
        server_name = upstream.host if self._tls else None
        if len(addresses) == 1:
            _, connection = await loop.create_connection(
                Connection,
                addresses[0].host,
                upstream.port,
                ssl=self._tls,
                server_hostname=server_name,
            )
            return connection
        self._turn += 1
        sock = await dial(in_turn(addresses, self._turn), upstream.port)
        try:
            _, connection = await loop.create_connection(
                Connection, sock=sock, ssl=self._tls, server_hostname=server_name
            )
        except BaseException:
            sock.close()
            raise
        return connection


def in_turn(addresses: Sequence[Address], turn: int) -> list[Address]:
    """Returns addresses with those of each family in turn; the resolver orders the families.

    It prefers a family for a reason (RFC 6724), but the first address of it for none.
    """
    families: dict[int, list[Address]] = {}
    for each in addresses:
        families.setdefault(each.family, []).append(each)
    return [each for alike in families.values() for each in _rotated(alike, turn)]


def _rotated(items: list[T], turn: int) -> list[T]:
    start = turn % len(items)
    return items[start:] + items[:start]
