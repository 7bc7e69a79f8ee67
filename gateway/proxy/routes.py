"""The routes of one configuration, compiled once, and how a request finds its route."""

from gateway.auth.cors import CorsPolicy
from gateway.config.model import Config, Cors
from gateway.limits.registry import QuotaRegistry
from gateway.proxy.compiled_route import CompiledRoute
from gateway.proxy.router import Match, Router
from gateway.upstream.load_balancer import LoadBalancer
from gateway.upstream.registry import UpstreamRegistry


class Routes:
    """The compiled routes and the CORS policies of a configuration.

    `default_policy` is the policy of the whole file, `policies` has one for each `cors:` section
    in the order of the file, the default first.
    """

    def __init__(self, config: Config, upstreams: UpstreamRegistry, quotas: QuotaRegistry) -> None:
        sections = dict.fromkeys([config.cors, *(route.cors for route in config.routes)])
        self.policies: dict[Cors, CorsPolicy] = {
            cors: CorsPolicy(cors) for cors in sections if cors is not None
        }
        self.default_policy = self._policy(config.cors)
        self.trusted_proxies = config.auth.trusted_proxies
        self.max_header_size = config.limits.max_header_size
        self._router = Router(config.routes)
        self._compiled = {
            id(route): CompiledRoute(
                route,
                config.auth,
                self._policy(route.cors),
                LoadBalancer.of(route, upstreams),
                quotas.of(route),
            )
            for route in config.routes
        }

    def match(self, method: str, path: str) -> tuple[CompiledRoute, Match]:
        """Returns the route of a raw path. Raises Rejection, see `Router.match`."""
        match = self._router.match(method, path)
        return self._compiled[id(match.route)], match

    def _policy(self, cors: Cors | None) -> CorsPolicy | None:
        return None if cors is None else self.policies[cors]
