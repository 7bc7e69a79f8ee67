"""The stream: reads the queue of a job and writes each report to the browser as it comes."""

import asyncio

import structlog
from aiohttp import web

from .job import Job, work
from .order import ALLOWED, BadOrderError, parse_order

JOBS = web.AppKey("jobs", set[Job])
_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}

log = structlog.get_logger()


async def stream(request: web.Request) -> web.StreamResponse:
    """Run one job for as long as its watcher stays. A query that it cannot use is a 400."""
    try:
        order = parse_order(request.query)
    except BadOrderError as error:
        return web.json_response({"error": str(error), "allowed": ALLOWED}, status=400)

    job = Job(order)
    request.app[JOBS].add(job)
    response = web.StreamResponse(headers=_HEADERS)
    worker = asyncio.create_task(work(job))
    reason = "client_closed"  # if the browser leaves, this task is cancelled
    try:
        reason = await _relay(job, request, response)
    finally:
        request.app[JOBS].discard(job)
        worker.cancel()
        await asyncio.wait([worker])
        latest = job.latest
        log.info(
            "job_ended",
            job=job.id,
            reason=reason,
            progress=latest.progress,
            step=latest.step,
            message=latest.message,
        )
    return response


async def _relay(job: Job, request: web.Request, response: web.StreamResponse) -> str:
    """Send all reports up to the last one. Returns why it ended, for the log."""
    try:
        await response.prepare(request)
        while True:
            progress = await job.updates.get()
            await response.write(progress.as_event())
            if progress.is_last:
                return progress.status
    except ConnectionResetError:  # the browser left while a report was being written
        return "client_closed"


async def end_streams(app: web.Application) -> None:
    """End every stream, because the service stops."""
    for job in app[JOBS]:
        if not job.latest.is_last:
            job.fail("The service is being restarted")
