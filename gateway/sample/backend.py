"""The sample progress backend: its routes, and how it is served."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from aiohttp import web

from .login import Login, publish
from .stream import JOBS, end_streams, stream

PAGE = Path(__file__).parent / "page"
PUBLIC_KEY_FILE_VARIABLE = "SAMPLE_PUBLIC_KEY_FILE"
_SHUTDOWN_TIMEOUT = 5.0  # seconds, for browsers that take nothing
_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}

log = structlog.get_logger()


def create_app(login: Login) -> web.Application:
    app = web.Application()
    app[JOBS] = set()
    # A HEAD must not start a job.
    app.router.add_get("/api/v1/process/stream", stream, allow_head=False)
    app.router.add_post("/demo/login", login.answer)
    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/", _page)
    app.router.add_static("/assets", PAGE / "assets")
    app.on_response_prepare.append(_set_common_headers)
    app.on_shutdown.append(end_streams)
    return app


@asynccontextmanager
async def running(login: Login, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serve inside the block and yield the base URL. Port 0 is any free one.

    Raises OSError if the port cannot be opened.
    """
    runner = web.AppRunner(
        create_app(login),
        handler_cancellation=True,  # else a job goes on after its browser has left
        access_log=None,  # it would print the token of a query
        shutdown_timeout=_SHUTDOWN_TIMEOUT,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        address = runner.addresses[0]
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        yield f"http://{shown}:{address[1]}"
    finally:
        await runner.cleanup()


async def serve(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, with a login of its own.

    The public key is written to the file that SAMPLE_PUBLIC_KEY_FILE names, if it is set. Raises
    OSError if that file cannot be written or the port cannot be opened.
    """
    login = Login()
    if path := os.environ.get(PUBLIC_KEY_FILE_VARIABLE):
        publish(login.public_key_pem, Path(path))
    stop = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    async with running(login, host, port) as url:
        log.info("sample_backend_listening", url=url)
        await stop.wait()
    log.info("sample_backend_stopped")


async def _healthz(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _page(_request: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE / "index.html", headers=_PAGE_HEADERS)


async def _set_common_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """No response may be kept by a cache, or be taken for another type."""
    response.headers.setdefault("Cache-Control", "no-cache")
    response.headers["X-Content-Type-Options"] = "nosniff"
