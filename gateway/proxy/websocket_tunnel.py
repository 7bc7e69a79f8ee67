"""Forwards a WebSocket: bytes in both directions after a 101.

As in a response pump everything happens in callbacks, and the bytes pass unchanged. Frames are
followed for two purposes: to distinguish a closed connection from a lost one, and to send a close
frame between two of them when the gateway ends it.
"""

import asyncio
from typing import Final

from gateway.config.model import Timeouts
from gateway.http.errors import DRAINING, Failure
from gateway.http.headers import upgrades_to_websocket
from gateway.http.message_heads import Framing, Reply, switching_head
from gateway.http.response_parser import SWITCHING_PROTOCOLS
from gateway.http.websocket_frames import Frames, close_frame
from gateway.proxy.response_pump import RELAYING, ResponsePump
from gateway.server.connection import ClientConnection
from gateway.telemetry.exchange import EndReason, Exchange
from gateway.upstream.connection import Connection

# Seconds that one side has after the other has ended, while it takes nothing.
LINGER: Final = 10.0

# The close code for the client, for each end by the gateway (RFC 6455 7.4.1).
_CLOSE_CODES: Final = {
    EndReason.DRAINED: 1001,  # going away
    EndReason.TOTAL_TIMEOUT: 1011,
    EndReason.UPSTREAM_TIMEOUT: 1011,
}


