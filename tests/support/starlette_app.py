"""A service as others write them: Starlette and sse-starlette. Served by uvicorn in the tests."""

import asyncio
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

PACE = 0.1  # seconds between two events


async def _progress() -> AsyncIterator[ServerSentEvent]:
    for step in range(8):
        yield ServerSentEvent(data=f"step {step}\nof 8 ✓", event="progress", id=str(step))
        await asyncio.sleep(PACE)


async def events(request: Request) -> EventSourceResponse:
    return EventSourceResponse(_progress())


async def _blocks() -> AsyncIterator[bytes]:
    for number in range(200):
        yield bytes([number]) * (number * 37)


async def blocks(request: Request) -> StreamingResponse:
    return StreamingResponse(_blocks(), media_type="application/octet-stream")


async def echo(request: Request) -> JSONResponse:
    body = await request.body()
    query = [list(pair) for pair in request.query_params.multi_items()]
    response = JSONResponse({"query": query, "body": body.decode("latin-1")})
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


app = Starlette(
    routes=[
        Route("/events", events),
        Route("/blocks", blocks),
        Route("/echo", echo, methods=["GET", "POST"]),
    ]
)
