"""Forwards the response of an upstream to a client, with backpressure and deadlines.

Everything happens in callbacks. What the upstream's connection receives is written to the client's
socket in the same call, without waking a task. The handler waits for a single future.
"""

import asyncio
from http.client import responses
from typing import Final

from gateway.config.model import Timeouts
from gateway.http.chunked import chunk
from gateway.http.errors import BAD_REQUEST, DRAINING, UPSTREAM_TIMEOUT, Failure, Rejection
from gateway.http.headers import end_to_end, serialize, trailers
from gateway.http.message_heads import (
    Framing,
    Reply,
    framing_of,
    informational_head,
    response_head,
)
from gateway.http.response_parser import CONTINUE, Receiver, ResponseHead
from gateway.proxy.deadlines import Deadlines
from gateway.server.connection import CLOSING, KEEPING, AlreadySent, ClientConnection
from gateway.server.socket_writer import SocketWriter  # noqa: TC001 - compiled, it is needed at run time
from gateway.telemetry.exchange import EndReason, Exchange
from gateway.telemetry.report import Condition
from gateway.upstream.connection import Connection

# The states of a pump. Plain numbers, because each chunk reads them.
RELAYING: Final = 0  # until the upstream ends the body, or the gateway does
FLUSHING: Final = 1  # until the client has taken the rest
ENDED: Final = 2
SMALL: Final = 2048  # bytes that cost less to copy than to send in parts


