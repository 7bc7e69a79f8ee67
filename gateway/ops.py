"""What the ops port answers. It reads, and has no way to change anything."""

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.accept import Arrival
from gateway.answer import SERVER, told
from gateway.exposition import Snapshot
from gateway.health import alive, readiness
from gateway.report import Report

READING = ("GET", "HEAD")
PATHS = ("/healthz", "/readyz", "/metrics")

Reports = Callable[[], Awaitable[list[Report]]]  # of each process, one at least


class Ops:
    """Answers a request on the ops port. `reports` are asked for anew each time."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def __call__(self, arrival: Arrival) -> web.StreamResponse:
        """Answer what is asked for; 404 for what is not there, 405 for what would change it."""
        request = arrival.request
        if request.path not in PATHS:
            return told({"paths": list(PATHS)}, 404)
        if request.method not in READING:
            refused = told({"methods": list(READING)}, 405)
            refused.headers["Allow"] = ", ".join(READING)
            return refused
        if request.path == "/healthz":
            return alive()
        report = Report.merged(await self._reports())
        if request.path == "/readyz":
            return readiness(report.health)
        return await _metrics(report.snapshot, request.headers.get("Accept", ""))


async def _metrics(snapshot: Snapshot, accept: str) -> web.Response:
    """What a scraper reads, in a format that its Accept header names.

    It is put into words in a thread: with many routes that takes as long as many events.
    """
    body, content_type = await asyncio.to_thread(snapshot.encode, accept)
    headers = {"Cache-Control": "no-store", "Content-Type": content_type, "Server": SERVER}
    return web.Response(body=body, headers=headers)
