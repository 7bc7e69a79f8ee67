"""The types of a loaded configuration, with named defaults. Nothing is parsed here.

Durations are seconds, sizes are bytes. A duration of `None` is no limit.
"""

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

CONNECT_TIMEOUT = 5.0
FIRST_BYTE_TIMEOUT = 30.0
IDLE_TIMEOUT = 60.0  # not of a stream, because silence is part of one
SEND_TIMEOUT = 60.0
MAX_BODY = 10 * 1024 * 1024
MAX_TOKEN = 8 * 1024
MAX_HEADER_SIZE = 32 * 1024
HEADER_TIMEOUT = 10.0
MIN_SECRET = 32
RETRIES = 1
MAX_RETRIES = 10
CHECK_INTERVAL = 10.0
CHECK_TIMEOUT = 3.0
UNHEALTHY_AFTER = 3
HEALTHY_AFTER = 2
CORS_MAX_AGE = 600.0
CORS_EXPOSED = ("Retry-After", "X-Request-Id")  # of the gateway's own responses
JWT_SECRET_VARIABLE = "GATEWAY_JWT_SECRET"  # noqa: S105 - a name, not a secret
# The methods that llhttp reads. A request with another method is malformed, and reaches no route.
METHODS = frozenset(
    """
    ACL BIND CHECKOUT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE M-SEARCH
    NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE
    SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE
    """.split()  # noqa: SIM905 - a list of 34 lines would say no more
)
RESERVED_PATHS = ("/healthz", "/readyz")
Balance = Literal["round_robin", "least_streams"]


class Kind(Enum):
    """What a segment of a route's path matches."""

    LITERAL = "literal"  # this text
    PARAMETER = "parameter"  # any one segment that is not empty
    TAIL = "tail"  # all remaining segments, or none


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a path. `text` is the literal, percent-decoded, or the parameter's name."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where a route's requests go.

    `url` is as in the file, with the environment filled in. `base_path` starts with a slash or is
    empty, and never ends with one. A unix socket has only `socket_path`.
    """

    url: str
    scheme: Literal["http", "https", "unix"] = "http"
    host: str = ""
    port: int = 0
    base_path: str = ""
    socket_path: str = ""

    @property
    def authority(self) -> str:
        """The value of the Host header: brackets for IPv6, no default port."""
        if self.scheme == "unix":
            return "localhost"
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """How a route's upstreams are checked.

    `path` is the whole target, with its query. `interval` and `timeout` are in seconds; the counts
    are consecutive answers. With `required` the gateway is not ready while no upstream is up.
    Routes that differ only in it share their checks, so that it does not count in a comparison.
    """

    path: str
    interval: float = CHECK_INTERVAL
    timeout: float = CHECK_TIMEOUT
    unhealthy_after: int = UNHEALTHY_AFTER
    healthy_after: int = HEALTHY_AFTER
    required: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """A route's timeouts, in seconds. `stream_idle` is the `idle` of a stream."""

    total: float | None = None
    idle: float | None = IDLE_TIMEOUT
    stream_idle: float | None = None
    connect: float | None = CONNECT_TIMEOUT
    first_byte: float | None = FIRST_BYTE_TIMEOUT
    send: float | None = SEND_TIMEOUT


@dataclass(frozen=True, slots=True)
class HeaderRules:
    """Headers to set (replacing) and to remove, by name."""

    set: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cors:
    """Which pages of other origins may call, and how (Fetch standard, 3.2).

    `origins` are as browsers write them, with `*` for the leading labels of a host, or a single `*`
    for all. No `methods` are those of the route; no `headers` are those that a page asks for.
    `max_age` is in seconds.
    """

    origins: tuple[str, ...]
    credentials: bool = False
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = CORS_EXPOSED
    max_age: float = CORS_MAX_AGE


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What the gateway may add to a route's event streams. Everything is off by default.

    `error_event` is the type of the event that says why the gateway ended a stream.
    """

    heartbeat: float | None = None
    error_event: str | None = None
    retries_transient: bool = False
    closes_on_expiry: bool = False


@dataclass(frozen=True, slots=True)
class RouteLimits:
    """The limits of a route; None is no limit.

    A stream is any open exchange here. `interval` is the time between two requests of a steady
    client, in seconds. `burst` is how many it may send at once after a pause.
    """

    max_streams: int | None = None
    max_streams_per_user: int | None = None
    interval: float | None = None
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Route:
    """One entry of routes.yaml.

    `others` are the upstreams of a list after the first. `methods` is empty for all. `rewrite`
    alternates literal text and `Segment` parameters. `retries` counts attempts after the first.
    `line` is where the entry starts in the file.
    """

    path: str
    segments: tuple[Segment, ...]
    upstream: Upstream
    methods: frozenset[str] = frozenset()
    strip_prefix: str = ""
    rewrite: tuple[str | Segment, ...] = ()
    auth_required: bool = True
    scopes: tuple[str, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)
    request_headers: HeaderRules = field(default_factory=HeaderRules)
    response_headers: HeaderRules = field(default_factory=HeaderRules)
    preserve_host: bool = False
    max_body: int = MAX_BODY
    cors: Cors | None = None
    stream: StreamOptions = field(default_factory=StreamOptions)
    limits: RouteLimits = field(default_factory=RouteLimits)
    others: tuple[Upstream, ...] = ()
    balance: Balance = "round_robin"
    retries: int = RETRIES
    health_check: HealthCheck | None = None
    description: str = ""
    line: int = 0

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """All upstreams, in the order of the file: one or more."""
        return (self.upstream, *self.others)


@dataclass(frozen=True, slots=True)
class Auth:
    """How a token is found and verified. A `query` or `cookie` of None is not read."""

    query: str | None = "token"
    cookie: str | None = "gateway_token"
    bearer: bool = True
    algorithms: tuple[str, ...] = ("HS256",)
    secret: str | None = field(default=None, repr=False)
    public_key: str | None = None  # PEM text
    jwks_url: str | None = None
    token_endpoint: str | None = None  # a path
    stream_token_secret: str | None = field(default=None, repr=False)
    issuer: str | None = None
    audience: tuple[str, ...] = ()
    leeway: float = 10.0
    forward_claims: tuple[tuple[str, str], ...] = ()  # claim, header
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()

    @property
    def has_key(self) -> bool:
        """Whether there is a key to verify tokens with, or one that is fetched."""
        return not self.secret is self.public_key is self.jwks_url is None


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of the gateway as a whole. `redis` is a URL, with its password if it has one.

    `max_connections` is of the public port. `header_timeout` runs from the first byte of a request
    head, or from the opening of the connection, to the end of the head.
    """

    max_connections: int | None = None
    max_header_size: int = MAX_HEADER_SIZE
    header_timeout: float | None = HEADER_TIMEOUT
    redis: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Config:
    """A whole, valid routes.yaml.

    `cors` applies to requests without a route; each route has its own, or the same. `digest` is the
    SHA-256 of the file, in hex. `probe` is the path of the test stream, if there is one.
    """

    routes: tuple[Route, ...]
    auth: Auth = field(default_factory=Auth)
    source: str = "routes.yaml"
    cors: Cors | None = None
    limits: Limits = field(default_factory=Limits)
    digest: str = ""
    probe: str | None = None