class ResponsePump(Receiver):
    """Forwards one response.

    The pump is the `Receiver` of the upstream's connection, the `ConnectionListener` of the
    client's, and the owner of the `Deadlines`. Before the response head is sent, a failure becomes
    a `rejection`, which the handler answers. Afterwards the only honest failure is a cut: the
    connection closes without the mark of a complete body.
    """

    def __init__(
        self, client: ClientConnection, exchange: Exchange, reply: Reply, timeouts: Timeouts
    ) -> None:
        self.rejection: Rejection | None = None
        self.was_stale = False
        self.keep_alive = reply.keep_alive
        self.owes_body = False  # whether a part of the client's request is still to come
        self.bytes_out = 0
        self._client = client
        self._exchange = exchange
        self._reply = reply
        self._framing: Framing | None = None
        self._is_chunked = False
        self._held: list[bytes] = []  # the head, and what came with it
        self._writer: SocketWriter | None = None  # set once nothing is held
        self._connection: Connection | None = None
        self._ended: asyncio.Future[None] | None = None
        self._is_repeatable = False
        self._is_client_awaited = False
        self._state = RELAYING
        self._is_cut = False
        self._deadlines = Deadlines(self, timeouts, client.timer)
        client.listener = self

    # Called by the handler

    @property
    def has_started(self) -> bool:
        """Whether the response head was sent."""
        return self._framing is not None

    @property
    def has_time(self) -> bool:
        """Whether the exchange goes on: it has not ended, and has time left."""
        return self._state != ENDED and self._deadlines.seconds_left() != 0.0

    def seconds_left(self, bound: float | None) -> float | None:
        """Returns the shorter of a timeout and the time left of the whole exchange."""
        bounds = (bound, self._deadlines.seconds_left())
        return min((each for each in bounds if each is not None), default=None)

    def attach(self, connection: Connection, *, is_repeatable: bool) -> asyncio.Future[None]:
        """Receive from this connection, and expect a response head from now on.

        The future that it returns is done when the exchange is over. With `is_repeatable`, a
        connection that turns out to be closed is no end but `was_stale`, and another may be
        attached.
        """
        self._connection = connection
        self._is_repeatable = is_repeatable
        self.was_stale = False
        self._ended = asyncio.get_running_loop().create_future()
        if self._state == ENDED:
            self._ended.set_result(None)
        else:
            self._deadlines.await_head()
        return self._ended

    def outcome(self) -> AlreadySent:
        """Returns how the exchange ended. Raises the rejection, if there is one."""
        if self.rejection is not None:
            raise self.rejection
        return KEEPING if self.keep_alive else CLOSING

    def await_client(self, *, is_awaited: bool) -> None:
        """Record whether the upload waits for the client now, or for the upstream."""
        self._is_client_awaited = is_awaited
        self._deadlines.touch()

    def record(self) -> Exchange:
        """Returns the record of the exchange, up to date."""
        self._exchange.bytes_out = self.bytes_out
        return self._exchange

    @property
    def condition(self) -> Condition:
        """What the exchange waits for."""
        if not self.has_started:
            return "waiting"
        if self._state == FLUSHING:
            return "flushing"
        return "backpressure" if self._client.writing_paused else "streaming"

    def silence(self) -> float | None:
        """Seconds since a byte moved; None if no timeout of the route records that."""
        return self._deadlines.silence()

    def close(self) -> None:
        """Stop all timers and release the client, however the exchange ended."""
        self._state = ENDED
        self._deadlines.cancel()
        self._client.listener = None
        self.record()

    def end(self, reason: EndReason, failure: Failure = DRAINING, why: str = "") -> None:
        """End the exchange early: by a rejection if that is still possible, else by a cut."""
        if self._state == ENDED:
            return
        self._exchange.end(reason, why)
        if not self.has_started:
            self.rejection = Rejection(failure, reason=why)
            self._finish()
            return
        self._release()
        self.keep_alive = False
        self._is_cut = True
        if self._state == FLUSHING or self._client.writing_paused:
            self._client.reset()  # the rest is not waited for
            self._finish()
        else:
            self._flush()

    def refuse(self, rejection: Rejection) -> None:
        """End with an error response of the gateway, or with a cut if it is too late."""
        if self.has_started:
            self.end(EndReason.REFUSED, why=str(rejection))
        elif self._state == RELAYING:
            self.rejection = rejection
            self._finish()

    # Called by the upstream's connection: `response_parser.Receiver`

    def informational(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Forward a 1xx that the client can read; 100 only if it was asked for."""
        if self._state != RELAYING or not self._reply.is_http_11:
            return
        if status == CONTINUE and not self._reply.expects_continue:
            return
        reason = responses.get(status, "").encode()
        self._client.send(informational_head(status, reason, end_to_end(headers)))

    def head(self, head: ResponseHead) -> None:
        """Forward the response head."""
        if self._state != RELAYING:
            return
        self._exchange.status = head.status
        self._exchange.is_stream = head.is_stream and head.has_body
        self._exchange.mark_first_byte()
        self._framing = framing_of(head, self._reply)
        self._is_chunked = self._framing is Framing.CHUNKED
        if self.owes_body or self._framing is Framing.UNTIL_CLOSE:
            self.keep_alive = False
        self._deadlines.await_body(is_stream=head.is_stream)
        self._held = [
            response_head(head, self._framing, self._reply, is_closing=not self.keep_alive)
        ]

    def head_read(self) -> None:
        """Send the head, and what came with it, in one piece."""
        self._release()
        self._writer = self._client.writer

    def takes_chunks(self) -> bool:
        """Whether chunks may be forwarded as they are: if the client knows chunks."""
        return self._is_chunked

    def chunks(self, data: bytes, payload: int) -> None:
        """Forward chunks as they are, at once."""
        if self._state != RELAYING:
            return
        self._deadlines.touch()
        self.bytes_out += payload
        if self._writer is None:
            self._held.append(data)
        else:
            self._writer.write(data)

    def body(self, data: bytes) -> None:
        """Forward bytes of the body at once."""
        if self._state != RELAYING:
            return
        self._deadlines.touch()
        self._put(data)

    def complete(self, trailers_: list[tuple[bytes, bytes]]) -> None:
        """End the body as the upstream did, and finish when the client has taken all of it."""
        if self._state != RELAYING:
            return
        if self._is_chunked:
            self._held.append(b"0\r\n%b\r\n" % serialize(trailers(trailers_)))
        self._release()
        self._flush()

    def broken(self, failure: Failure, why: str) -> None:
        """The upstream is gone, or sent invalid HTTP."""
        if self._state != RELAYING:
            return
        connection = self._connection
        if self._is_repeatable and connection is not None and not connection.got_bytes:
            self.was_stale = True
            self._finish_wait()
            return
        self.end(EndReason.UPSTREAM_CLOSED, failure, why)

    # Called by the client's connection: `connection.ConnectionListener`

    def pause(self) -> None:
        """The client takes no more for now: stop reading from the upstream."""
        if self._connection is not None and self._state == RELAYING:
            self._connection.pause_reading()
        self._deadlines.await_client()

    def resume(self) -> None:
        """The client takes bytes again."""
        self._deadlines.client_took()
        if self._state == FLUSHING:
            self._finish()
        elif self._connection is not None:
            self._connection.resume_reading()

    def client_gone(self) -> None:
        """The client is gone: nothing more is written. The handler is being cancelled."""
        self._state = ENDED

    def client_malformed(self) -> None:
        """The bytes after the request head are malformed, and so is what follows."""
        self.keep_alive = False
        self.refuse(Rejection(BAD_REQUEST, "The request body has invalid HTTP/1.1 framing."))

    # Called by the timer: `deadlines.Bounded`

    @property
    def awaits_client(self) -> bool:
        """Whether the client has to send: then a silence is not the upstream's."""
        return self._is_client_awaited and not self.has_started

    def unsent(self) -> int:
        """Returns the bytes that the client has not taken."""
        return self._client.unsent()

    def total_timed_out(self) -> None:
        """End the exchange: it took too long."""
        self.end(EndReason.TOTAL_TIMEOUT, UPSTREAM_TIMEOUT, "timeout")

    def idle_timed_out(self) -> None:
        """End the exchange: the side whose turn it was sent nothing for too long."""
        if self.awaits_client:
            self.refuse(Rejection(BAD_REQUEST, "The request body stopped coming."))
        else:
            why = "idle_timeout" if self.has_started else "first_byte_timeout"
            self.end(EndReason.UPSTREAM_TIMEOUT, UPSTREAM_TIMEOUT, why)

    def send_timed_out(self) -> None:
        """End the exchange: the client took nothing for too long."""
        self._exchange.end(EndReason.CLIENT_STALLED, "send_timeout")
        self.keep_alive = False
        self._client.reset()
        self._finish()

    # Private

    def _put(self, data: bytes) -> None:
        self.bytes_out += len(data)
        if not self._is_chunked:
            parts = [data]
        elif len(data) < SMALL:
            parts = [chunk(data)]
        else:  # as parts, so that no byte is copied: the kernel takes them as one
            parts = [b"%x\r\n" % len(data), data, b"\r\n"]
        if self._writer is None:
            self._held += parts
        elif len(parts) == 1:
            self._writer.write(parts[0])
        else:
            self._writer.writelines(parts)

    def _release(self) -> None:
        """Send what is held."""
        if self._held:
            self._client.send(b"".join(self._held))
            self._held = []

    def _flush(self) -> None:
        """Finish when the last byte has left."""
        self._state = FLUSHING
        self._deadlines.forget_upstream()
        if self._client.is_flushed():
            self._finish()
        else:
            self._deadlines.await_client()

    def _finish(self) -> None:
        self._state = ENDED
        self._deadlines.cancel()
        if self.rejection is None:
            self._exchange.end(EndReason.COMPLETE)
        if self._is_cut and self._framing is Framing.UNTIL_CLOSE:
            self._client.reset()  # an orderly close would say that the body is complete
        elif self._is_cut:
            self._client.finish()
        self._finish_wait()

    def _finish_wait(self) -> None:
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
