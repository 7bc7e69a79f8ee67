"""CORS preflights (Fetch standard, 4.8): answered by the gateway, never forwarded."""

from collections.abc import Mapping

from gateway.auth.cors import CorsPolicy
from gateway.http.errors import ORIGIN_DENIED, Rejection
from gateway.http.headers import Headers
from gateway.http.own_response import OwnResponse
from gateway.proxy.endpoint import Endpoint
from gateway.proxy.replies import preflight_response
from gateway.proxy.routes import Routes
from gateway.server.request import Request


class Preflights:
    """Answers preflights for the routes and for the endpoints."""

    def __init__(self, routes: Routes, endpoints: Mapping[str, Endpoint]) -> None:
        self._routes = routes
        self._endpoints = endpoints

    def respond(self, request: Request) -> OwnResponse | None:
        """Returns the response to a preflight; None if `allowed` returns None."""
        allowed = self.allowed(request)
        if allowed is None:
            return None
        return preflight_response(allowed, request.exchange)

    def allowed(self, request: Request) -> Headers | None:
        """Returns the headers that allow the request. Raises Rejection ORIGIN_DENIED.

        Returns None for an OPTIONS request that is no preflight, or whose route has no CORS: it is
        forwarded like any other request.
        """
        origin = request.first(b"origin")
        method = request.first(b"access-control-request-method")
        if not origin or not method:
            return None
        target = self._target(method, origin, request.path)
        if target is None:
            return None
        request.exchange.route, methods, policy = target
        request.access = policy.access(origin)
        if not policy.allows(origin):
            detail = "This route accepts no requests from pages of this origin."
            raise Rejection(ORIGIN_DENIED, detail, reason="cors does not list the origin")
        requested = b", ".join(request.values(b"access-control-request-headers"))
        return policy.preflight(methods, requested)

    def _target(
        self, method: bytes, origin: bytes, path: str
    ) -> tuple[str, bytes, CorsPolicy] | None:
        """Returns what the announced request would reach: its name, methods and policy."""
        endpoint = self._endpoints.get(path)
        if endpoint is not None:
            policy = endpoint.policy(origin)
            return None if policy is None else (path, endpoint.methods, policy)
        try:
            compiled, _ = self._routes.match(method.decode("latin-1"), path)
        except Rejection:
            return None
        if compiled.policy is None:
            return None
        # A route for all methods announces the requested one.
        methods = ", ".join(sorted(compiled.route.methods)).encode() or method
        return compiled.route.path, methods, compiled.policy
