"""What the ops port answers. It only reads."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from aiohttp import web

from gateway.endpoints import status_page
from gateway.endpoints.health import alive, json_response, readiness
from gateway.endpoints.live_feed import LiveFeed
from gateway.endpoints.stream_list import QueryError, StreamList
from gateway.http.headers import SERVER_NAME
from gateway.http.own_response import OwnResponse
from gateway.telemetry.prometheus import Snapshot
from gateway.telemetry.report import Report

READING = ("GET", "HEAD")
PATHS = ("/", "/healthz", "/readyz", "/metrics", "/streams", "/events")

Reports = Callable[[], Awaitable[list[Report]]]  # of each process, one at least


class Ops:
    """Answers a request on the ops port. `reports` is called for each."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._live_feed = LiveFeed(reports)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Returns the response; 404 for other paths, 405 for other methods than GET and HEAD."""
        path = request.path
        if path not in PATHS and path not in status_page.PATHS:
            return _response(json_response({"paths": list(PATHS)}, 404))
        if request.method not in READING:
            refused = _response(json_response({"methods": list(READING)}, 405))
            refused.headers["Allow"] = ", ".join(READING)
            return refused
        if path == "/healthz":
            return _response(alive())
        if path == "/events":
            return await self._live_feed.serve(request)
        if path in status_page.PATHS:
            return status_page.page(path)
        return await self._report(request)

    async def close(self) -> None:
        """End the event streams of the status page."""
        await self._live_feed.close()

    async def _report(self, request: web.BaseRequest) -> web.Response:
        """Returns what needs the reports of all processes."""
        report = Report.merged(await self._reports())
        if request.path == "/readyz":
            return _response(readiness(report.health))
        if request.path == "/streams":
            return _streams(report, request.query_string)
        return await _metrics(report.snapshot, request.headers.get("Accept", ""))


def _streams(report: Report, query: str) -> web.Response:
    try:
        stream_list = StreamList.of(parse_qsl(query, keep_blank_values=True))
    except QueryError as error:
        return _response(json_response({"detail": str(error)}, 400))
    return _response(json_response(stream_list.answer(report.streams)))


async def _metrics(snapshot: Snapshot, accept: str) -> web.Response:
    """Returns the metrics, in a format that the Accept header names.

    They are rendered in a thread, because with many routes that takes as long as many events.
    """
    body, content_type = await asyncio.to_thread(snapshot.encode, accept)
    headers = {"Cache-Control": "no-store", "Content-Type": content_type, "Server": SERVER_NAME}
    return web.Response(body=body, headers=headers)


def _response(own: OwnResponse) -> web.Response:
    """Returns a response of the public port as one of aiohttp's."""
    headers = [(name.decode(), value.decode()) for name, value in own.headers]
    return web.Response(status=own.status, headers=headers, body=own.body)
