"""The gateway's server with a handler of the test's own, and browsers to it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.config.model import Limits
from gateway.http.own_response import OwnResponse
from gateway.server.connection import AlreadySent, ParsedRequest
from gateway.server.server import Server
from tests.support.raw_client import RawClient
from tests.support.routes import listener, port_of

PATIENCE = 10.0
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
Served = OwnResponse | AlreadySent
Serve = Callable[[ParsedRequest], Served]


@asynccontextmanager
async def serving(serve: Serve, limits: Limits | None = None) -> AsyncIterator[int]:
    async def handle(arrival: ParsedRequest) -> Served:
        return serve(arrival)

    async with running(Server(handle, limits=limits)) as port:
        yield port


@asynccontextmanager
async def running(server: Server, grace: float = 1.0) -> AsyncIterator[int]:
    """Run a server inside the block, and give its port; requests have `grace` seconds to end."""
    taken = listener()
    port = port_of(taken)
    accepting = await server.accept_at(taken, 128)
    try:
        yield port
    finally:
        accepting.close()
        await server.shutdown(grace)


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


def malformed(request: ParsedRequest) -> Served:
    raise AssertionError(request)


def ok(request: ParsedRequest) -> Served:
    body = request.head.target
    request.connection.send(OwnResponse(200, [], body).to_bytes(is_last=False))
    return AlreadySent(keep_alive=True)
