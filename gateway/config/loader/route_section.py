"""One entry of `routes:`, and `defaults:`, which has the same keys."""

from collections.abc import Mapping
from functools import partial

import yaml

from gateway.config import units
from gateway.config.loader import (
    cors_section,
    header_rules,
    limits_section,
    method,
    path_pattern,
    schema_types,
    stream_section,
    upstream_section,
)
from gateway.config.loader.faults import fault_at, quoted
from gateway.config.loader.field import FLAG, TEXT, Field, Table, Value, of_node, plain
from gateway.config.loader.section import Section, items, parsed, text
from gateway.config.model import (
    MAX_BODY,
    RETRIES,
    Cors,
    HeaderRules,
    Route,
    RouteLimits,
    Segment,
    StreamOptions,
    Timeouts,
    Upstream,
)

CORS_PREFIX = "access-control-"
_PATH_CHANGES = frozenset(("strip_prefix", "rewrite"))

# Placeholders for what could not be read; such a route is never used.
NO_PATH: tuple[str, tuple[Segment, ...]] = ("", ())
_NO_UPSTREAM = Upstream(url="")


def settings(
    node: yaml.Node, environ: Mapping[str, str] | None, defaults: Section | None
) -> Section:
    """Returns the keys of a route over the defaults. Raises ConfigError for no mapping."""
    section = Section(node, TABLE.keys, LATER, environ)
    if defaults is not None:
        # A route changes its path in one way: its own key replaces that of the defaults.
        has_own_change = bool(_PATH_CHANGES & section.nodes.keys())
        left_out = _PATH_CHANGES if has_own_change else frozenset[str]()
        inherited = {key: defaults.nodes[key] for key in defaults.nodes.keys() - left_out}
        section.nodes = {**inherited, **section.nodes}
    return section


def defaults(node: yaml.Node, environ: Mapping[str, str] | None) -> Section:
    """Reads the values for the keys that routes leave out.

    Its faults stay in it, so that routes still find what they inherit. Raises ConfigError if the
    node is no mapping.
    """
    section = Section(node, _DEFAULTS_KEYS, LATER, environ)
    _read(section)
    return section


def route(section: Section, gateway_wide: Cors | None = None) -> Route:
    """Reads a route from its keys and from the `cors:` of the file. Raises ConfigError."""
    for key in ("path", "proxy_upstream"):
        if key not in section.nodes:
            section.faults.append(fault_at(section.node, f"{key} is missing"))
    read = _read(section, gateway_wide)
    section.finish()
    return read


def path(node: yaml.Node) -> tuple[str, tuple[Segment, ...]]:
    """Reads a route's path, as it is written and in segments. Raises ConfigError."""
    return text(node), parsed(node, path_pattern.path)


def _read(section: Section, gateway_wide: Cors | None = None) -> Route:
    written, segments = PATH.of(section, NO_PATH)
    strip_prefix, rewrite = _path_change(section, segments)
    first, *others = upstream_section.PROXY_UPSTREAM.of(section, (_NO_UPSTREAM,))
    read = Route(
        path=written,
        segments=segments,
        upstream=first,
        methods=METHOD.of(section, frozenset()),
        strip_prefix=strip_prefix,
        rewrite=rewrite,
        auth_required=AUTH_REQUIRED.of(section, True),
        scopes=SCOPES.of(section, ()),
        timeouts=_timeouts(section),
        request_headers=REQUEST_HEADERS.of(section, HeaderRules()),
        response_headers=RESPONSE_HEADERS.of(section, HeaderRules()),
        preserve_host=PRESERVE_HOST.of(section, False),
        max_body=MAX_BODY_.of(section, MAX_BODY),
        cors=CORS.of(section, gateway_wide),
        stream=STREAM.of(section, StreamOptions()),
        limits=LIMITS.of(section, RouteLimits()),
        others=tuple(others),
        balance=upstream_section.BALANCE.of(section, "round_robin"),
        retries=upstream_section.RETRIES.of(section, RETRIES),
        health_check=upstream_section.HEALTH_CHECK.of(section),
        description=DESCRIPTION.of(section, "").strip(),
        line=fault_at(section.node, "").line,
    )
    if read.scopes and not read.auth_required:
        section.blame("auth_required", "scopes need a token: say true here, or scopes: []")
    if read.cors is not None:
        _blame_own_answers(section, read.response_headers)
    if read.stream.closes_on_expiry and not read.auth_required:
        hint = "say auth_required: true, or remove it from stream"
        section.blame("stream", f"close_on_token_expiry needs a token: {hint}")
    return read


def _blame_own_answers(section: Section, rules: HeaderRules) -> None:
    for name, _ in rules.set:
        if name.lower().startswith(CORS_PREFIX):
            hint = "remove it here, or turn cors off for this route with cors: none"
            section.blame("response_headers", f"{name} is written by cors: {hint}")


def _path_change(
    section: Section, segments: tuple[Segment, ...]
) -> tuple[str, tuple[str | Segment, ...]]:
    if section.nodes.keys() >= _PATH_CHANGES:
        section.blame("rewrite", "strip_prefix and rewrite exclude each other: keep one")
    if not segments:  # without a valid path nothing can be checked
        STRIP_PREFIX.of(section, "")
        REWRITE.of(section, "")
        return "", ()
    return (
        section.read("strip_prefix", partial(_prefix, segments), ""),
        section.read("rewrite", partial(_template, segments), ()),
    )


def _prefix(segments: tuple[Segment, ...], node: yaml.Node) -> str:
    return parsed(node, lambda text: path_pattern.prefix(text, segments))


def _template(segments: tuple[Segment, ...], node: yaml.Node) -> tuple[str | Segment, ...]:
    return parsed(node, lambda text: path_pattern.template(text, segments))


