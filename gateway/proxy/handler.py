"""The path of a request, top to bottom: accept, match, authenticate, admit, connect, pipe, account.

One `try`, one place that refuses, one `finally` that accounts: each exchange has one ending.
"""

import asyncio
from collections.abc import Callable

from aiohttp import web

from gateway.auth.authenticator import Identity, require_scopes
from gateway.auth.cors import CorsPolicy
from gateway.auth.credentials import TokenSource
from gateway.auth.keys import KeyUnknown
from gateway.auth.same_origin import require_same_origin
from gateway.auth.service import AuthService
from gateway.auth.stream_tokens import OneUseToken
from gateway.config.model import RESERVED_PATHS, Config, Route
from gateway.endpoints.probe_stream import ProbeStreamEndpoint
from gateway.endpoints.stream_token import StreamTokenEndpoint
from gateway.http.errors import INTERNAL_ERROR, TRANSIENT, Rejection
from gateway.limits.quota import Slot
from gateway.limits.registry import QuotaRegistry
from gateway.proxy.active_exchanges import ActiveExchanges
from gateway.proxy.compiled_route import CompiledRoute
from gateway.proxy.forward import Forwarder
from gateway.proxy.preflight import Preflights
from gateway.proxy.replies import answer, disclose, preflight_answer, retry_later
from gateway.proxy.router import Router
from gateway.server.connection import CLOSING, KEEPING, AlreadySent, ParsedRequest, Report
from gateway.server.request import Request, raw
from gateway.telemetry.exchange import EndReason, Exchange
from gateway.telemetry.logging import log
from gateway.telemetry.tracing import Tracer
from gateway.upstream.load_balancer import LoadBalancer
from gateway.upstream.pool import UpstreamRegistry

HealthAnswer = Callable[[str], web.Response]


