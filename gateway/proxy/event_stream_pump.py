"""Forwards an event stream, with heartbeats and an error event of the gateway.

It is used only on routes with `stream:`. RFC 9110 7.7 keeps proxies from changing what is marked
`no-transform`. A gateway is no such proxy: it stands for the origin (3.7), whose owner asked for
this.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from gateway.config.model import StreamOptions, Timeouts
from gateway.http.errors import (
    DRAINING,
    TOKEN_EXPIRED,
    TRANSIENT,
    Failure,
    Rejection,
    upstream_error,
)
from gateway.http.event_stream import HEARTBEAT, EventStream, error_event, reconnection_time
from gateway.http.headers import first, values
from gateway.http.message_heads import Reply
from gateway.http.response_parser import ResponseHead
from gateway.proxy.heartbeat import Heartbeat
from gateway.proxy.response_pump import RELAYING, ResponsePump
from gateway.server.connection import ClientConnection
from gateway.telemetry.exchange import EndReason, Exchange

_OK: Final = 200

# The code and the message of the error event, for each end reason that the client did not cause.
_WORDS: Final = {
    EndReason.UPSTREAM_TIMEOUT: ("upstream_timeout", "The service fell silent for too long."),
    EndReason.TOTAL_TIMEOUT: ("upstream_timeout", "It took longer than this route allows."),
    EndReason.UPSTREAM_CLOSED: ("upstream_closed", "The connection to the service was lost."),
    EndReason.TOKEN_EXPIRED: ("token_expired", "The token expired; get a new one."),
    EndReason.DRAINED: ("draining", "The gateway is shutting down; try again."),
}


@dataclass(frozen=True, slots=True)
class StreamTerms:
    """The options of a route for one request.

    `expires_at` is when the stream ends with its token, in seconds since the epoch. `wants_retry`
    is whether the client is an EventSource, which gives up on any status but 200.
    """

    options: StreamOptions
    expires_at: float | None
    wants_retry: bool


class EventStreamPump(ResponsePump):
    """Forwards one response; if it is an event stream, the gateway may add events.

    It may if the length of the body is unknown, nothing encodes it, and only between two events.
    Otherwise it works like a `ResponsePump`.
    """

    def __init__(
        self,
        client: ClientConnection,
        exchange: Exchange,
        reply: Reply,
        timeouts: Timeouts,
        terms: StreamTerms,
    ) -> None:
        super().__init__(client, exchange, reply, timeouts)
        self._terms = terms
        self._events: EventStream | None = None
        self._heartbeat: Heartbeat | None = None
        self._expiry: asyncio.TimerHandle | None = None

    # Called by the handler

    def record(self) -> Exchange:
        """Returns the record of the exchange, up to date."""
        if self._events is not None:
            self._exchange.events = self._events.count
        return super().record()

    def close(self) -> None:
        """Stop all timers and release the client, however the exchange ended."""
        super().close()
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        if self._expiry is not None:
            self._expiry.cancel()

    def end(self, reason: EndReason, failure: Failure = DRAINING, why: str = "") -> None:
        """End the exchange early, with an error event if one may be sent.

        The body then ends like a complete one, because the event says that it is not.
        """
        words = self._error_event(reason)
        if not words:
            super().end(reason, failure, why)
            return
        self._exchange.end(reason, why)
        if reason is EndReason.DRAINED:
            self.keep_alive = False
        self._put(words)
        self.complete([])

    # Called by the upstream's connection

    def head(self, head: ResponseHead) -> None:
        """Forward the response head, or replace it by a 200 with `retry:`."""
        if self._terms.wants_retry and head.status in TRANSIENT:
            self._retry_later(head)
            return
        super().head(head)
        if self._state != RELAYING or head.status != _OK or not head.is_event_stream:
            return
        if self._terms.expires_at is not None:
            self._await_expiry(self._terms.expires_at)
        options = self._terms.options
        if _can_insert(head) and (options.heartbeat or options.error_event):
            self._events = EventStream()
            if options.heartbeat:
                self._heartbeat = Heartbeat(options.heartbeat, self._send_heartbeat)

    def takes_chunks(self) -> bool:
        """Whether chunks may be forwarded as they are: not if something may be inserted."""
        return self._events is None and super().takes_chunks()

    def body(self, data: bytes) -> None:
        """Forward bytes of the body at once."""
        if self._events is not None and self._state == RELAYING:
            if self._heartbeat is not None:
                self._heartbeat.touch()
            data = self._events.take(data)
        if data:
            super().body(data)
        else:
            self._deadlines.touch()

    # Called by the client's connection

    def resume(self) -> None:
        """The client takes bytes again."""
        if self._heartbeat is not None:
            self._heartbeat.touch()
        super().resume()

    # Private

    def _retry_later(self, head: ResponseHead) -> None:
        self._exchange.end(EndReason.ERROR, f"the service answered {head.status}")
        after = first(head.headers, b"retry-after")
        headers = () if after is None else (("Retry-After", after.decode("latin-1")),)
        self.refuse(Rejection(upstream_error(head.status), headers=headers))

    def _can_insert_now(self) -> bool:
        """Whether bytes of the gateway may be inserted now, and would be taken."""
        events = self._events
        if events is None or self._state != RELAYING:
            return False
        return events.is_between and not self._client.writing_paused

    def _send_heartbeat(self) -> None:
        if self._events is not None and self._events.takes_comment and self._can_insert_now():
            self._events.interrupt()
            self._put(HEARTBEAT)

    def _error_event(self, reason: EndReason) -> bytes:
        """Returns the error event; empty if none may be sent, or none is configured."""
        name, words = self._terms.options.error_event, _WORDS.get(reason)
        if name is None or words is None or self._events is None or not self._can_insert_now():
            return b""
        is_drained = reason is EndReason.DRAINED and self._terms.options.retries_transient
        return error_event(
            name,
            progress=self._events.progress,
            code=words[0],
            message=words[1],
            retry=reconnection_time(None) if is_drained else None,
        )

    def _await_expiry(self, expires_at: float) -> None:
        loop = asyncio.get_running_loop()
        left = max(0.0, expires_at - time.time())
        self._expiry = loop.call_later(left, self._check_expiry, expires_at)

    def _check_expiry(self, expires_at: float) -> None:
        if time.time() < expires_at:  # the clock was set back
            self._await_expiry(expires_at)
        else:
            self.end(EndReason.TOKEN_EXPIRED, TOKEN_EXPIRED, "token_expired")


def _can_insert(head: ResponseHead) -> bool:
    """Whether bytes can be added to a body: its length is unknown, and nothing encodes it."""
    codings = values(head.headers, b"content-encoding")
    is_plain = all(coding.strip().lower() in {b"", b"identity"} for coding in codings)
    return is_plain and head.has_body and not head.has_length
