"""`POST auth.token_endpoint`: a stream token for who has a login token in a cookie or a header."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from gateway.auth.authenticator import Identity, require_scopes
from gateway.auth.cors import CorsPolicy
from gateway.auth.credentials import TokenSource
from gateway.auth.keys import KeyUnknown
from gateway.auth.same_origin import require_same_origin
from gateway.auth.service import AuthService
from gateway.config.model import Config, Cors, Route
from gateway.http.errors import BAD_REQUEST, METHOD_NOT_ALLOWED, Rejection
from gateway.proxy.replies import issued
from gateway.proxy.router import Router
from gateway.server.request import Request, over

MAX_BODY = 8 * 1024
BODY_TIMEOUT = 10.0  # seconds
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_FORM = 'The body must be a JSON object with the stream\'s path alone: {"path": "/jobs/stream"}.'


class StreamTokenEndpoint:
    """Answers `{"path"}` with `{"token", "expires_in"}`, in seconds, for the path of a route.

    Its own `path` is None where it is off.
    """

    def __init__(
        self,
        config: Config,
        router: Router,
        policies: Mapping[Cors, CorsPolicy],
        auth_service: AuthService,
    ) -> None:
        self.path = config.auth.token_endpoint
        self._router, self._policies, self._auth_service = router, policies, auth_service
        self._policy = policies[config.cors] if config.cors is not None else None
        sections = dict.fromkeys([config.cors, *(route.cors for route in config.routes)])
        self._listed = [policies[cors] for cors in sections if cors is not None]

    def policy(self, origin: bytes) -> CorsPolicy | None:
        """Whose pages may ask: those that any route lists, as none is known before the body.

        Of those that list an origin, one that lets it use the cookie, and the earliest in the file.
        """
        allowing = [each for each in self._listed if each.allows(origin)]
        with_cookie = (each for each in allowing if each.allows_cookie(origin))
        return next(with_cookie, allowing[0] if allowing else self._policy)

    async def answer(self, request: Request) -> web.Response:
        """Issue a token.

        Raises Refusal as a route does, so that a page is told here, where it can read it, what its
        EventSource would run into; and BAD_REQUEST for any other body or path.
        """
        request.exchange.route = request.path
        policy = self.policy(request.first(b"origin") or b"")
        if policy is not None:
            request.access = policy.access(request.first(b"origin"))
        if request.method != "POST":
            detail = "The token endpoint takes POST alone."
            raise Rejection(METHOD_NOT_ALLOWED, detail, (("Allow", "POST"),))
        request.check_body(MAX_BODY)
        identity, claims = await self._login(request)
        path = _path(await _body(request))
        route = self._route(path)
        if identity.source is TokenSource.COOKIE:
            policy = self._policies[route.cors] if route.cors is not None else None
            require_same_origin(request.headers, request.client, policy)
        require_scopes(identity, route.scopes)
        token, life = self._auth_service.authenticator.issue(claims, path)
        return issued({"token": token, "expires_in": life}, request.exchange)

    async def _login(self, request: Request) -> tuple[Identity, Mapping[str, Any]]:
        try:
            identity, claims = self._verify(request)
        except KeyUnknown:
            await self._auth_service.refetch_keys()
            identity, claims = self._verify(request)
        request.exchange.subject = identity.subject
        return identity, claims

    def _verify(self, request: Request) -> tuple[Identity, Mapping[str, Any]]:
        return self._auth_service.authenticator.login(
            authorization=request.values(b"authorization"), cookies=request.values(b"cookie")
        )

    def _route(self, path: str) -> Route:
        """The route that will take the token."""
        try:
            route = self._router.match("GET", path).route
        except Rejection as rejection:
            cause = (
                rejection.detail if rejection.failure is BAD_REQUEST else "No route has it for GET."
            )
            raise Rejection(BAD_REQUEST, f"This path cannot be streamed from. {cause}") from None
        if not route.auth_required:
            raise Rejection(
                BAD_REQUEST, "The route of this path asks for no token: open it as it is."
            )
        return route


async def _body(request: Request) -> bytes:
    """The request body, of a client that takes neither too much space nor too much time."""
    content, exchange = request.content, request.exchange
    if request.expects_continue:
        request.connection.send(_CONTINUE)
    body = b""
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            while data := await content.readany():
                body += data
                exchange.bytes_in = len(body)
                if len(body) > MAX_BODY:
                    raise over(MAX_BODY)
    except TimeoutError:
        raise Rejection(BAD_REQUEST, "The request body stopped coming.") from None
    return body


def _path(body: bytes) -> str:
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        raise Rejection(BAD_REQUEST, _FORM) from None
    path = read.get("path") if isinstance(read, dict) and len(read) == 1 else None
    if not isinstance(path, str):
        raise Rejection(BAD_REQUEST, _FORM)
    if "?" in path:
        raise Rejection(BAD_REQUEST, "The path is bound without its query: leave out the '?' part.")
    return path
