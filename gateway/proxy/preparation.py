"""What is worked out for a request before it waits for anything: route, identity, heads, limits."""

from gateway.auth.service import AuthService
from gateway.auth.stream_tokens import OneUseToken
from gateway.limits.quota import Slot
from gateway.proxy.authenticate import authenticate
from gateway.proxy.forward import Forwarder
from gateway.proxy.routes import Routes
from gateway.server.request import Request


class Prepared:
    """A request that may be forwarded once it has its `slot`, and its one-use token is redeemed."""

    def __init__(
        self, forwarder: Forwarder, slot: Slot | None, one_use_token: OneUseToken | None
    ) -> None:
        self.forwarder = forwarder
        self.pump = forwarder.pump
        self.slot = slot
        self.one_use_token = one_use_token


def prepare(request: Request, routes: Routes, auth_service: AuthService) -> Prepared:
    """Match and authenticate a request. A long stream keeps nothing that only these steps need.

    Raises Rejection; it is `KeyUnknown` if the keys have to be fetched again.
    """
    route, match = routes.match(request.method, request.path)
    request.exchange.route = route.route.path
    route.apply_error_format(request)
    identity = authenticate(request, route, auth_service.authenticator)
    request.check_body(route.route.max_body)
    head, pump = route.request_head(request, match, identity), route.pump(request, identity)
    forwarder = Forwarder(request, route.route, head, pump, route.load_balancer)
    slot = route.slot(request, identity)
    request.forget_headers()
    return Prepared(forwarder, slot, None if identity is None else identity.one_use_token)
