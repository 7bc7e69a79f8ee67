"""The steps of one exchange: accept, match, authenticate, admit, forward, account.

Each exchange has one ending: there is one place that rejects and one `finally` that accounts.
"""

import asyncio
from collections.abc import Mapping

from gateway.auth.keys import KeyUnknown
from gateway.auth.service import AuthService
from gateway.http.errors import Rejection
from gateway.http.own_response import OwnResponse
from gateway.proxy.active_exchanges import ActiveExchanges
from gateway.proxy.endpoint import Endpoint
from gateway.proxy.preflight import Preflights
from gateway.proxy.preparation import Prepared, prepare
from gateway.proxy.replies import fail, reject, respond
from gateway.proxy.routes import Routes
from gateway.server.connection import AlreadySent, ParsedRequest, Report
from gateway.server.request import Request
from gateway.telemetry.exchange import EndReason, Exchange
from gateway.telemetry.tracing import Tracer


class Handler:
    """Serves every request on the public port by one configuration.

    `report` is called once for each exchange, when it has ended.
    """

    def __init__(  # noqa: PLR0913 - one for each step
        self,
        routes: Routes,
        endpoints: Mapping[str, Endpoint],
        auth_service: AuthService,
        exchanges: ActiveExchanges,
        *,
        report: Report = Exchange.report,
        tracer: Tracer | None = None,
    ) -> None:
        self._routes = routes
        self._endpoints = endpoints
        self._preflights = Preflights(routes, endpoints)
        self._auth_service = auth_service
        self._exchanges = exchanges
        self._report = report
        self._tracer = tracer

    async def __call__(self, parsed: ParsedRequest) -> AlreadySent:
        """Serves one request."""
        request = Request(parsed, self._routes.trusted_proxies)
        endpoint = self._endpoints.get(request.path)
        if endpoint is not None and not endpoint.is_recorded:
            return await self._answer(request, endpoint)
        exchange = self._begin(request)
        try:
            return await self._serve(request, endpoint)
        except Rejection as rejection:
            return reject(request, rejection)
        except asyncio.CancelledError:
            exchange.end(EndReason.CLIENT_CLOSED)
            raise
        except Exception as error:  # noqa: BLE001 - it is logged
            return fail(request, error)
        finally:
            self._report(exchange)

    def _begin(self, request: Request) -> Exchange:
        if self._exchanges.is_draining:
            request.keeps_alive = False
        if self._tracer is not None:
            begin = self._tracer.begin
            request.trace.parent = begin(request.exchange, request.trace, request.client.scheme)
        return request.exchange

    async def _answer(self, request: Request, endpoint: Endpoint) -> AlreadySent:
        response = await endpoint.answer(request)
        return respond(request, response) if isinstance(response, OwnResponse) else response

    async def _serve(self, request: Request, endpoint: Endpoint | None) -> AlreadySent:
        policy = self._routes.default_policy
        if policy is not None:
            request.access = policy.access(request.first(b"origin"))
        request.check_head(self._routes.max_header_size)
        if request.method == "OPTIONS" and (response := self._preflights.respond(request)):
            return respond(request, response)
        if endpoint is not None:
            return await self._answer(request, endpoint)
        try:
            prepared = prepare(request, self._routes, self._auth_service)
        except KeyUnknown:
            await self._auth_service.refetch_keys()
            prepared = prepare(request, self._routes, self._auth_service)
        return await self._forward(prepared)

    async def _forward(self, prepared: Prepared) -> AlreadySent:
        """Admit and forward."""
        pump, slot = prepared.pump, prepared.slot
        try:
            self._exchanges.admit(pump)
            if slot is not None:
                await slot.acquire()
            if prepared.one_use_token is None:
                await prepared.forwarder.run()
            else:
                redeemed = self._auth_service.redeem(prepared.one_use_token)
                await prepared.forwarder.run_once(redeemed)
        finally:
            pump.close()
            if slot is not None:
                slot.release()
            self._exchanges.release(pump)
        return pump.outcome()
