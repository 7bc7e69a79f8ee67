"""The one place that opens connections to services, and keeps idle ones for the next request."""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Iterable

import aiohappyeyeballs

from gateway.config import Upstream
from gateway.errors import UPSTREAM_TIMEOUT, UPSTREAM_UNREACHABLE, Refusal
from gateway.http1 import Connection

# Shorter than the 5 s after which the common service servers (uvicorn, node) close an idle
# connection, so that a request seldom meets one that is just being closed.
IDLE_EXPIRY = 4.0
MAX_IDLE = 64
# RFC 8305 section 8 recommends 250 ms.
HAPPY_EYEBALLS_DELAY = 0.25


class Pool:
    """The connections to one upstream."""

    def __init__(self, upstream: Upstream, tls: ssl.SSLContext | None) -> None:
        self._upstream = upstream
        self._tls = tls if upstream.scheme == "https" else None
        self._idle: deque[tuple[float, Connection]] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    def take_idle(self) -> Connection | None:
        """The idle connection used last, or None."""
        while self._idle:
            _, connection = self._idle.pop()
            if connection.is_fit:
                return connection
            connection.abort()
        return None

    async def connect(self, timeout: float | None) -> Connection:  # noqa: ASYNC109 - told apart
        """A new connection, within `timeout` seconds, or `Refusal` (502 or 504)."""
        try:
            async with asyncio.timeout(timeout):
                return await self._open()
        except TimeoutError:
            raise Refusal(UPSTREAM_TIMEOUT, reason="connect_timeout") from None
        except (OSError, RuntimeError) as error:  # uvloop raises either from a socket
            raise Refusal(UPSTREAM_UNREACHABLE, reason=str(error)) from error

    def release(self, connection: Connection) -> None:
        """Take a connection back after an exchange: kept where another may follow, else closed."""
        if self._is_closed or not connection.is_reusable or len(self._idle) >= MAX_IDLE:
            connection.abort()
            return
        connection.rest()
        loop = asyncio.get_running_loop()
        self._idle.append((loop.time() + IDLE_EXPIRY, connection))
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE_EXPIRY, self._expire)

    def close(self) -> None:
        """Close the idle connections, and keep none from now on. Those in use run to their end."""
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

    async def _open(self) -> Connection:
        loop = asyncio.get_running_loop()
        upstream = self._upstream
        if upstream.scheme == "unix":
            _, connection = await loop.create_unix_connection(Connection, upstream.socket_path)
            return connection
        found = await loop.getaddrinfo(upstream.host, upstream.port, type=socket.SOCK_STREAM)
        sock = await aiohappyeyeballs.start_connection(
            found, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY
        )
        try:
            _, connection = await loop.create_connection(
                Connection,
                sock=sock,
                ssl=self._tls,
                server_hostname=upstream.host if self._tls else None,
            )
        except BaseException:
            sock.close()
            raise
        return connection


class Upstreams:
    """The pools of all upstreams. Certificates are verified against the system's trust store."""

    def __init__(self) -> None:
        self._pools: dict[Upstream, Pool] = {}
        self._tls: ssl.SSLContext | None = None

    def pool(self, upstream: Upstream) -> Pool:
        """The pool of an upstream, made at its first use."""
        pool = self._pools.get(upstream)
        if pool is None:
            if upstream.scheme == "https" and self._tls is None:
                self._tls = ssl.create_default_context()
            pool = self._pools[upstream] = Pool(upstream, self._tls)
        return pool

    def keep(self, upstreams: Iterable[Upstream]) -> None:
        """Close the pools of all others: no new request goes there."""
        for upstream in self._pools.keys() - set(upstreams):
            self._pools.pop(upstream).close()

    def close(self) -> None:
        """Close every idle connection."""
        for pool in self._pools.values():
            pool.close()
