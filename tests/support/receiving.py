"""What the gateway's server makes of the bytes of a request."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from gateway.server.connection import ParsedRequest
from gateway.server.request import Request
from gateway.server.server import Server

PATIENCE = 10.0
Received = Callable[[bytes], Awaitable[Request]]


@asynccontextmanager
async def receiving() -> AsyncIterator[Received]:
    """Takes requests over a real socket, and answers each with nothing."""
    taken: list[Request] = []

    async def take(arrival: ParsedRequest) -> web.StreamResponse:
        taken.append(Request(arrival, []))
        return web.Response()

    runner = web.ServerRunner(Server(take))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()

    async def receive(data: bytes) -> Request:
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        async with asyncio.timeout(PATIENCE):
            writer.write(data)
            await reader.readuntil(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        return taken.pop()

    yield receive
    await runner.cleanup()
