"""The test stream that `gateway probe` reads: timed events, and what arrived of its request.

It is off unless routes.yaml has a path for it. It needs a token if the gateway has a key. Its
streams are few and bounded, and are admitted, logged and drained like all others.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import parse_qsl

import orjson

from gateway.auth.cors import CorsPolicy
from gateway.auth.service import AuthService
from gateway.config.model import Config
from gateway.http.chunked import LAST_CHUNK, chunk
from gateway.http.errors import (
    BAD_REQUEST,
    METHOD_NOT_ALLOWED,
    TOKEN_INVALID,
    TOO_MANY_STREAMS,
    Rejection,
)
from gateway.http.forwarded import addresses, is_trusted
from gateway.http.headers import EVENT_STREAM, SERVER_NAME, serialize
from gateway.proxy.active_exchanges import ActiveExchanges
from gateway.server.connection import CLOSING, AlreadySent
from gateway.server.request import Request, raw
from gateway.telemetry.exchange import EndReason, Exchange
from gateway.telemetry.report import Condition

MOST_STREAMS: Final = 16  # at a time
LONGEST: Final = 600.0  # seconds that a requested stream may take
MOST_EVENTS: Final = 100
# Bytes of all padding. Up to here a stream fits the connection's buffer, so that no reader can
# stall it.
MOST_PADDING: Final = 48_000
# The headers that are sent back, as they arrived: none can be a secret.
ECHOED: Final = (
    b"accept",
    b"accept-encoding",
    b"cache-control",
    b"last-event-id",
    b"origin",
    b"traceparent",
    b"via",
    b"x-forwarded-proto",
)
ECHO_LIMIT: Final = 200  # characters of each


@dataclass(frozen=True, slots=True)
class Plan:
    """A requested stream: after a `silence` so many events, `interval` apart; both in seconds.

    Each event has `padding` bytes more than it needs.
    """

    events: int = 10
    interval: float = 0.2
    silence: float = 0.0
    padding: int = 0

    @classmethod
    def of(cls, query: str) -> Self:
        """Reads a query. Raises Rejection BAD_REQUEST."""
        asked = dict(parse_qsl(query))
        try:
            plan = cls(
                int(asked.get("events", "10")),
                float(asked.get("interval", "0.2")),
                float(asked.get("silence", "0")),
                int(asked.get("padding", "0")),
            )
        except ValueError:
            raise Rejection(
                BAD_REQUEST, "events, interval, silence and padding of a test stream are numbers."
            ) from None
        is_sound = (
            0 < plan.events <= MOST_EVENTS
            and plan.interval >= 0
            and plan.silence >= 0
            and plan.padding >= 0
            and plan.events * plan.interval + plan.silence <= LONGEST
            and plan.events * plan.padding <= MOST_PADDING
        )
        if not is_sound:
            detail = (
                f"A test stream has 1 to {MOST_EVENTS} events, takes {LONGEST:g}s at most, and has"
                f" {MOST_PADDING} bytes of padding at most."
            )
            raise Rejection(BAD_REQUEST, detail)
        return plan


class ProbeStreamEndpoint:
    """Answers with test streams."""

    is_recorded = True
    methods = b"GET"

    def __init__(
        self, config: Config, auth_service: AuthService, exchanges: ActiveExchanges
    ) -> None:
        self._auth = config.auth
        self._auth_service = auth_service
        self._exchanges = exchanges
        self._open_streams = 0

    def policy(self, origin: bytes) -> CorsPolicy | None:  # noqa: ARG002 - the same for all
        """Returns None: a preflight for the test stream is not answered."""
        return None

    async def answer(self, request: Request) -> AlreadySent:
        """Serve one stream to its end. Raises Rejection."""
        request.exchange.route = request.path
        if request.method != "GET":
            detail = "The test stream accepts only GET."
            raise Rejection(METHOD_NOT_ALLOWED, detail, (("Allow", "GET"),))
        await self._authenticate(request)
        plan = Plan.of(request.query[1:])
        if self._open_streams >= MOST_STREAMS:
            raise Rejection(TOO_MANY_STREAMS)
        stream = _TestStream(request)
        try:
            self._open_streams += 1
            self._exchanges.admit(stream)
            return await stream.serve(plan, self._hello(request, plan))
        finally:
            self._open_streams -= 1
            self._exchanges.release(stream)

    async def _authenticate(self, request: Request) -> None:
        if not self._auth.has_key:
            return
        # A cookie is not accepted, so that no page of another site can open a test stream.
        identity = await self._auth_service.authenticate(
            authorization=request.values(b"authorization"), query=raw(request.query[1:])
        )
        if identity.one_use_token is not None:
            detail = "The test stream is opened several times: send a login token."
            raise Rejection(TOKEN_INVALID, detail)
        request.exchange.subject = identity.subject

    def _hello(self, request: Request, plan: Plan) -> dict[str, object]:
        """Returns what arrived of the request: its version, and headers that are no secret.

        It also says what is to come, and where a token is read: `query` is the parameter's name.
        """
        saw = {
            name.decode(): b", ".join(request.values(name)).decode("latin-1")[:ECHO_LIMIT]
            for name in ECHOED
            if request.values(name)
        }
        chain = addresses(request.headers)
        return {
            "gateway": "probe",
            "version": "1.1" if request.is_http_11 else "1.0",
            "events": plan.events,
            "silence": plan.silence,
            "query": self._auth.query,
            "takes_bearer": self._auth.bearer,
            "saw": saw,
            "addresses": len(chain),
            "is_first": chain[:1] == [request.client.address],
            "is_front_trusted": is_trusted(request.connection.address, self._auth.trusted_proxies),
        }


class _TestStream:
    """One open test stream: an `active_exchanges.Stream`."""

    def __init__(self, request: Request) -> None:
        self._exchange = request.exchange
        self._client = request.connection
        self._is_chunked = request.is_http_11
        self._ended = asyncio.Event()

    @property
    def condition(self) -> Condition:
        return "streaming" if self._exchange.is_stream else "waiting"

    def record(self) -> Exchange:
        return self._exchange

    def silence(self) -> float | None:
        return None

    def end(self, reason: EndReason) -> None:
        """End the stream now, in order."""
        self._exchange.end(reason)
        self._ended.set()

    async def serve(self, plan: Plan, hello: dict[str, object]) -> AlreadySent:
        exchange = self._exchange
        headers = [
            (b"Content-Type", EVENT_STREAM),
            (b"Cache-Control", b"no-cache"),
            (b"X-Accel-Buffering", b"no"),
            (b"Referrer-Policy", b"no-referrer"),
            (b"Server", SERVER_NAME.encode()),
            (b"X-Request-Id", exchange.request_id.encode()),
            (b"Connection", b"close"),
        ]
        if self._is_chunked:
            headers.append((b"Transfer-Encoding", b"chunked"))
        self._client.send(b"HTTP/1.1 200 OK\r\n%b\r\n" % serialize(headers))
        exchange.status, exchange.is_stream, exchange.events = 200, True, 0
        exchange.mark_first_byte()
        await self._send(plan, hello)
        if self._is_chunked:
            self._client.send(LAST_CHUNK)
        exchange.end(EndReason.COMPLETE)
        return CLOSING

    async def _send(self, plan: Plan, hello: dict[str, object]) -> None:
        began, pad = time.monotonic(), "-" * plan.padding
        self._send_event({**hello, "at": 0.0})
        await self._wait(plan.silence)
        for number in range(plan.events):
            await self._wait(plan.interval)
            if self._ended.is_set():
                return
            self._send_event({"n": number, "at": time.monotonic() - began, "pad": pad})

    def _send_event(self, data: dict[str, object]) -> None:
        event = b"data: %b\n\n" % orjson.dumps(data)
        self._client.send(chunk(event) if self._is_chunked else event)
        self._exchange.bytes_out += len(event)
        self._exchange.events = (self._exchange.events or 0) + 1

    async def _wait(self, seconds: float) -> None:
        """Wait so long, or until the stream is ended."""
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return
