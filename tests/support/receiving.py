"""What the gateway's server makes of the bytes of a request."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gateway.config.model import MAX_HEADER_SIZE, Limits
from gateway.http.own_response import OwnResponse
from gateway.server.connection import ParsedRequest
from gateway.server.request import Request
from gateway.server.server import Server
from tests.support.serving import running

PATIENCE = 10.0
# Over the limit of the configuration, which a reload may have lowered since.
LIMITS = Limits(max_header_size=2 * MAX_HEADER_SIZE)
Received = Callable[[bytes], Awaitable[Request]]


@asynccontextmanager
async def receiving() -> AsyncIterator[Received]:
    """Takes requests over a real socket, and answers each with nothing."""
    taken: list[Request] = []

    async def take(arrival: ParsedRequest) -> OwnResponse:
        taken.append(Request(arrival, []))
        return OwnResponse(200, [])

    async def receive(data: bytes) -> Request:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(PATIENCE):
            writer.write(data)
            await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        return taken.pop()

    async with running(Server(take, limits=LIMITS)) as port:
        yield receive
