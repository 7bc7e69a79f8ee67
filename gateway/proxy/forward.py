"""Forwards one request to an upstream: connect, send, retry where that is safe."""

import asyncio
import random
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import structlog

from gateway.auth.service import Redemption
from gateway.config.model import Route
from gateway.http.chunked import LAST_CHUNK
from gateway.http.errors import INTERNAL_ERROR, TRANSIENT, UPSTREAM_TIMEOUT, Rejection
from gateway.http.message_heads import RequestHead
from gateway.proxy.response_pump import ResponsePump
from gateway.server.request import Request, over
from gateway.upstream.connection import Connection
from gateway.upstream.load_balancer import Candidate, LoadBalancer

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # RFC 9110 9.2.2
PAUSE = 0.05  # seconds at most before a retry at the same upstream: a restart takes a moment
_SENT = RequestHead("", b"", b"", [])


@dataclass(slots=True)
class Forwarder:
    """One exchange with an upstream: `head` is the request, `pump` takes the response."""

    request: Request
    route: Route
    head: RequestHead
    pump: ResponsePump
    load_balancer: LoadBalancer

    async def run(self) -> None:
        """Forward the request, to whatever end. Raises Rejection if no connection can be made.

        The request is sent again if it can have had no effect: no connection could be made, or an
        idle one was closed at the moment of its use.
        """
        left = self.route.retries
        candidate = self.load_balancer.pick()
        connection = None if self.request.is_websocket else candidate.pool.take_idle()
        tried: tuple[Candidate, ...] = ()
        while True:
            self.request.exchange.upstream = candidate.url
            candidate.health.open_exchanges += 1
            try:
                if connection is not None:
                    await self._over(
                        connection, candidate, is_repeatable=left > 0 and self._is_safe
                    )
                else:
                    connection = await self._connect(candidate, left)
                    if connection is not None:
                        await self._over(connection, candidate, is_repeatable=False)
                if connection is not None and not self.pump.was_stale:
                    return
            finally:
                candidate.health.open_exchanges -= 1
            left -= 1
            tried = (*tried, candidate)
            candidate = await self._another(tried, is_hasty=connection is not None)
            connection = None

    async def run_once(self, redeemed: AbstractAsyncContextManager[Redemption]) -> None:
        """Forward for a one-use token, which stays valid if no upstream answered.

        The client can then send the same URL again.
        """
        async with redeemed as use:
            await self.run()
            if self.status in TRANSIENT:
                use.give_back()

    @property
    def status(self) -> int:
        """The status of the response or of the rejection."""
        rejection = self.pump.rejection
        return self.request.exchange.status if rejection is None else int(rejection.failure.status)

    @property
    def _is_safe(self) -> bool:
        """Whether it does no harm if an upstream gets the request twice."""
        return not self.request.has_body and self.request.method in IDEMPOTENT

    async def _connect(self, candidate: Candidate, left: int) -> Connection | None:
        """Returns a new connection; None if there is none and another attempt is left."""
        connect_timeout = self.route.timeouts.connect
        bound = self.pump.seconds_left(connect_timeout)
        try:
            return await candidate.pool.connect(bound)
        except Rejection as rejection:
            is_late = rejection.failure is UPSTREAM_TIMEOUT
            if is_late and bound == connect_timeout:
                candidate.pool.connect_timed_out()
            # A single upstream that does not accept in time is not tried twice.
            if left == 0 or (is_late and self.load_balancer.is_alone) or not self.pump.has_time:
                raise
            return None

    async def _another(self, tried: tuple[Candidate, ...], *, is_hasty: bool) -> Candidate:
        candidate = self.load_balancer.pick(tried)
        if candidate in tried and not is_hasty:
            await asyncio.sleep(PAUSE * random.uniform(0.5, 1))  # noqa: S311 - no secret
        return candidate

    async def _over(
        self, connection: Connection, candidate: Candidate, *, is_repeatable: bool
    ) -> None:
        ended = self.pump.attach(connection, is_repeatable=is_repeatable)
        upload: asyncio.Task[None] | None = None
        try:
            if ended.done():  # its time was over while the connection was made
                return
            has_body = self.request.has_body
            is_head = self.request.method == "HEAD"
            head = self.head.to(candidate.base, candidate.host)
            connection.start(head, self.pump, is_head=is_head, has_body=has_body)
            if not is_repeatable:
                self.head, head = _SENT, b""  # a stream may go on for hours
            if has_body:
                self.pump.owes_body = True
                upload = asyncio.create_task(self._upload(connection))
            await ended
        finally:
            candidate.pool.release(connection)
            if upload is not None:
                upload.cancel()
                await asyncio.wait([upload])  # the next reader of the body must be alone

    async def _upload(self, connection: Connection) -> None:
        """Forward the request body as it comes, under the upstream's backpressure."""
        exchange, pump, limit = self.request.exchange, self.pump, self.route.max_body
        is_chunked = self.request.is_chunked
        try:
            while data := await self._next_bytes():
                exchange.bytes_in = self.request.content.size
                if exchange.bytes_in > limit:
                    pump.refuse(over(limit))
                    return
                connection.write(data)
                if (writable := connection.writable()) is not None:
                    await writable
        except ConnectionError:
            return  # the client is gone, and the handler is being cancelled
        except Exception:
            log.exception("upload_failed", request_id=exchange.request_id)
            pump.refuse(Rejection(INTERNAL_ERROR))
            return
        if is_chunked:
            connection.write(LAST_CHUNK)
        connection.finish_request()

    async def _next_bytes(self) -> bytes:
        """Returns the next bytes of the body; empty at its end."""
        content = self.request.content
        self.pump.await_client(is_awaited=True)
        if (waiting := content.waiting()) is not None:
            await waiting
        data = content.take()
        self.pump.await_client(is_awaited=False)
        self.pump.owes_body = not content.is_read
        return data
