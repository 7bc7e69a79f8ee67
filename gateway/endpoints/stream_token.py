"""`POST auth.token_endpoint`: exchanges a login token for a one-use token."""

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus

import orjson

from gateway.auth.authenticator import require_scopes
from gateway.auth.cors import CorsPolicy
from gateway.auth.credentials import TokenSource
from gateway.auth.same_origin import require_same_origin
from gateway.auth.service import AuthService
from gateway.http.chunked import payload_of
from gateway.http.errors import BAD_REQUEST, METHOD_NOT_ALLOWED, Rejection
from gateway.http.own_response import OwnResponse, own_headers
from gateway.proxy.compiled_route import CompiledRoute
from gateway.proxy.routes import Routes
from gateway.server.request import Request, over
from gateway.telemetry.exchange import EndReason, Exchange

MAX_BODY = 8 * 1024
BODY_TIMEOUT = 10.0  # seconds
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_FORM = 'The body must be a JSON object with the stream\'s path alone: {"path": "/jobs/stream"}.'


class StreamTokenEndpoint:
    """Answers `{"path"}` with `{"token", "expires_in"}`, in seconds, for the path of a route."""

    is_recorded = True
    methods = b"POST"

    def __init__(self, routes: Routes, auth_service: AuthService) -> None:
        self._routes = routes
        self._auth_service = auth_service

    def policy(self, origin: bytes) -> CorsPolicy | None:
        """Returns a policy that lists the origin, because the route is not known yet.

        Of those that list an origin, it is the first that allows the cookie, or else the first.
        """
        allowing = [each for each in self._routes.policies.values() if each.allows(origin)]
        with_cookie = (each for each in allowing if each.allows_cookie(origin))
        return next(with_cookie, allowing[0] if allowing else self._routes.default_policy)

    async def answer(self, request: Request) -> OwnResponse:
        """Issues a token.

        Raises Rejection as the route would, so that a page can read here what its EventSource could
        not. Raises BAD_REQUEST for any other body or path.
        """
        request.exchange.route = request.path
        policy = self.policy(request.first(b"origin") or b"")
        if policy is not None:
            request.access = policy.access(request.first(b"origin"))
        if request.method != "POST":
            detail = "The token endpoint accepts only POST."
            raise Rejection(METHOD_NOT_ALLOWED, detail, (("Allow", "POST"),))
        request.check_body(MAX_BODY)
        identity, claims = await self._auth_service.log_in(
            authorization=request.values(b"authorization"), cookies=request.values(b"cookie")
        )
        request.exchange.subject = identity.subject
        path = _path(await _body(request))
        target = self._target(path)
        if identity.source is TokenSource.COOKIE:
            require_same_origin(request.headers, request.client, target.policy)
        require_scopes(identity, target.route.scopes)
        token, life = self._auth_service.authenticator.issue(claims, path)
        return _token_response({"token": token, "expires_in": life}, request.exchange)

    def _target(self, path: str) -> CompiledRoute:
        """Returns the route that will accept the token. Raises Rejection BAD_REQUEST."""
        try:
            target, _ = self._routes.match("GET", path)
        except Rejection as rejection:
            detail = "No GET route matches this path."
            if rejection.failure is BAD_REQUEST:
                detail = f"This path is not valid. {rejection.detail}"
            raise Rejection(BAD_REQUEST, detail) from None
        if not target.route.auth_required:
            raise Rejection(
                BAD_REQUEST, "The route of this path needs no token: open it without one."
            )
        return target


async def _body(request: Request) -> bytes:
    """Returns the request body, bounded in size and in time."""
    content, exchange = request.content, request.exchange
    if request.expects_continue:
        request.connection.send(_CONTINUE)
    body = b""
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while not content.is_read:
                if (waiting := content.waiting()) is not None:
                    await waiting
                body += content.take()
                exchange.bytes_in = content.size
                if content.size > MAX_BODY:
                    raise over(MAX_BODY)
    except TimeoutError:
        raise Rejection(BAD_REQUEST, "The request body stopped coming.") from None
    except ConnectionError:
        raise Rejection(BAD_REQUEST, "The request body is malformed.") from None
    return payload_of(body) if content.is_chunked else body


def _token_response(body: Mapping[str, object], exchange: Exchange) -> OwnResponse:
    """Returns the response that issues a token, and completes the exchange."""
    text = orjson.dumps(body)
    exchange.status = int(HTTPStatus.OK)
    exchange.mark_first_byte()
    exchange.bytes_out = len(text)
    exchange.end(EndReason.COMPLETE)
    headers = [(b"Content-Type", b"application/json; charset=utf-8")]
    return OwnResponse(200, [*headers, *own_headers(exchange.request_id)], text)


def _path(body: bytes) -> str:
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        raise Rejection(BAD_REQUEST, _FORM) from None
    path = read.get("path") if isinstance(read, dict) and len(read) == 1 else None
    if not isinstance(path, str):
        raise Rejection(BAD_REQUEST, _FORM)
    if "?" in path:
        raise Rejection(BAD_REQUEST, "Send the path without its query: remove all from the '?' on.")
    return path
