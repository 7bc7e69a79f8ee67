"""A gateway: one configuration served on given listeners, and replaced by a reload."""

import asyncio
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.auth.service import AuthService
from gateway.auth.used_tokens import UsedTokens
from gateway.config.loader import ConfigError, Fault
from gateway.config.model import Config
from gateway.dns import CAres, Resolver
from gateway.endpoints.health import HealthEndpoint, alive, readiness
from gateway.endpoints.probe_stream import ProbeStreamEndpoint
from gateway.endpoints.stream_token import StreamTokenEndpoint
from gateway.http.errors import Rejection
from gateway.limits.registry import QuotaRegistry
from gateway.open_files import OpenFiles
from gateway.proxy.active_exchanges import ActiveExchanges
from gateway.proxy.endpoint import Endpoint
from gateway.proxy.handler import Handler
from gateway.proxy.routes import Routes
from gateway.runtime.lifecycle import Lifecycle, StartupError
from gateway.runtime.reload import require_same_redis
from gateway.runtime.settings import BACKLOG, END_GRACE, Settings
from gateway.runtime.status import Metrics, live_streams, served_routes, upstream_health
from gateway.server.admission import Admission
from gateway.server.connection_count import ConnectionCount
from gateway.server.listeners import Listener, close_listeners
from gateway.server.server import Server
from gateway.telemetry.exchange import EndReason, Exchange
from gateway.telemetry.health import Health
from gateway.telemetry.report import Report
from gateway.telemetry.tracing import tracer
from gateway.upstream.registry import UpstreamRegistry

DNS_SERVERS = "GATEWAY_DNS_SERVERS"
_NO_KEYS = Fault(
    0, 0, "auth.jwks_url gave no keys: see jwks_fetch_failed in the log, correct it and reload"
)


@dataclass(slots=True)
class Shared:
    """What a gateway shares with the other workers, or has alone in a single process.

    `listeners` are all that there are; the gateway accepts on those whose numbers it is given.
    """

    quotas: QuotaRegistry
    connection_count: ConnectionCount = field(default_factory=ConnectionCount.alone)
    listeners: list[Listener] = field(default_factory=list)
    own_key: bytes | None = None
    used: UsedTokens | None = None

    @classmethod
    def alone(cls, config: Config) -> "Shared":
        """Returns what a single process has."""
        return cls(QuotaRegistry(config.limits.redis))


@dataclass(frozen=True, slots=True)
class Serving:
    """One configuration in service. A reload replaces the whole."""

    config: Config
    auth_service: AuthService
    handler: Handler


