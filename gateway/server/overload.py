"""Answers 503 on a connection over the limit, without reading the request, and closes it."""

import asyncio
from collections.abc import Callable

from gateway.http.errors import TOO_MANY_CONNECTIONS, Rejection
from gateway.http.problem import closing_response
from gateway.telemetry.exchange import Exchange, request_id

# Seconds to send a request, and then to take the response and close.
PATIENCE = 1.0


class OverloadProtocol(asyncio.Protocol):
    """Answers the first bytes with a 503, whatever they are.

    It does not answer earlier, because browsers open connections in advance. It closes when the
    client has closed, or after a second: closing while bytes of the request are unread would reset
    the connection and lose the response.
    """

    def __init__(
        self, transport: asyncio.Transport, report: Callable[[Exchange], None] = Exchange.report
    ) -> None:
        self._transport = transport
        self._report = report
        self._is_answered = False
        self._bound = asyncio.get_running_loop().call_later(PATIENCE, transport.abort)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - nothing in it would help
        """Called by the event loop."""
        if self._is_answered:
            return
        self._is_answered = True
        rejection = Rejection(TOO_MANY_CONNECTIONS)
        exchange = Exchange("", "", request_id(None), "", address_of(self._transport))
        exchange.reject(rejection)
        self._transport.write(closing_response(rejection, exchange.request_id))
        self._transport.write_eof()
        self._report(exchange)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - it is over
        """Called by the event loop."""
        self._bound.cancel()


def address_of(transport: asyncio.Transport) -> str:
    """Returns the address of the client, or "" if there is none."""
    peername = transport.get_extra_info("peername")
    return peername[0] if isinstance(peername, tuple) else ""
