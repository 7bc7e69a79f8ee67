"""aiohttp's server, with client connections of our own class."""

import asyncio

from aiohttp import web

from gateway.config.model import Limits
from gateway.server.admission import Admission
from gateway.server.connection import ClientConnection, Handle, Report
from gateway.server.disconnects import DisconnectWatcher
from gateway.telemetry.exchange import Exchange

MAX_HEADERS = 256


class Server(web.Server):
    """aiohttp's server, with a handler that is cancelled as soon as its client leaves.

    `limits` apply to a connection from its start to its end; changed ones apply to new connections.
    """

    def __init__(
        self,
        handle: Handle,
        report: Report = Exchange.report,
        limits: Limits | None = None,
        admission: Admission | None = None,
    ) -> None:
        super().__init__(_unused)
        self.handle = handle
        self.limits = limits or Limits()
        self._admission = admission or Admission()
        self._disconnects = DisconnectWatcher()
        self._report = report

    def serve(self, handle: Handle, limits: Limits) -> None:
        """Answer requests by another handler from now on; new connections have these limits."""
        self.handle, self.limits = handle, limits

    def __call__(self) -> ClientConnection:
        """Returns the protocol for a new connection."""
        connection = ClientConnection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type] # aiohttp's own way to have none
            auto_decompress=False,  # a body is forwarded as it came
            keepalive_timeout=0,  # the connection's own timer has that limit
            max_line_size=self.limits.max_header_size,
            max_field_size=self.limits.max_header_size,
            max_headers=MAX_HEADERS,
        )
        connection.bind(self, self._disconnects, self._report, self.limits, self._admission)
        return connection

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - aiohttp's own
        """Close every connection, after `timeout` seconds at the latest."""
        await super().shutdown(timeout)
        self._disconnects.close()


async def _unused(request: web.BaseRequest) -> web.StreamResponse:
    """Aiohttp needs a handler of its own requests, which nothing here calls."""
    raise NotImplementedError(request)
