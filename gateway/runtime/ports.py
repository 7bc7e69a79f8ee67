"""The two ports of a gateway, opened with errors that name the address."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.runtime.lifecycle import StartupError
from gateway.runtime.settings import BACKLOG, END_GRACE, Settings
from gateway.server.listeners import Listener, open_listeners


def ops_runner(
    handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> web.ServerRunner:
    """Returns the server of the ops port, which is one of aiohttp."""
    server = web.Server(handle, access_log=None, handler_cancellation=True)
    return web.ServerRunner(server, shutdown_timeout=END_GRACE)


async def open_ops_port(runner: web.ServerRunner, settings: Settings) -> int:
    """Opens the ops port and returns its number. Raises StartupError."""
    await runner.setup()
    host, port = settings.host, settings.ops_port
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
    except OSError as error:
        raise _not_opened(host, port, error) from None
    return int(runner.addresses[0][1])


def open_public_port(settings: Settings, count: int) -> list[Listener]:
    """Opens the public port once for each of `count` processes. Raises StartupError."""
    try:
        return open_listeners(settings.host, settings.port, count, BACKLOG)
    except OSError as error:
        raise _not_opened(settings.host, settings.port, error) from None


def _not_opened(host: str, port: int, error: OSError) -> StartupError:
    return StartupError(f"cannot listen on {host}:{port}: {error.strerror or error}")
