"""The gateway's server with a handler of the test's own, and browsers to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from gateway.config.model import Limits
from gateway.server.connection import AlreadySent, ParsedRequest
from gateway.server.server import Server
from tests.support.raw_client import RawClient

PATIENCE = 10.0
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
Served = web.StreamResponse | AlreadySent
Serve = Callable[[web.BaseRequest], Served]


@asynccontextmanager
async def serving(serve: Serve, limits: Limits | None = None) -> AsyncIterator[int]:
    async def handle(arrival: ParsedRequest) -> Served:
        return serve(arrival.request)

    runner = web.ServerRunner(Server(handle, limits=limits))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def browser(port: int, *, receive_buffer: int | None = None) -> AsyncIterator[RawClient]:
    client = await RawClient.connect(port, receive_buffer=receive_buffer)
    try:
        yield client
    finally:
        client.close()


async def said_to(port: int, data: bytes) -> bytes:
    """All that comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(PATIENCE):
        writer.write(data)
        answered = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answered


async def until(is_true: Callable[[], bool]) -> None:
    """Let the loop run until something holds for which there is no event."""
    async with asyncio.timeout(PATIENCE):
        while not is_true():  # noqa: ASYNC110 - what is waited for is the kernel's, without an event
            await asyncio.sleep(0.001)


def malformed(request: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError(request)


def ok(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text=request.path)
