"""Wiring: the two ports, health, what a reload changes, and an orderly end."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass

import structlog
from aiohttp import web

from gateway.auth.service import AuthService
from gateway.auth.used_tokens import UsedTokens
from gateway.config.file_source import Source
from gateway.config.loader import ConfigError, Fault
from gateway.config.model import Config
from gateway.dns import CAres, Resolver
from gateway.endpoints.health import HealthEndpoint, alive, readiness
from gateway.endpoints.ops import Ops
from gateway.endpoints.probe_stream import ProbeStreamEndpoint
from gateway.endpoints.stream_token import StreamTokenEndpoint
from gateway.http.errors import Rejection
from gateway.limits.registry import QuotaRegistry
from gateway.open_files import OpenFiles
from gateway.proxy.active_exchanges import ActiveExchanges
from gateway.proxy.endpoint import Endpoint
from gateway.proxy.handler import Handler
from gateway.proxy.routes import Routes
from gateway.runtime.reload import Reload
from gateway.runtime.status import Metrics, live_streams, served_routes
from gateway.server.admission import Admission
from gateway.server.connection import AlreadySent, ParsedRequest
from gateway.server.connection_count import ConnectionCount
from gateway.server.listeners import Listener, close_listeners
from gateway.server.server import Server
from gateway.telemetry.exchange import EndReason, Exchange
from gateway.telemetry.health import Health
from gateway.telemetry.report import Report
from gateway.telemetry.tracing import tracer
from gateway.upstream.pool import UpstreamRegistry

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

# What an exchange that was told to end may take to do it.
END_GRACE = 2.0
BACKLOG = 1024
DNS_SERVERS = "GATEWAY_DNS_SERVERS"

# What a reload cannot take over, or not now.
REDIS_STAYS = Fault(
    0, 0, "limits.redis differs from that at the start, and what was used is written there: restart"
)
_NO_KEYS = Fault(0, 0, "auth.jwks_url gave no keys: see jwks_fetch_failed, mend it and reload")


class StartupError(Exception):
    """A fault that keeps the gateway from starting, in one line for the operator."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to serve. Port 0 takes any free port; the delays are seconds.

    `worker` is the number of this process among those that serve the same.
    """

    host: str = "0.0.0.0"  # noqa: S104 - a container's front is meant to be reached
    port: int = 8080
    ops_port: int = 9090
    drain_delay: float = 0.0
    drain_timeout: float = 30.0
    worker: int = 0


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """What a worker has in common with the others: it serves a part of what one gateway does.

    Of the `listeners`, which are all that there are, it is told by number where to accept.
    """

    own_key: bytes
    quotas: QuotaRegistry
    used: UsedTokens
    connection_count: ConnectionCount
    listeners: Sequence[Listener]


class Gateway:
    """A gateway that serves a configuration on two ports until it is told to stop.

    With the `source` of the configuration it serves what that says anew, on SIGHUP or when it
    changed. With a `share` it is one of several workers: it has no ops port, heeds no signal, and
    opens no port but accepts at the doors that it is told.
    """

    def __init__(
        self,
        config: Config,
        settings: Settings,
        source: Source | None = None,
        share: WorkerShare | None = None,
    ) -> None:
        self._config = config
        self._settings = settings
        self._streams = ActiveExchanges()
        files = OpenFiles()
        self._resolver = _resolver()
        self._upstreams = UpstreamRegistry(files, self._resolver)
        self._is_draining = False
        self.started = asyncio.Event()
        self._stop = asyncio.Event()
        self._force_stop = asyncio.Event()
        self._share = share
        self._moving = asyncio.Lock()  # from door to door
        self._sites: dict[int, list[web.SockSite]] = {}  # by the door's number
        if share is None:
            self._auth_service = AuthService(config, addresses=self._resolver.addresses)
            self._quotas = QuotaRegistry(config.limits.redis)
        else:
            self._auth_service = AuthService(
                config,
                own_key=share.own_key,
                used=share.used,
                addresses=self._resolver.addresses,
            )
            self._quotas = share.quotas
        self._tracer = tracer(os.environ)
        admission = Admission(None if share is None else share.connection_count, files)
        self._metrics = Metrics(self._streams, self._upstreams, self._quotas, admission)
        self._metrics.serves(config)
        if share is None:
            self._metrics.reloaded("success")
        self._handler = self._handler_of(config, self._auth_service)
        self.faults: int | None = None  # as a supervisor tells, where it is that which reloads
        self.reload: Reload | None = None
        if source is not None:
            self.reload = Reload(source, self.take, self._metrics.reloaded)
        self._server = Server(self._answer, self._account, config.limits, admission)
        self._public = web.ServerRunner(self._server, shutdown_timeout=END_GRACE)
        self._status = Ops(self._reports)
        self._ops = web.ServerRunner(Server(self._status), shutdown_timeout=END_GRACE)
        self.port = self.ops_port = 0

    async def _start(self) -> None:
        """Open both ports. Raises `StartupError` where one cannot be had."""
        settings = self._settings
        self._auth_service.start()
        self._upstreams.watch(self._config.routes)
        if self.reload is not None:
            self.reload.start()
        if self._share is None:
            await self._open_ports(settings)
        else:
            await self._public.setup()
        self.started.set()

    async def _open_ports(self, settings: Settings) -> None:
        self.ops_port = await listen(self._ops, settings.host, settings.ops_port)
        self.port = await listen(self._public, settings.host, settings.port)
        log.info(
            "listening",
            host=settings.host,
            port=self.port,
            ops_port=self.ops_port,
            routes=len(self._config.routes),
        )

    async def accept_at(self, listeners: Iterable[int]) -> None:
        """Take connections at these doors, and at no other. Not while it drains, nor after."""
        async with self._moving:
            if self._share is not None and not self._streams.is_closed:
                await self._move(self._share, set(listeners))

    async def _move(self, share: WorkerShare, wanted: set[int]) -> None:
        for number in self._sites.keys() - wanted:
            for site in self._sites.pop(number):
                await site.stop()
        for number in wanted - self._sites.keys():
            # Of copies: a site closes its socket, and may be wanted again.
            sites = [
                web.SockSite(self._public, each.dup(), backlog=BACKLOG)
                for each in share.listeners[number]
            ]
            self._sites[number] = sites
            for site in sites:
                await site.start()

    def stop(self) -> None:
        """Begin to drain; asked a second time, end at once."""
        if self._stop.is_set():
            self._force_stop.set()
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop`, then drain and close. SIGTERM and SIGINT stop it too."""
        if self._share is None:
            self._install_signal_handlers()
        try:
            await self._start()
            await self._stop.wait()
            await self._drain()
        finally:
            await self._close()

    def _install_signal_handlers(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        if self.reload is not None:
            loop.add_signal_handler(signal.SIGHUP, self.reload.ask)

    async def _close(self) -> None:
        """Close both ports and every connection."""
        if self.reload is not None:
            await self.reload.close()
        self._upstreams.close()
        await self._public.cleanup()
        await self._status.close()
        await self._ops.cleanup()
        await self._auth_service.close()
        self._resolver.close()
        await self._quotas.close()
        if self._tracer is not None:
            await self._tracer.close()
        if self._share is None:
            log.info("stopped")

    async def _drain(self) -> None:
        """Not ready at once; closed to new connections after the delay; then bounded waiting."""
        settings = self._settings
        self._is_draining = True
        self._streams.leave()
        if self.reload is not None:
            self.reload.stop()
        if self._share is None:
            log.info("draining", streams=len(self._streams), timeout=settings.drain_timeout)
        if settings.drain_delay:
            await self._unless_hurried(asyncio.sleep(settings.drain_delay))
        for site in list(self._public.sites):
            await site.stop()
        if self._share is not None:
            close_listeners(self._share.listeners)
        self._streams.close()
        await self._unless_hurried(self._streams.wait_empty(settings.drain_timeout))
        self._streams.end_all(EndReason.DRAINED)
        await self._streams.wait_empty(END_GRACE)

    async def _unless_hurried(self, waiting: Awaitable[object]) -> None:
        """Wait for something, but not past a second signal."""
        tasks = [asyncio.ensure_future(waiting), asyncio.ensure_future(self._force_stop.wait())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    def _answer(self, parsed: ParsedRequest) -> Awaitable[web.StreamResponse | AlreadySent]:
        """Answer a request on the public port by the configuration of now, to its end."""
        return self._handler(parsed)

    def _handler_of(self, config: Config, auth_service: AuthService) -> Handler:
        routes = Routes(config, self._upstreams, self._quotas)
        return Handler(
            config,
            routes,
            self._endpoints(config, routes, auth_service),
            auth_service,
            self._streams,
            report=self._account,
            tracer=self._tracer,
        )

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
            probe = ProbeStreamEndpoint(config, auth_service, self._streams)
            endpoints[config.probe] = probe
        return endpoints

    async def take(self, config: Config) -> None:
        """Serve new requests by another configuration; those under way keep theirs.

        Raises ConfigError, and has changed nothing then.
        """
        if config.limits.redis != self._config.limits.redis:
            raise ConfigError([REDIS_STAYS], config.source)
        before, auth_service = self._auth_service, AuthService(config, self._auth_service)
        try:
            auth_service.start()
            await auth_service.await_keys(before)
            handler = self._handler_of(config, auth_service)
        except BaseException as error:
            await auth_service.close(before)
            if isinstance(error, Rejection):
                raise ConfigError([_NO_KEYS], config.source) from None
            raise
        # Nothing is waited for from here on: a request sees all of the one or all of the other.
        auth_service.begin()
        self._config, self._auth_service, self._handler = config, auth_service, handler
        self._server.limits = config.limits
        self._upstreams.keep(each for route in config.routes for each in route.upstreams)
        self._upstreams.watch(config.routes)
        self._metrics.serves(config)
        await before.close(auth_service)

    def _health(self) -> Health:
        without, degraded = self._routes_with_upstreams_down()
        return Health(
            routes=len(self._config.routes),
            has_keys=self._auth_service.has_keys,
            routes_without=without,
            routes_degraded=degraded,
            required_without=self._required_without(),
            is_draining=self._is_draining,
            streams=len(self._streams),
            faults=self.faults if self.reload is None else len(self.reload.faults),
        )

    def _routes_with_upstreams_down(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The paths of routes whose upstreams are all down, and of those with some that are."""
        without, degraded = [], []
        for route in self._config.routes:
            states = [is_up for _, _, is_up in self._upstreams.states((route,))]
            if not any(states):
                without.append(route.path)
            elif not all(states):
                degraded.append(route.path)
        return tuple(without), tuple(degraded)

    def _required_without(self) -> tuple[str, ...]:
        """The paths of required routes whose health checks find no upstream that is up."""
        is_healthy = self._upstreams.is_healthy
        return tuple(
            route.path
            for route in self._config.routes
            if route.health_check is not None and route.health_check.required
            if not any(is_healthy(upstream, route) for upstream in route.upstreams)
        )

    def report(self) -> Report:
        """What is so in this process now."""
        return Report(
            self._settings.worker,
            self._metrics.snapshot(),
            self._health(),
            served_routes(self._config.routes, self._upstreams),
            live_streams(self._streams, self._settings.worker),
        )

    async def _reports(self) -> list[Report]:
        """What the ops port tells of: a gateway of one process."""
        return [self.report()]

    def _account(self, exchange: Exchange) -> None:
        """Write the line of an exchange that ended, count it, and send its span."""
        exchange.report()
        now = time.monotonic()
        self._metrics.ended(exchange, now)
        if self._tracer is not None:
            self._tracer.ended(exchange, now)


def _resolver() -> Resolver:
    """What looks names up: by the servers that the environment names, or those of the system."""
    servers = os.environ.get(DNS_SERVERS, "").replace(",", " ").split()
    try:
        return Resolver(CAres(servers))
    except ValueError as error:
        raise StartupError(
            f"{DNS_SERVERS}: {error}: give addresses such as 10.0.0.2 or 127.0.0.1:5353"
        ) from None


async def listen(runner: web.ServerRunner, host: str, port: int) -> int:
    """Open a port, any free one for 0, and give it. Raises StartupError."""
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
    except OSError as error:
        raise StartupError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None
    return int(runner.addresses[0][1])
