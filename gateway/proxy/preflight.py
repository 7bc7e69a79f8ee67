"""What a browser is told that asks first whether a page may send a request (Fetch standard, 4.8).

It brings no token, and the service never sees it.
"""

from collections.abc import Callable

from gateway.auth.cors import CorsPolicy
from gateway.config.model import Route
from gateway.endpoints.stream_token import StreamTokenEndpoint
from gateway.http.errors import ORIGIN_DENIED, Rejection
from gateway.http.headers import Headers
from gateway.proxy.router import Router
from gateway.server.request import Request


class Preflights:
    """Answers for every route and for the token endpoint. `policy_of` is a route's."""

    def __init__(
        self,
        router: Router,
        policy_of: Callable[[Route], CorsPolicy | None],
        token_endpoint: StreamTokenEndpoint,
    ) -> None:
        self._router = router
        self._policy_of = policy_of
        self._token_endpoint = token_endpoint

    def answer(self, request: Request) -> Headers | None:
        """The headers that say so, or Refusal ORIGIN_DENIED.

        None where it is no preflight, or the route that it asks for has no CORS or is none: then
        it is an OPTIONS request as any other.
        """
        origin = request.first(b"origin")
        method = request.first(b"access-control-request-method")
        if not origin or not method:
            return None
        asked = self._asked(method, origin, request.path)
        if asked is None:
            return None
        request.exchange.route, methods, policy = asked
        request.access = policy.access(origin)
        if not policy.allows(origin):
            detail = "This route takes no requests from pages of this origin."
            raise Rejection(ORIGIN_DENIED, detail, reason="cors does not list the origin")
        requested = b", ".join(request.values(b"access-control-request-headers"))
        return policy.preflight(methods, requested)

    def _asked(
        self, method: bytes, origin: bytes, path: str
    ) -> tuple[str, bytes, CorsPolicy] | None:
        """What would take a request that may follow: its name, its methods and its policy."""
        if path == self._token_endpoint.path:
            policy = self._token_endpoint.policy(origin)
            return (path, b"POST", policy) if policy is not None else None
        try:
            route = self._router.match(method.decode("latin-1"), path).route
        except Rejection:
            return None
        policy = self._policy_of(route)
        methods = ", ".join(sorted(route.methods)).encode() or method
        return (route.path, methods, policy) if policy is not None else None