class Handler:
    """Answers every request on the public port. `health` answers the reserved paths.

    `report` tells of each exchange once, when it has ended.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what the steps of the path need
        self,
        config: Config,
        streams: ActiveExchanges,
        upstreams: UpstreamRegistry,
        gate: AuthService,
        quotas: QuotaRegistry,
        health: HealthAnswer,
        *,
        report: Report = Exchange.report,
        tracer: Tracer | None = None,
    ) -> None:
        self._auth = config.auth
        self._max_header_size = config.limits.max_header_size
        self._table = Router(config.routes)
        sections = {config.cors, *(route.cors for route in config.routes)}
        policies = {cors: CorsPolicy(cors) for cors in sections if cors is not None}
        self._policy = policies[config.cors] if config.cors else None
        self._prepared: dict[int, CompiledRoute] = {}
        for route in config.routes:
            policy = policies[route.cors] if route.cors is not None else None
            balancer = LoadBalancer.of(route, upstreams)
            quota = quotas.of(route)
            self._prepared[id(route)] = CompiledRoute(route, config.auth, policy, balancer, quota)
        self._gate = gate
        self._token_endpoint = StreamTokenEndpoint(config, self._table, policies, gate)
        self._probe = ProbeStreamEndpoint(config, gate, streams)
        self._preflights = Preflights(self._table, self._policy_of, self._token_endpoint)
        self._streams = streams
        self._health = health
        self._report = report
        self._tracer = tracer

    async def __call__(self, arrival: ParsedRequest) -> web.StreamResponse | AlreadySent:
        """Take a request and give back the response, on the wire or not."""
        incoming = Request(arrival, self._auth.trusted_proxies)
        if incoming.path in RESERVED_PATHS:
            return self._health(incoming.path)
        if self._streams.is_leaving:
            incoming.keeps_alive = False
        exchange = incoming.exchange
        if self._tracer is not None:
            self._tracer.begin(incoming)
        try:
            return await self._serve(incoming)
        except Rejection as refusal:
            return _refuse(incoming, refusal)
        except asyncio.CancelledError:
            exchange.end(EndReason.CLIENT_CLOSED)
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it is logged whole and answered
            log.exception("internal_error", request_id=exchange.request_id)
            return _give_up(incoming)
        finally:
            self._report(exchange)

    async def _serve(self, incoming: Request) -> web.StreamResponse | AlreadySent:
        if self._policy is not None:
            incoming.access = self._policy.access(incoming.first(b"origin"))
        incoming.check_head(self._max_header_size)
        if incoming.method == "OPTIONS":
            told = self._preflights.answer(incoming)
            if told is not None:
                return _own(incoming, preflight_answer(told, incoming.exchange))
        if incoming.path == self._token_endpoint.path:
            return _own(incoming, await self._token_endpoint.answer(incoming))
        if incoming.path == self._probe.path:
            return await self._probe.answer(incoming)
        try:
            relay, permit, ticket = self._prepare(incoming)
        except KeyUnknown:
            await self._gate.look_again()
            relay, permit, ticket = self._prepare(incoming)
        incoming.forget_headers()
        pipe = relay.pipe
        try:
            self._streams.admit(pipe)
            if permit is not None:
                await permit.take()
            await (relay.run() if ticket is None else self._run_once(relay, ticket))
        finally:
            pipe.close()
            if permit is not None:
                permit.release()
            self._streams.release(pipe)
        if pipe.refusal is not None:
            raise pipe.refusal
        return KEEPING if pipe.keep_alive else CLOSING

    async def _run_once(self, relay: Forwarder, ticket: OneUseToken) -> None:
        """Run for a token of one use, which is used up unless no service was there to answer it.

        A browser that was told so may try again with the same URL.
        """
        await self._gate.claim(ticket)
        try:
            await relay.run()
        except Rejection:
            await self._gate.release(ticket)
            raise
        refusal = relay.pipe.refusal
        status = relay.incoming.exchange.status if refusal is None else refusal.failure.status
        if status in TRANSIENT:
            await self._gate.release(ticket)

    def _prepare(self, incoming: Request) -> tuple[Forwarder, Slot | None, OneUseToken | None]:
        """Match and authenticate; what is known only here is not kept while a stream goes on."""
        match = self._table.match(incoming.method, incoming.path)
        incoming.exchange.route = match.route.path
        prepared = self._prepared[id(match.route)]
        prepared.meet(incoming)
        identity = self._authenticate(incoming, prepared)
        incoming.check_body(match.route.max_body)
        head = prepared.request_head(incoming, match, identity)
        permit = prepared.permit(incoming, identity)
        pipe = prepared.pipe(incoming, identity)
        relay = Forwarder(incoming, match.route, head, pipe, prepared.balancer)
        return relay, permit, identity.ticket if identity is not None else None

    def _authenticate(self, incoming: Request, prepared: CompiledRoute) -> Identity | None:
        """Who is asking; None on a route that does not ask."""
        route = prepared.route
        if not route.auth_required:
            return None
        identity = self._gate.authenticator.authenticate(
            authorization=incoming.values(b"authorization"),
            query=raw(incoming.query[1:]),
            cookies=incoming.values(b"cookie"),
        )
        incoming.exchange.subject = identity.subject
        if identity.source is TokenSource.COOKIE:
            require_same_origin(incoming.headers, incoming.client, prepared.policy)
        require_scopes(identity, route.scopes)
        if identity.ticket is not None:
            identity.ticket.require(incoming.method, incoming.path)
        return identity

    def _policy_of(self, route: Route) -> CorsPolicy | None:
        return self._prepared[id(route)].policy


def _refuse(incoming: Request, refusal: Rejection) -> web.Response:
    is_softened = incoming.wants_retry and refusal.failure.status in TRANSIENT
    return _own(incoming, (retry_later if is_softened else answer)(refusal, incoming.exchange))


def _own(incoming: Request, response: web.Response) -> web.Response:
    """An answer of the gateway's own: a page that may reads it, wherever it comes from.

    It is the last one on a connection that has more of this request.
    """
    disclose(response, incoming.access)
    if not incoming.keeps_alive or not incoming.content.is_eof():
        response.force_close()
    return response


def _give_up(incoming: Request) -> web.StreamResponse | AlreadySent:
    """After a fault of our own: a 500, or the cut of a response that is under way."""
    exchange, transport = incoming.exchange, incoming.connection.transport
    if exchange.first_byte_at is None:
        return _refuse(incoming, Rejection(INTERNAL_ERROR))
    exchange.end(EndReason.ERROR)
    if transport is not None:
        transport.abort()
    return CLOSING
