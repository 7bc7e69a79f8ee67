"""A connection too many: its request is told so, without being read, and the connection closed."""

import asyncio
from collections.abc import Callable

from gateway.account import EndReason, Exchange, request_id
from gateway.answer import SERVER
from gateway.errors import TOO_MANY_CONNECTIONS, Refusal

# How long it may take to send a request, and then to take the answer and close.
PATIENCE = 1.0


class TurnedAway(asyncio.Protocol):
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
        refusal = Refusal(TOO_MANY_CONNECTIONS)
        exchange = Exchange("", "", request_id(None), "", _address(self._transport))
        exchange.status, exchange.code = int(refusal.failure.status), refusal.failure.code
        exchange.end(EndReason.REFUSED)
        self._transport.write(_response(refusal, exchange.request_id))
        self._transport.write_eof()
        self._report(exchange)

    def connection_lost(self, exc: BaseException | None) -> None:  # noqa: ARG002 - it is over
        """Called by the event loop."""
        self._bound.cancel()


def _address(transport: asyncio.Transport) -> str:
    peername = transport.get_extra_info("peername")
    return peername[0] if isinstance(peername, tuple) else ""


def _response(refusal: Refusal, request_id: str) -> bytes:
    failure, body = refusal.failure, refusal.problem(request_id)
    headers = [
        *failure.headers,
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("Server", SERVER),
        ("X-Request-Id", request_id),
    ]
    lines = [f"HTTP/1.1 {failure.status:d} {failure.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