class Gateway:
    """Serves a configuration on listeners. It opens no port and handles no signal.

    `config_faults` counts the errors of a routes.yaml that was not loaded; None without reload.
    """

    def __init__(self, config: Config, shared: Shared, *, worker: int = 0) -> None:
        """`worker` is the number of this process among those that serve together.

        Raises StartupError.
        """
        self._shared = shared
        self._worker = worker
        self.config_faults: int | None = None
        self._is_draining = False
        self._exchanges = ActiveExchanges()
        files = OpenFiles()
        self._resolver = _resolver()
        self._upstreams = UpstreamRegistry(files, self._resolver)
        admission = Admission(shared.connection_count, files)
        self._tracer = tracer(os.environ)
        self.metrics = Metrics(self._exchanges, self._upstreams, shared.quotas, admission)
        self.metrics.serves(config)
        auth_service = AuthService(
            config, own_key=shared.own_key, used=shared.used, addresses=self._resolver.addresses
        )
        self._serving = self._serving_of(config, auth_service)
        handler = self._serving.handler
        self._server = Server(handler, self._account, config.limits, admission)
        self._moving = asyncio.Lock()  # from one set of listeners to another
        self._sites: dict[int, list[asyncio.Server]] = {}  # by the number of the listener

    @property
    def route_count(self) -> int:
        """How many routes are served."""
        return len(self._serving.config.routes)

    @property
    def open_exchanges(self) -> int:
        """How many exchanges are open."""
        return len(self._exchanges)

    async def start(self) -> None:
        """Begin to fetch keys and to check upstreams. No connection is accepted yet."""
        self._serving.auth_service.start()
        self._upstreams.watch(self._serving.config.routes)

    async def accept_at(self, numbers: Iterable[int]) -> None:
        """Accept connections on these listeners and on no other, unless it drains."""
        async with self._moving:
            if not self._exchanges.is_closed:
                await self._move(set(numbers))

    async def _move(self, wanted: set[int]) -> None:
        for number in self._sites.keys() - wanted:
            for site in self._sites.pop(number):
                site.close()
        for number in wanted - self._sites.keys():
            # Copies, because a server closes its socket, which may be needed again.
            self._sites[number] = [
                await self._server.accept_at(each.dup(), BACKLOG)
                for each in self._shared.listeners[number]
            ]

    async def take(self, config: Config) -> None:
        """Serve new requests by another configuration; open exchanges keep theirs.

        Raises ConfigError, and has changed nothing then.
        """
        require_same_redis(config, self._serving.config)
        before = self._serving.auth_service
        auth_service = AuthService(config, before)
        try:
            auth_service.start()
            await auth_service.await_keys(before)
            serving = self._serving_of(config, auth_service)
        except BaseException as error:
            await auth_service.close(before)
            if isinstance(error, Rejection):
                raise ConfigError([_NO_KEYS], config.source) from None
            raise
        # There is no await below: a request sees all of one configuration or all of the other.
        auth_service.begin()
        self._serving = serving
        self._server.serve(serving.handler, config.limits)
        self._upstreams.keep(each for route in config.routes for each in route.upstreams)
        self._upstreams.watch(config.routes)
        self.metrics.serves(config)
        await before.close(auth_service)

    async def drain(self, settings: Settings, lifecycle: Lifecycle) -> None:
        """Become not ready at once, close the listeners after a delay, wait within bounds."""
        self._is_draining = True
        self._exchanges.leave()
        if settings.drain_delay:
            await lifecycle.unless_forced(asyncio.sleep(settings.drain_delay))
        self._stop_accepting()
        close_listeners(self._shared.listeners)
        self._exchanges.close()
        await lifecycle.unless_forced(self._exchanges.wait_empty(settings.drain_timeout))
        self._exchanges.end_all(EndReason.DRAINED)
        await self._exchanges.wait_empty(END_GRACE)

    async def close(self) -> None:
        """Close every connection, to clients, upstreams and stores."""
        close_listeners(self._shared.listeners)
        self._upstreams.close()
        self._stop_accepting()
        await self._server.shutdown(END_GRACE)
        await self._serving.auth_service.close()
        self._resolver.close()
        await self._shared.quotas.close()
        if self._tracer is not None:
            await self._tracer.close()

    def _stop_accepting(self) -> None:
        for sites in self._sites.values():
            for site in sites:
                site.close()
        self._sites.clear()

    def report(self) -> Report:
        """Returns the report of this process."""
        return Report(
            self._worker,
            self.metrics.snapshot(),
            self._health(),
            served_routes(self._serving.config.routes, self._upstreams),
            live_streams(self._exchanges, self._worker),
        )

    def _serving_of(self, config: Config, auth_service: AuthService) -> Serving:
        routes = Routes(config, self._upstreams, self._shared.quotas)
        handler = Handler(
            routes,
            self._endpoints(config, routes, auth_service),
            auth_service,
            self._exchanges,
            report=self._account,
            tracer=self._tracer,
        )
        return Serving(config, auth_service, handler)

    def _endpoints(
        self, config: Config, routes: Routes, auth_service: AuthService
    ) -> dict[str, Endpoint]:
        """Returns what the gateway answers itself, by path."""
        endpoints: dict[str, Endpoint] = {
            "/healthz": HealthEndpoint(alive),
            "/readyz": HealthEndpoint(lambda: readiness(self._health())),
        }
        if config.auth.token_endpoint is not None:
            endpoints[config.auth.token_endpoint] = StreamTokenEndpoint(routes, auth_service)
        if config.probe is not None:
            endpoints[config.probe] = ProbeStreamEndpoint(config, auth_service, self._exchanges)
        return endpoints

    def _health(self) -> Health:
        serving = self._serving
        without, degraded, required = upstream_health(serving.config.routes, self._upstreams)
        return Health(
            routes=len(serving.config.routes),
            has_keys=serving.auth_service.has_keys,
            routes_without=without,
            routes_degraded=degraded,
            required_without=required,
            is_draining=self._is_draining,
            streams=len(self._exchanges),
            faults=self.config_faults,
        )

    def _account(self, exchange: Exchange) -> None:
        """Write the log line of an exchange that has ended, count it, and send its span."""
        exchange.report()
        now = time.monotonic()
        self.metrics.ended(exchange, now)
        if self._tracer is not None:
            self._tracer.ended(exchange, now)


def _resolver() -> Resolver:
    """Returns the resolver: by the servers in the environment, or by those of the system."""
    servers = os.environ.get(DNS_SERVERS, "").replace(",", " ").split()
    try:
        return Resolver(CAres(servers))
    except ValueError as error:
        raise StartupError(
            f"{DNS_SERVERS}: {error}: give addresses such as 10.0.0.2 or 127.0.0.1:5353"
        ) from None
