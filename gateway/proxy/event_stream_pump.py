"""A pipe whose event stream the gateway may speak in: heartbeats, and a last word.

Only for routes with `stream:`; the pipe of all others passes on what comes as it stands. RFC 9110
7.7 keeps proxies from changing what is marked `no-transform`: a gateway is no proxy but stands for
the origin (3.7), whose owner asked for this.
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

# What the error event says, for each reason that is the gateway's or the service's: code, message.
_WORDS: Final = {
    EndReason.UPSTREAM_TIMEOUT: ("upstream_timeout", "The service fell silent for too long."),
    EndReason.TOTAL_TIMEOUT: ("upstream_timeout", "It took longer than this route allows."),
    EndReason.UPSTREAM_CLOSED: ("upstream_closed", "The connection to the service was lost."),
    EndReason.TOKEN_EXPIRED: ("token_expired", "The token expired; get a new one."),
    EndReason.DRAINED: ("draining", "The gateway is shutting down; try again."),
}


@dataclass(frozen=True, slots=True)
class StreamTerms:
    """What one request makes of its route's options.

    `expires_at` is when its stream ends with its token, in seconds since the epoch. `wants_retry`:
    it has an EventSource behind it, which gives up for good on any status but 200.
    """

    options: StreamOptions
    expires_at: float | None
    wants_retry: bool


class EventStreamPump(ResponsePump):
    """A response on its way, perhaps an event stream that the gateway may speak in.

    It may where the body's end is not told beforehand, nothing encodes it, and only between two
    events. Everywhere else it is a `ResponsePump` like any other.
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

    # The handler's side

    def record(self) -> Exchange:
        """What is known of it by now."""
        if self._events is not None:
            self._exchange.events = self._events.count
        return super().record()

    def close(self) -> None:
        """Stop all timers and let go of the browser, however it ended."""
        super().close()
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        if self._expiry is not None:
            self._expiry.cancel()

    def end(self, reason: EndReason, failure: Failure = DRAINING, why: str = "") -> None:
        """End it before its time: with an event that says why where one may be sent.

        The body then ends as a whole one does, because it says itself that it is none.
        """
        words = self._last_words(reason)
        if not words:
            super().end(reason, failure, why)
            return
        self._exchange.end(reason, why)
        if reason is EndReason.DRAINED:
            self.keep_alive = False
        self._put(words)
        self.complete([])

    # The service's side

    def head(self, head: ResponseHead) -> None:
        """Send the response head on, unless it is better not seen."""
        if self._terms.wants_retry and head.status in TRANSIENT:
            self._retry_later(head)
            return
        super().head(head)
        if self._state != RELAYING or head.status != _OK or not head.is_event_stream:
            return
        if self._terms.expires_at is not None:
            self._await_expiry(self._terms.expires_at)
        options = self._terms.options
        if _takes_words(head) and (options.heartbeat or options.error_event):
            self._events = EventStream()
            if options.heartbeat:
                self._heartbeat = Heartbeat(options.heartbeat, self._beat)

    def takes_chunks(self) -> bool:
        """Whether chunks may go on as they stand: not where something may come between."""
        return self._events is None and super().takes_chunks()

    def body(self, data: bytes) -> None:
        """Send bytes of the body on, at once."""
        if self._events is not None and self._state == RELAYING:
            if self._heartbeat is not None:
                self._heartbeat.touch()
            data = self._events.take(data)
        if data:
            super().body(data)
        else:
            self._deadlines.touch()

    # The browser's side

    def resume(self) -> None:
        """The browser takes bytes again: until now it was not for us to send any."""
        if self._heartbeat is not None:
            self._heartbeat.touch()
        super().resume()

    # Inside

    def _retry_later(self, head: ResponseHead) -> None:
        self._exchange.end(EndReason.ERROR, f"the service answered {head.status}")
        after = first(head.headers, b"retry-after")
        headers = () if after is None else (("Retry-After", after.decode("latin-1")),)
        self.refuse(Rejection(upstream_error(head.status), headers=headers))

    def _may_speak(self) -> bool:
        """Whether something of the gateway's own may go here and now, and would be taken."""
        events = self._events
        if events is None or self._state != RELAYING:
            return False
        return events.is_between and not self._client.writing_paused

    def _beat(self) -> None:
        if self._events is not None and self._events.takes_comment and self._may_speak():
            self._events.interrupt()
            self._put(HEARTBEAT)

    def _last_words(self, reason: EndReason) -> bytes:
        """The event that says why it ends; empty where none may, or there is none to say."""
        name, words = self._terms.options.error_event, _WORDS.get(reason)
        if name is None or words is None or self._events is None or not self._may_speak():
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


def _takes_words(head: ResponseHead) -> bool:
    """Whether bytes can be put into its body: nothing tells its length, or encodes it."""
    codings = values(head.headers, b"content-encoding")
    is_plain = all(coding.strip().lower() in {b"", b"identity"} for coding in codings)
    return is_plain and head.has_body and not head.has_length
