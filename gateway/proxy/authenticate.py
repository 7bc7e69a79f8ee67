"""Authentication of a request on a route: who is the client, and may it use this route."""

from gateway.auth.authenticator import Authenticator, Identity, require_scopes
from gateway.auth.credentials import TokenSource
from gateway.auth.same_origin import require_same_origin
from gateway.proxy.compiled_route import CompiledRoute
from gateway.server.request import Request, raw


def authenticate(
    request: Request, compiled: CompiledRoute, authenticator: Authenticator
) -> Identity | None:
    """Returns the identity of the client; None on a route without authentication.

    Raises Rejection: the token is missing or not valid, comes in a cookie from a page of another
    origin, has not the scopes of the route, or is a one-use token for another request. It is
    `KeyUnknown` if the keys have to be fetched again.
    """
    route = compiled.route
    if not route.auth_required:
        return None
    identity = authenticator.authenticate(
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