class WebSocketTunnel(ResponsePump):
    """Forwards the answer to an opening handshake (RFC 6455 4), and after a 101 both directions.

    Any other answer is forwarded like an ordinary response. After a 101 the tunnel is also the
    `UpgradeReceiver` of what the client sends. The end of one side is forwarded to the other side,
    which then has a few seconds to end as well.
    """

    def __init__(
        self,
        client: ClientConnection,
        exchange: Exchange,
        reply: Reply,
        timeouts: Timeouts,
        linger: float = LINGER,
    ) -> None:
        super().__init__(client, exchange, reply, timeouts)
        self._loop = asyncio.get_running_loop()
        self._send_bound = timeouts.send
        self._is_open = False  # whether the 101 has come
        self._frames = Frames()  # of the upstream
        self._has_browser_ended = False
        self._has_service_ended = False
        self._first_end = EndReason.COMPLETE  # the side that ended first
        self._is_service_full = False
        self._stall: asyncio.TimerHandle | None = None
        self._lingering = linger
        self._linger: asyncio.TimerHandle | None = None

    # Called by the handler

    def close(self) -> None:
        """Stop all timers and release the client, however the exchange ended."""
        super().close()
        self._forget_stall()
        self._forget_linger()

    def end(self, reason: EndReason, failure: Failure = DRAINING, why: str = "") -> None:
        """End the exchange early: by a cut, after a close frame if one may be sent."""
        code = _CLOSE_CODES.get(reason)
        if code is not None and self._can_insert_now():
            self._put(close_frame(code))
        super().end(reason, failure, why)

    # Called by the upstream's connection

    def switched(self, reason: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
        """Forward the 101; no other protocol than WebSocket was requested."""
        if self._state != RELAYING or not upgrades_to_websocket(headers):
            return False
        self._is_open = True
        self._exchange.status = SWITCHING_PROTOCOLS
        self._exchange.is_stream = True
        self._exchange.mark_first_byte()
        self._framing = Framing.NONE
        self._deadlines.await_body(is_stream=True)
        self._held = [switching_head(reason, headers, self._reply)]
        return True

    def head_read(self) -> None:
        """Send the head, and what came with it; then take what the client has sent."""
        super().head_read()
        if self._is_open and self._connection is not None:
            self._connection.switch()
            self._client.switch(self)

    def body(self, data: bytes) -> None:
        """Forward bytes to the client at once."""
        if self._is_open:
            self._frames.follow(data)
        super().body(data)

    def ended(self) -> bool:
        """Forward the end of the upstream. The client may still send to it."""
        if not self._is_open or self._state != RELAYING:
            return False
        if not self._has_service_ended:
            self._has_service_ended = True
            self._client.finish()
            self._half_ended(EndReason.UPSTREAM_CLOSED)
        return True

    def complete(self, trailers_: list[tuple[bytes, bytes]]) -> None:
        """The connection to the upstream has closed in order."""
        if self._is_open:
            self.ended()
        else:
            super().complete(trailers_)

    def broken(self, failure: Failure, why: str) -> None:
        """The upstream is lost, which does not matter if it had nothing left to send."""
        if self._is_open and (self._frames.has_closed or self._has_browser_ended):
            self.ended()
        else:
            super().broken(failure, why)

    # Called by the client's connection: `connection.ConnectionListener`, `upgrade.UpgradeReceiver`

    def client_gone(self) -> None:
        """The client is gone: in order, if the upstream had sent a close frame."""
        if self._state == RELAYING and self._frames.has_closed:
            self._exchange.end(EndReason.COMPLETE)
        super().client_gone()

    def sent(self, data: bytes) -> None:
        """Forward bytes to the upstream at once."""
        connection = self._connection
        if self._state != RELAYING or self._has_browser_ended or connection is None:
            return
        self._deadlines.touch()
        self._exchange.bytes_in += len(data)
        connection.write(data)
        if not self._is_service_full:
            writable = connection.writable()
            if writable is not None:
                self._await_upstream(connection, writable)

    def sent_all(self) -> bool:
        """Forward the end of the client. The upstream may still send to it."""
        if self._state != RELAYING:
            return False
        if not self._has_browser_ended:
            self._has_browser_ended = True
            if self._connection is not None:
                self._connection.end_writing()
            self._half_ended(EndReason.CLIENT_CLOSED)
        return True

    # Private

    def _can_insert_now(self) -> bool:
        """Whether a frame of the gateway may be sent to the client now, and would be taken."""
        if not self._is_open or self._state != RELAYING or self._has_service_ended:
            return False
        is_between = self._frames.is_between and not self._frames.has_closed
        return is_between and not self._client.writing_paused

    def _await_upstream(self, connection: Connection, writable: asyncio.Future[None]) -> None:
        """The upstream takes no more for now: stop reading from the client."""
        self._is_service_full = True
        self._client.hold()
        writable.add_done_callback(self._upstream_took)
        self._watch_upstream(connection)

    def _upstream_took(self, _: asyncio.Future[None]) -> None:
        self._is_service_full = False
        self._forget_stall()
        if self._state == RELAYING:
            self._client.unhold()
            self._end_in_order()

    def _watch_upstream(self, connection: Connection) -> None:
        """Check after its timeout whether the upstream took any of what waits for it."""
        if self._send_bound is not None:
            unsent = connection.unsent()
            self._stall = self._loop.call_later(
                self._send_bound, self._check_upstream, connection, unsent
            )

    def _check_upstream(self, connection: Connection, unsent: int) -> None:
        if connection.unsent() < unsent:
            self._watch_upstream(connection)
        else:
            self.end(EndReason.UPSTREAM_TIMEOUT, why="send_timeout")

    def _forget_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _half_ended(self, whose: EndReason) -> None:
        if self._first_end is EndReason.COMPLETE:
            self._first_end = whose
            self._await_other()
        self._end_in_order()

    def _end_in_order(self) -> None:
        """Finish if both sides have ended, and have taken all that the other sent."""
        if self._has_browser_ended and self._has_service_ended and not self._is_service_full:
            self._exchange.end(self._ending())
            self._forget_linger()
            self._flush()

    def _ending(self) -> EndReason:
        """Complete if the upstream sent a close frame, which every closing handshake has."""
        return EndReason.COMPLETE if self._frames.has_closed else self._first_end

    def _await_other(self) -> None:
        """Check after some time whether the side that has not ended still takes bytes."""
        self._linger = self._loop.call_later(
            self._lingering, self._check_other, self._unsent_both()
        )

    def _forget_linger(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def _check_other(self, unsent: int) -> None:
        if self._unsent_both() < unsent:
            self._await_other()
        else:
            self.end(self._ending(), why="the other side did not end")

    def _unsent_both(self) -> int:
        connection = self._connection
        return self.unsent() + (0 if connection is None else connection.unsent())
