"""The server of the public port: accepts connections, and closes them at the end."""

import asyncio
import socket
import sys
from typing import Any, cast

import structlog

from gateway.config.model import Limits
from gateway.server.admission import Admission
from gateway.server.connection import ClientConnection, Handle, ParsedRequest, Report
from gateway.server.disconnects import DisconnectWatcher
from gateway.telemetry.exchange import Exchange

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

# A task that runs at once, up to its first wait.
_EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class Server:
    """Accepts connections, and answers their requests by a handler.

    The handler of a request is cancelled as soon as its client leaves. `limits` apply to a
    connection from its start to its end; changed ones apply to new connections.
    """

    def __init__(
        self,
        handle: Handle,
        report: Report = Exchange.report,
        limits: Limits | None = None,
        admission: Admission | None = None,
    ) -> None:
        self.handle = handle
        self.limits = limits or Limits()
        self.report = report
        self.admission = admission or Admission()
        self.disconnects = DisconnectWatcher()
        self.connections: set[ClientConnection] = set()

    def serve(self, handle: Handle, limits: Limits) -> None:
        """Answer requests by another handler from now on; new connections have these limits."""
        self.handle, self.limits = handle, limits

    async def accept_at(self, sock: socket.socket, backlog: int) -> asyncio.Server:
        """Accept connections on a socket, until the result is closed."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(self._connection, sock=sock, backlog=backlog)

    def _connection(self) -> asyncio.BaseProtocol:
        """Returns the protocol for a new connection."""
        return cast("asyncio.BaseProtocol", ClientConnection(self))

    def start(self, request: ParsedRequest) -> asyncio.Task[None] | None:
        """Returns the task that answers a request; None if it has answered already."""
        task = asyncio.Task(self._serve(request), loop=request.connection.timer.loop, **_EAGER)
        return None if task.done() else task

    async def _serve(self, request: ParsedRequest) -> None:
        """Answer a request. It is cancelled when the client leaves."""
        connection = request.connection
        try:
            connection.answered(await self.handle(request))
        except ConnectionError:
            connection.reset()
        except Exception:
            log.exception("internal_error")
            connection.failed()

    async def shutdown(self, timeout: float) -> None:  # noqa: ASYNC109 - no error
        """Accept no more requests; end the open exchanges, and close within `timeout` seconds."""
        for connection in list(self.connections):
            connection.close()
        tasks = [each.task for each in self.connections if each.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)
        for task in tasks:
            task.cancel()
        for connection in list(self.connections):
            connection.force_close()
        self.disconnects.close()
