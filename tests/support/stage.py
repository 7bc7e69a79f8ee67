"""A stage for pipes: a real browser's connection at one end, and the test as the service."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from gateway.config.model import Timeouts
from gateway.http.header_edits import Edits
from gateway.http.message_heads import Reply
from gateway.http.own_response import OwnResponse
from gateway.http.problem import problem_response
from gateway.http.response_parser import ResponseHead
from gateway.proxy.event_stream_pump import EventStreamPump, StreamTerms
from gateway.proxy.response_pump import ResponsePump
from gateway.server.connection import AlreadySent, ParsedRequest
from gateway.server.server import Server
from gateway.telemetry.exchange import EndReason, Exchange
from gateway.upstream.connection import Connection
from tests.support.raw_client import RawClient, Response
from tests.support.serving import running

PATIENCE = 10.0
UNBOUNDED = Timeouts(None, None, None, None, None, None)
STREAM = ResponseHead(
    200, b"OK", [(b"Content-Type", b"text/event-stream")], has_body=True, has_length=False
)


class Stage:
    """A pipe to a real browser's connection, where the test plays the service."""

    pipe: ResponsePump
    exchange: Exchange
    ended: asyncio.Future[None]

    def __init__(
        self, timeouts: Timeouts, terms: StreamTerms | None, *, expects_continue: bool
    ) -> None:
        self.is_set = asyncio.Event()
        self.is_over = asyncio.Event()
        self._timeouts = timeouts
        self._terms = terms
        self._expects_continue = expects_continue

    async def handle(self, arrival: ParsedRequest) -> OwnResponse | AlreadySent:
        browser = arrival.connection
        edits = Edits.of()
        is_http_11 = arrival.head.is_http_11
        reply = Reply(is_http_11, True, self._expects_continue, False, "id-1", edits)
        self.exchange = Exchange("GET", "/", "id-1", "", "")
        self.pipe = (
            ResponsePump(browser, self.exchange, reply, self._timeouts)
            if self._terms is None
            else EventStreamPump(browser, self.exchange, reply, self._timeouts, self._terms)
        )
        self.ended = self.pipe.attach(Connection(), is_repeatable=False)
        self.is_set.set()
        try:
            await self.ended
        finally:
            self.pipe.close()
            self.is_over.set()
        if self.pipe.rejection is not None:
            self.exchange.reject(self.pipe.rejection)
            return problem_response(self.pipe.rejection, self.exchange.request_id)
        return AlreadySent(keep_alive=self.pipe.keep_alive)


Open = Callable[..., Awaitable[tuple[Stage, RawClient]]]


@asynccontextmanager
async def stages() -> AsyncIterator[Open]:
    """Opens stages, and closes them all."""

    async def open_one(
        timeouts: Timeouts = UNBOUNDED,
        terms: StreamTerms | None = None,
        *,
        version: str = "1.1",
        expects_continue: bool = False,
        receive_buffer: int | None = None,
    ) -> tuple[Stage, RawClient]:
        stage = Stage(timeouts, terms, expects_continue=expects_continue)
        port = await stack.enter_async_context(running(Server(stage.handle), 0.1))
        client = await RawClient.connect(port, receive_buffer=receive_buffer)
        stack.callback(client.close)
        await client.send(f"GET / HTTP/{version}\r\nHost: h\r\n\r\n".encode())
        async with asyncio.timeout(PATIENCE):
            await stage.is_set.wait()
        return stage, client

    async with AsyncExitStack() as stack:
        yield open_one


async def response_of(client: RawClient) -> Response:
    """The whole response, however it ended."""
    await client.head()
    return await client.rest()


async def over(stage: Stage) -> EndReason | None:
    async with asyncio.timeout(PATIENCE):
        await stage.is_over.wait()
    return stage.exchange.end_reason
