"""Connect and pipe: one request to a service, and its response back to the browser."""

import asyncio
from dataclasses import dataclass

from gateway.config import Route
from gateway.errors import INTERNAL_ERROR, Refusal
from gateway.http1 import Connection
from gateway.incoming import Incoming, over
from gateway.logs import log
from gateway.pipe import Pipe
from gateway.upstream import Pool

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})  # RFC 9110 9.2.2


@dataclass(slots=True)
class Relay:
    """One exchange with a service: the request `head` is ready, the `pipe` takes the response."""

    incoming: Incoming
    route: Route
    head: bytes
    pipe: Pipe
    pool: Pool

    async def run(self) -> None:
        """Do it, to whatever end. Raises `Refusal` where no connection can be made."""
        self.incoming.exchange.upstream = self.route.upstream.url
        idle = self.pool.take_idle()
        if idle is not None:
            # The service may close an idle connection just when it is used: no fault of anyone's.
            is_repeatable = not self.incoming.has_body and self.incoming.method in IDEMPOTENT
            await self._over(idle, is_repeatable=is_repeatable)
            if not self.pipe.was_stale:
                return
        bound = self.pipe.seconds_left(self.route.timeouts.connect)
        await self._over(await self.pool.connect(bound), is_repeatable=False)

    async def _over(self, connection: Connection, *, is_repeatable: bool) -> None:
        ended = self.pipe.attach(connection, is_repeatable=is_repeatable)
        upload: asyncio.Task[None] | None = None
        try:
            if ended.done():  # its time ran out while the connection was made
                return
            has_body = self.incoming.has_body
            is_head = self.incoming.method == "HEAD"
            connection.start(self.head, self.pipe, is_head=is_head, has_body=has_body)
            if not is_repeatable:
                self.head = b""  # a stream may go on for hours
            if has_body:
                self.pipe.owes_body = True
                upload = asyncio.create_task(self._upload(connection))
            await ended
        finally:
            if upload is not None:
                upload.cancel()
            self.pool.release(connection)

    async def _upload(self, connection: Connection) -> None:
        """Send the request body on as it comes, under the service's backpressure."""
        exchange, pipe, limit = self.incoming.exchange, self.pipe, self.route.max_body
        is_chunked = self.incoming.is_chunked
        try:
            while data := await self._next_bytes():
                exchange.bytes_in += len(data)
                if exchange.bytes_in > limit:
                    pipe.refuse(over(limit))
                    return
                connection.write(b"%x\r\n%b\r\n" % (len(data), data) if is_chunked else data)
                if (writable := connection.writable()) is not None:
                    await writable
        except ConnectionError:
            return  # the browser left: the handler is being cancelled for it
        except Exception:  # noqa: BLE001 - nobody awaits this task: here its fault is told
            log.exception("upload_failed", request_id=exchange.request_id)
            pipe.refuse(Refusal(INTERNAL_ERROR))
            return
        if is_chunked:
            connection.write(b"0\r\n\r\n")
        connection.finish_request()

    async def _next_bytes(self) -> bytes:
        """What came of the body since the last call; empty at its end."""
        content = self.incoming.request.content
        self.pipe.await_client(is_awaited=True)
        data = await content.readany()
        self.pipe.await_client(is_awaited=False)
        self.pipe.owes_body = not content.is_eof()
        return data
