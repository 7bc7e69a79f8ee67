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
        auth_service: AuthService,
        quotas: QuotaRegistry,
        health: HealthAnswer,
        *,
        report: Report = Exchange.report,
        tracer: Tracer | None = None,
    ) -> None:
        self._auth = config.auth
        self._max_header_size = config.limits.max_header_size
        self._router = Router(config.routes)
        sections = {config.cors, *(route.cors for route in config.routes)}
        policies = {cors: CorsPolicy(cors) for cors in sections if cors is not None}
        self._policy = policies[config.cors] if config.cors else None
        self._compiled: dict[int, CompiledRoute] = {}
        for route in config.routes:
            policy = policies[route.cors] if route.cors is not None else None
            load_balancer = LoadBalancer.of(route, upstreams)
            quota = quotas.of(route)
            self._compiled[id(route)] = CompiledRoute(
                route, config.auth, policy, load_balancer, quota
            )
        self._auth_service = auth_service
        self._token_endpoint = StreamTokenEndpoint(config, self._router, policies, auth_service)
        self._probe = ProbeStreamEndpoint(config, auth_service, streams)
        self._preflights = Preflights(self._router, self._policy_of, self._token_endpoint)
        self._streams = streams
        self._health = health
        self._report = report
        self._tracer = tracer

    async def __call__(self, parsed: ParsedRequest) -> web.StreamResponse | AlreadySent:
        """Take a request and give back the response, on the wire or not."""
        request = Request(parsed, self._auth.trusted_proxies)
        if request.path in RESERVED_PATHS:
            return self._health(request.path)
        if self._streams.is_draining:
            request.keeps_alive = False
        exchange = request.exchange
        if self._tracer is not None:
            self._tracer.begin(request)
        try:
            return await self._serve(request)
        except Rejection as rejection:
            return _refuse(request, rejection)
        except asyncio.CancelledError:
            exchange.end(EndReason.CLIENT_CLOSED)
            raise
        except Exception:  # noqa: BLE001 - whatever it is, it is logged whole and answered
            log.exception("internal_error", request_id=exchange.request_id)
            return _give_up(request)
        finally:
            self._report(exchange)

    async def _serve(self, request: Request) -> web.StreamResponse | AlreadySent:
        if self._policy is not None:
            request.access = self._policy.access(request.first(b"origin"))
        request.check_head(self._max_header_size)
        if request.method == "OPTIONS":
            told = self._preflights.answer(request)
            if told is not None:
                return _own(request, preflight_answer(told, request.exchange))
        if request.path == self._token_endpoint.path:
            return _own(request, await self._token_endpoint.answer(request))
        if request.path == self._probe.path:
            return await self._probe.answer(request)
        try:
            forwarder, slot, one_use_token = self._prepare(request)
        except KeyUnknown:
            await self._auth_service.refetch_keys()
            forwarder, slot, one_use_token = self._prepare(request)
        request.forget_headers()
        pump = forwarder.pump
        try:
            self._streams.admit(pump)
            if slot is not None:
                await slot.take()
            await (
                forwarder.run()
                if one_use_token is None
                else self._run_once(forwarder, one_use_token)
            )
        finally:
            pump.close()
            if slot is not None:
                slot.release()
            self._streams.release(pump)
        if pump.rejection is not None:
            raise pump.rejection
        return KEEPING if pump.keep_alive else CLOSING

    async def _run_once(self, forwarder: Forwarder, one_use_token: OneUseToken) -> None:
        """Run for a token of one use, which is used up unless no service was there to answer it.

        A browser that was told so may try again with the same URL.
        """
        await self._auth_service.claim(one_use_token)
        try:
            await forwarder.run()
        except Rejection:
            await self._auth_service.release(one_use_token)
            raise
        rejection = forwarder.pump.rejection
        status = (
            forwarder.request.exchange.status if rejection is None else rejection.failure.status
        )
        if status in TRANSIENT:
            await self._auth_service.release(one_use_token)

    def _prepare(self, request: Request) -> tuple[Forwarder, Slot | None, OneUseToken | None]:
        """Match and authenticate; what is known only here is not kept while a stream goes on."""
        match = self._router.match(request.method, request.path)
        request.exchange.route = match.route.path
        compiled = self._compiled[id(match.route)]
        compiled.apply_error_format(request)
        identity = self._authenticate(request, compiled)
        request.check_body(match.route.max_body)
        head = compiled.request_head(request, match, identity)
        slot = compiled.slot(request, identity)
        pump = compiled.pump(request, identity)
        forwarder = Forwarder(request, match.route, head, pump, compiled.load_balancer)
        return forwarder, slot, identity.one_use_token if identity is not None else None

    def _authenticate(self, request: Request, compiled: CompiledRoute) -> Identity | None:
        """Who is asking; None on a route that does not ask."""
        route = compiled.route
        if not route.auth_required:
            return None
        identity = self._auth_service.authenticator.authenticate(
            authorization=request.values(b"authorization"),
            query=raw(request.query[1:]),
            cookies=request.values(b"cookie"),
        )
        request.exchange.subject = identity.subject
        if identity.source is TokenSource.COOKIE:
            require_same_origin(request.headers, request.client, compiled.policy)
        require_scopes(identity, route.scopes)
        if identity.one_use_token is not None:
            identity.one_use_token.require(request.method, request.path)
        return identity

    def _policy_of(self, route: Route) -> CorsPolicy | None:
        return self._compiled[id(route)].policy


def _refuse(request: Request, rejection: Rejection) -> web.Response:
    is_softened = request.wants_retry and rejection.failure.status in TRANSIENT
    return _own(request, (retry_later if is_softened else answer)(rejection, request.exchange))


def _own(request: Request, response: web.Response) -> web.Response:
    """An answer of the gateway's own: a page that may reads it, wherever it comes from.

    It is the last one on a connection that has more of this request.
    """
    disclose(response, request.access)
    if not request.keeps_alive or not request.content.is_eof():
        response.force_close()
    return response


def _give_up(request: Request) -> web.StreamResponse | AlreadySent:
    """After a fault of our own: a 500, or the cut of a response that is under way."""
    exchange, transport = request.exchange, request.connection.transport
    if exchange.first_byte_at is None:
        return _refuse(request, Rejection(INTERNAL_ERROR))
    exchange.end(EndReason.ERROR)
    if transport is not None:
        transport.abort()
    return CLOSING
