"""The path of a request, top to bottom: accept, match, authenticate, admit, connect, pipe, account.

One `try`, one place that refuses, one `finally` that accounts: each exchange has one ending.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from gateway.accept import BrowserConnection, Relayed
from gateway.account import EndReason
from gateway.answer import answer, disclose, preflight_answer, retry_later
from gateway.auth import Identity, require_scopes
from gateway.config import RESERVED_PATHS, Config, Route, StreamOptions
from gateway.cors import Policy
from gateway.credentials import Credentials, TokenSource
from gateway.errors import INTERNAL_ERROR, ORIGIN_DENIED, TRANSIENT, Refusal
from gateway.event_pipe import EventPipe, Terms
from gateway.gate import Gate
from gateway.headers import Edits, accepts_event_stream, for_upstream
from gateway.heads import Reply, request_head
from gateway.incoming import Incoming, raw
from gateway.keys import KeyUnknown
from gateway.logs import log
from gateway.matching import Match, Table, target_path
from gateway.origin import require_same_origin
from gateway.pipe import Pipe
from gateway.relay import Relay
from gateway.stream_tokens import Ticket
from gateway.streams import Streams
from gateway.token_endpoint import TokenEndpoint
from gateway.upstream import Pool, Upstreams

HealthAnswer = Callable[[str], web.Response]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """What of a route is worked out once."""

    host: tuple[bytes, bytes]
    request: Edits
    response: Edits
    pool: Pool
    policy: Policy | None
    options: StreamOptions | None  # None where all of them are off


class Handler:
    """Answers every request on the public port. `health` answers the reserved paths."""

    def __init__(
        self,
        config: Config,
        streams: Streams,
        upstreams: Upstreams,
        gate: Gate,
        health: HealthAnswer,
    ) -> None:
        self._auth = config.auth
        self._table = Table(config.routes)
        sections = {config.cors, *(route.cors for route in config.routes)}
        policies = {cors: Policy(cors) for cors in sections if cors is not None}
        self._policy = policies[config.cors] if config.cors else None
        self._prepared = {
            id(route): _Prepared(
                host=(b"Host", route.upstream.authority.encode()),
                request=Edits.of(route.request_headers),
                response=Edits.of(route.response_headers),
                pool=upstreams.pool(route.upstream),
                policy=policies[route.cors] if route.cors else None,
                options=None if route.stream == StreamOptions() else route.stream,
            )
            for route in config.routes
        }
        self._gate = gate
        self._token_path = config.auth.token_endpoint
        self._token_endpoint = TokenEndpoint(config, self._table, policies, gate)
        self._credentials = Credentials.of(config.auth)
        self._streams = streams
        self._health = health

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Take a request from aiohttp and give back the response, on the wire or not."""
        incoming = Incoming(request, self._auth.trusted_proxies)
        if incoming.path in RESERVED_PATHS:
            return self._health(incoming.path)
        exchange = incoming.exchange
        try:
            return await self._serve(incoming)
        except Refusal as refusal:
            return _refuse(incoming, refusal)
        except asyncio.CancelledError:
            exchange.end(EndReason.CLIENT_CLOSED)
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it is logged whole and answered
            log.exception("internal_error", request_id=exchange.request_id)
            return _give_up(incoming)
        finally:
            exchange.report()

    async def _serve(self, incoming: Incoming) -> web.StreamResponse:
        if self._policy is not None:
            incoming.access = self._policy.access(incoming.first(b"origin"))
        incoming.check_head()
        if incoming.method == "OPTIONS":
            preflight = self._preflight(incoming)
            if preflight is not None:
                return preflight
        if incoming.path == self._token_path:
            return _own(incoming, await self._token_endpoint.answer(incoming))
        try:
            relay, ticket = self._prepare(incoming)
        except KeyUnknown:
            await self._gate.look_again()
            relay, ticket = self._prepare(incoming)
        incoming.forget_headers()
        pipe = relay.pipe
        try:
            self._streams.admit(pipe)
            await (relay.run() if ticket is None else self._run_once(relay, ticket))
        finally:
            pipe.close()
            self._streams.release(pipe)
        if pipe.refusal is not None:
            raise pipe.refusal
        return Relayed(keep_alive=pipe.keep_alive)

    def _preflight(self, incoming: Incoming) -> web.Response | None:
        """Answer a browser that asks whether a page may send a request (Fetch standard, 4.8).

        It brings no token, and the service never sees it. None where the route that it asks for
        has no CORS, or is none: then it is an OPTIONS request as any other.
        """
        origin = incoming.first(b"origin")
        method = incoming.first(b"access-control-request-method")
        if not origin or not method:
            return None
        asked = self._asked(method, origin, incoming.path)
        if asked is None:
            return None
        incoming.exchange.route, methods, policy = asked
        incoming.access = policy.access(origin)
        if not policy.allows(origin):
            detail = "This route takes no requests from pages of this origin."
            raise Refusal(ORIGIN_DENIED, detail, reason="cors does not list the origin")
        requested = b", ".join(incoming.values(b"access-control-request-headers"))
        told = policy.preflight(methods, requested)
        return _own(incoming, preflight_answer(told, incoming.exchange))

    def _asked(self, method: bytes, origin: bytes, path: str) -> tuple[str, bytes, Policy] | None:
        """What would take a request that may follow: its name, its methods and its policy."""
        if path == self._token_path:
            policy = self._token_endpoint.policy(origin)
            return (path, b"POST", policy) if policy is not None else None
        try:
            route = self._table.match(method.decode("latin-1"), path).route
        except Refusal:
            return None
        policy = self._prepared[id(route)].policy
        methods = ", ".join(sorted(route.methods)).encode() or method
        return (route.path, methods, policy) if policy is not None else None

    async def _run_once(self, relay: Relay, ticket: Ticket) -> None:
        """Run for a token of one use, which is used up unless no service was there to answer it.

        A browser that was told so may try again with the same URL.
        """
        await self._gate.claim(ticket)
        try:
            await relay.run()
        except Refusal:
            await self._gate.release(ticket)
            raise
        refusal = relay.pipe.refusal
        status = relay.incoming.exchange.status if refusal is None else refusal.failure.status
        if status in TRANSIENT:
            await self._gate.release(ticket)

    def _prepare(self, incoming: Incoming) -> tuple[Relay, Ticket | None]:
        """Match and authenticate; what is known only here is not kept while a stream goes on."""
        match = self._table.match(incoming.method, incoming.path)
        incoming.exchange.route = match.route.path
        prepared = self._prepared[id(match.route)]
        if prepared.options is not None and prepared.options.retries_transient:
            incoming.wants_retry = accepts_event_stream(incoming.headers)
        policy = prepared.policy
        incoming.access = policy.access(incoming.first(b"origin")) if policy is not None else None
        identity = self._authenticate(incoming, match.route, policy)
        incoming.check_body(match.route.max_body)
        head = self._request_head(incoming, match, identity, prepared)
        pipe = self._pipe(incoming, match.route, identity, prepared)
        relay = Relay(incoming, match.route, head, pipe, prepared.pool)
        return relay, identity.ticket if identity is not None else None

    def _authenticate(
        self, incoming: Incoming, route: Route, policy: Policy | None
    ) -> Identity | None:
        """Who is asking; None on a route that does not ask."""
        if not route.auth_required:
            return None
        identity = self._gate.authenticator.authenticate(
            authorization=incoming.values(b"authorization"),
            query=raw(incoming.query[1:]),
            cookies=incoming.values(b"cookie"),
        )
        incoming.exchange.subject = identity.subject
        if identity.source is TokenSource.COOKIE:
            require_same_origin(incoming.headers, incoming.client, policy)
        require_scopes(identity, route.scopes)
        if identity.ticket is not None:
            identity.ticket.require(incoming.method, incoming.path)
        return identity

    def _request_head(
        self, incoming: Incoming, match: Match, identity: Identity | None, prepared: _Prepared
    ) -> bytes:
        route = match.route
        target = raw(target_path(match) + incoming.query)
        target = self._credentials.strip_target(target)
        host = incoming.client.host if route.preserve_host else b""
        own = self._credentials.strip(
            for_upstream(incoming.headers), is_authenticated=route.auth_required
        )
        headers = [
            (b"Host", host) if host else prepared.host,
            *own,
            *incoming.client.forwarded,
            (b"X-Request-Id", incoming.exchange.request_id.encode()),
            (b"traceparent", incoming.traceparent),
            *(identity.headers if identity else ()),
        ]
        headers = prepared.request.apply(headers)
        return request_head(incoming.method, target, [*headers, *incoming.framing])

    def _pipe(
        self, incoming: Incoming, route: Route, identity: Identity | None, prepared: _Prepared
    ) -> Pipe:
        request = incoming.request
        reply = Reply(
            is_http_11=incoming.is_http_11,
            keep_alive=incoming.keeps_alive,
            expects_continue=incoming.expects_continue,
            had_query_token=identity is not None and identity.source is TokenSource.QUERY,
            request_id=incoming.exchange.request_id,
            edits=prepared.response,
            access=incoming.access,
        )
        browser = request.protocol
        assert isinstance(browser, BrowserConnection)  # noqa: S101 - accept.Server makes no other
        options = prepared.options
        if options is None:
            return Pipe(browser, incoming.exchange, reply, route.timeouts)
        terms = Terms(options, self._expiry(identity, options), incoming.wants_retry)
        return EventPipe(browser, incoming.exchange, reply, route.timeouts, terms)

    def _expiry(self, identity: Identity | None, options: StreamOptions) -> float | None:
        """When a token holds no more, in seconds since the epoch, where a stream ends with it.

        With the leeway: before that a browser that comes back with it would be let in again.
        """
        if identity is None or not options.closes_on_expiry:
            return None
        return identity.expires_at + self._auth.leeway


def _refuse(incoming: Incoming, refusal: Refusal) -> web.Response:
    is_softened = incoming.wants_retry and refusal.failure.status in TRANSIENT
    return _own(incoming, (retry_later if is_softened else answer)(refusal, incoming.exchange))


def _own(incoming: Incoming, response: web.Response) -> web.Response:
    """An answer of the gateway's own: a page that may reads it, wherever it comes from.

    It is the last one on a connection that has more of this request.
    """
    disclose(response, incoming.access)
    if not incoming.keeps_alive or not incoming.request.content.is_eof():
        response.force_close()
    return response


def _give_up(incoming: Incoming) -> web.StreamResponse:
    """After a fault of our own: a 500, or the cut of a response that is under way."""
    exchange, transport = incoming.exchange, incoming.request.transport
    if exchange.first_byte_at is None:
        return _refuse(incoming, Refusal(INTERNAL_ERROR))
    exchange.end(EndReason.ERROR)
    if transport is not None:
        transport.abort()
    return Relayed(keep_alive=False)
