"""A route with everything that is computed once for it, and what it makes for each request.

For each request it makes the head for the upstream, and the pump for the response.
"""

from gateway.auth.authenticator import Identity
from gateway.auth.cors import CorsPolicy
from gateway.auth.credentials import Credentials, TokenSource
from gateway.config.model import Auth, HeaderRules, Route, StreamOptions
from gateway.http.forwarded import subscriber
from gateway.http.header_edits import Edits
from gateway.http.headers import TO_WEBSOCKET, accepts_event_stream, for_upstream
from gateway.http.message_heads import Reply, RequestHead
from gateway.limits.quota import Quota, Slot
from gateway.proxy.event_stream_pump import EventStreamPump, StreamTerms
from gateway.proxy.response_pump import ResponsePump
from gateway.proxy.router import Match, target_path
from gateway.proxy.websocket_tunnel import WebSocketTunnel
from gateway.server.request import Request, raw
from gateway.upstream.load_balancer import LoadBalancer


class CompiledRoute:
    """A compiled route: without CORS it has no `policy`, without limits no `quota`."""

    def __init__(
        self,
        route: Route,
        auth: Auth,
        policy: CorsPolicy | None,
        load_balancer: LoadBalancer,
        quota: Quota | None = None,
    ) -> None:
        self.route = route
        self.quota = quota
        self.policy = policy
        self.load_balancer = load_balancer
        self._leeway = auth.leeway
        self._credentials = Credentials(auth)
        self._request_edits = _edits(route.request_headers)
        self._response_edits = _edits(route.response_headers)
        self._options: StreamOptions | None = None
        if route.stream != StreamOptions():
            self._options = route.stream

    def apply_error_format(self, request: Request) -> None:
        """Sets how this route reports errors: the CORS headers, and a 200 with `retry:`."""
        if self._options is not None and self._options.retries_transient:
            request.wants_retry = accepts_event_stream(request.headers)
        if self.policy is not None:
            request.access = self.policy.access(request.first(b"origin"))
        else:
            request.access = None

    def slot(self, request: Request, identity: Identity | None) -> Slot | None:
        """Returns a slot under the route's limits, not acquired yet; None without limits."""
        if self.quota is None:
            return None
        if identity is not None and identity.subject:
            return self.quota.slot(f"subject {identity.subject}")
        return self.quota.slot(f"address {subscriber(request.client.address)}")

    def request_head(
        self, request: Request, match: Match, identity: Identity | None
    ) -> RequestHead:
        """Returns the request head for the upstream."""
        route, credentials = self.route, self._credentials
        target = credentials.strip_target(raw(target_path(match) + request.query))
        host = request.client.host if route.preserve_host else b""
        own = credentials.strip(for_upstream(request.headers), is_authenticated=route.auth_required)
        headers = [
            *own,
            *request.client.forwarded,
            (b"X-Request-Id", request.exchange.request_id.encode()),
            (b"traceparent", request.trace.parent),
            *[(b"tracestate", state) for state in request.trace.states],
            *(identity.headers if identity else ()),
        ]
        headers = self._request_edits.apply(headers)
        switch = TO_WEBSOCKET if request.is_websocket else ()
        return RequestHead(request.method, target, host, [*headers, *request.framing, *switch])

    def pump(self, request: Request, identity: Identity | None) -> ResponsePump:
        """Returns what forwards the response."""
        reply = Reply(
            is_http_11=request.is_http_11,
            keep_alive=request.keeps_alive,
            expects_continue=request.expects_continue,
            had_query_token=identity is not None and identity.source is TokenSource.QUERY,
            request_id=request.exchange.request_id,
            edits=self._response_edits,
            access=request.access,
        )
        client = request.connection
        options, timeouts = self._options, self.route.timeouts
        if request.is_websocket:
            return WebSocketTunnel(client, request.exchange, reply, timeouts)
        if options is None:
            return ResponsePump(client, request.exchange, reply, timeouts)
        terms = StreamTerms(options, self._expiry(identity, options), request.wants_retry)
        return EventStreamPump(client, request.exchange, reply, timeouts, terms)

    def _expiry(self, identity: Identity | None, options: StreamOptions) -> float | None:
        """Returns when a stream ends with its token, in seconds since the epoch.

        The leeway is included, because until then the token would be accepted again.
        """
        if identity is None or not options.closes_on_expiry:
            return None
        return identity.expires_at + self._leeway


def _edits(rules: HeaderRules) -> Edits:
    return Edits.of(rules.set, rules.remove)
