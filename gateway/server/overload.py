"""A connection too many: its request is told so, without being read, and the connection closed."""

import asyncio
from collections.abc import Callable

from gateway.http.errors import TOO_MANY_CONNECTIONS, Rejection
from gateway.http.problem import closing_response
from gateway.telemetry.exchange import Exchange, request_id

# How long it may take to send a request, and then to take the answer and close.
PATIENCE = 1.0


class OverloadProtocol(asyncio.Protocol):
    """Answers the first bytes that come with a 503, whatever they are.

    Not before: a browser has no use for an answer on a connection that it opened to have one ready.
    And the connection is closed only when the browser did that, or in a second: to close it while
    bytes of the request lie unread would reset it, and cost the browser the answer.
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
    """The address at the other end of a connection, or "" where it has none."""
    peername = transport.get_extra_info("peername")
    return peername[0] if isinstance(peername, tuple) else ""