def _scopes(node: yaml.Node) -> tuple[str, ...]:
    read = partial(parsed, parse=_scope)
    return items(node, read) if isinstance(node, yaml.SequenceNode) else (read(node),)


def _scope(text: str) -> str:
    """Checks a scope-token (RFC 6749, section 3.3)."""
    if not text or not all("!" <= char <= "~" and char not in '"\\' for char in text):
        raise ValueError(f"{quoted(text)} is not one scope: give several as a list, [a, b]")
    return text


def _timeouts(section: Section) -> Timeouts:
    """Reads the timeouts; an idle_timeout that is given applies to streams as well."""
    default = Timeouts()
    return Timeouts(
        total=TIMEOUT.of(section, default.total),
        idle=IDLE_TIMEOUT.of(section, default.idle),
        stream_idle=IDLE_TIMEOUT.of(section, default.stream_idle),
        connect=CONNECT_TIMEOUT.of(section, default.connect),
        first_byte=FIRST_BYTE_TIMEOUT.of(section, default.first_byte),
        send=SEND_TIMEOUT.of(section, default.send),
    )


_ABSOLUTE = schema_types.matching("^/")
_DURATION = plain(units.duration, schema_types.duration())

PATH = Field(
    "path",
    of_node(path, _ABSOLUTE),
    "`/exact`, `/jobs/{id}/stream` (one segment) or `/files/{rest:path}` (all remaining segments)."
    " A literal wins over a parameter, and a parameter over the rest, whatever the order in the"
    " file",
    "required",
)
METHOD = Field("method", method.VALUE, "one method or a list; HEAD comes with GET", "all")
STRIP_PREFIX = Field(
    "strip_prefix",
    of_node(text, _ABSOLUTE),
    "the prefix that is removed from the path before the upstream receives it",
    "nothing",
)
REWRITE = Field(
    "rewrite",
    of_node(text, _ABSOLUTE),
    "the path that the upstream receives instead: `/v2/{id}`",
)
AUTH_REQUIRED = Field("auth_required", FLAG, "a valid token, or 401", "`true`")
SCOPES = Field(
    "scopes",
    of_node(_scopes, schema_types.one_or_many(schema_types.text(), least=0)),
    "scopes that the token must have, or 403",
    "none",
)
TIMEOUT = Field(
    "timeout",
    _DURATION,
    "the whole exchange, to the last byte",
    "none: a healthy transfer is never cut for its length",
)
CONNECT_TIMEOUT = Field(
    "connect_timeout", _DURATION, "until the upstream accepts the connection", "5s"
)
FIRST_BYTE_TIMEOUT = Field(
    "first_byte_timeout",
    _DURATION,
    "from the complete request to the response head of the upstream",
    "30s",
)
IDLE_TIMEOUT = Field(
    "idle_timeout",
    _DURATION,
    "the longest silence of the upstream within its response, or of both sides of a WebSocket",
    "none for a [stream](event-streams.md) or a [WebSocket](websockets.md), else 60s",
)
SEND_TIMEOUT = Field(
    "send_timeout",
    _DURATION,
    "the longest time that a client may take nothing while bytes wait for it, or send nothing of a"
    " body that it began",
    "60s",
)
REQUEST_HEADERS = Field(
    "request_headers",
    header_rules.VALUE,
    "[header rules](#header-rules) for the request to the upstream",
    "none",
)
RESPONSE_HEADERS = Field(
    "response_headers",
    header_rules.VALUE,
    "[header rules](#header-rules) for the response to the client",
    "none",
)
PRESERVE_HOST = Field(
    "preserve_host", FLAG, "the upstream receives the Host that the client sent", "`false`"
)
MAX_BODY_ = Field(
    "max_body",
    plain(units.size, schema_types.size()),
    "the largest request body: `512KiB`, `10MiB`",
    "10MiB",
)
CORS = Field(
    "cors",
    Value(cors_section.cors, cors_section.SHAPE),
    "replaces the [section of the whole file](cors.md); `none` for no CORS",
    "that section",
)
STREAM = Field(
    "stream",
    of_node(stream_section.stream_options, stream_section.SHAPE),
    "what the gateway may add to an [event stream](event-streams.md#what-the-gateway-can-add)",
    "all off",
)
LIMITS = Field(
    "limits",
    of_node(limits_section.route_limits, limits_section.ROUTE_SHAPE),
    "how many exchanges at a time, and [how fast](limits.md#limits-of-a-route)",
    "none",
)
DESCRIPTION = Field("description", TEXT, "a text for `gateway check` and for readers")
TABLE = Table(
    PATH,
    METHOD,
    upstream_section.PROXY_UPSTREAM,
    upstream_section.BALANCE,
    upstream_section.HEALTH_CHECK,
    upstream_section.RETRIES,
    STRIP_PREFIX,
    REWRITE,
    AUTH_REQUIRED,
    SCOPES,
    TIMEOUT,
    CONNECT_TIMEOUT,
    FIRST_BYTE_TIMEOUT,
    IDLE_TIMEOUT,
    SEND_TIMEOUT,
    REQUEST_HEADERS,
    RESPONSE_HEADERS,
    PRESERVE_HOST,
    MAX_BODY_,
    CORS,
    STREAM,
    LIMITS,
    DESCRIPTION,
)
_DEFAULTS_KEYS = TABLE.without("path").keys
LATER = ("resume",)
# A route may take its upstream from the defaults, so that only the loader can check for it.
SHAPE = schema_types.section(TABLE.keys, "One route.", ["path"])
DEFAULTS_SHAPE = schema_types.section(_DEFAULTS_KEYS, "Values for the keys that routes leave out.")
