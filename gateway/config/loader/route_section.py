"""One entry of `routes:`, and `defaults:`, which has the same keys."""

from collections.abc import Mapping
from functools import partial

import yaml

from gateway.config import units
from gateway.config.loader import path_pattern, schema_types
from gateway.config.loader.cors_section import SHAPE as CORS
from gateway.config.loader.cors_section import cors
from gateway.config.loader.faults import fault_at, quoted
from gateway.config.loader.header_rules import KEYS as RULES
from gateway.config.loader.header_rules import header_rules
from gateway.config.loader.method import METHOD, methods
from gateway.config.loader.route_limits import SHAPE as LIMITS
from gateway.config.loader.route_limits import route_limits
from gateway.config.loader.section import Section, boolean, items, parsed, text
from gateway.config.loader.stream_section import SHAPE as STREAM
from gateway.config.loader.stream_section import stream_options
from gateway.config.loader.upstream_section import (
    BALANCE,
    HEALTH_CHECK,
    UPSTREAMS,
    balance,
    health_check,
    retries,
    upstreams,
)
from gateway.config.model import (
    MAX_BODY,
    MAX_RETRIES,
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

_ABSOLUTE = "^/"
KEYS: schema_types.Keys = {
    "path": schema_types.matching(_ABSOLUTE, "/exact, /jobs/{id}/stream or /files/{rest:path}"),
    "method": schema_types.one_or_many(METHOD, "One or a list. HEAD comes with GET. Default: all"),
    "proxy_upstream": UPSTREAMS,
    "balance": BALANCE,
    "health_check": HEALTH_CHECK,
    "retries": schema_types.count(
        "Attempts after the first, where nothing can have had an effect. Default: 1",
        least=0,
        most=MAX_RETRIES,
    ),
    "strip_prefix": schema_types.matching(
        _ABSOLUTE, "Taken off the path before the service sees it."
    ),
    "rewrite": schema_types.matching(_ABSOLUTE, "The path that the service sees instead: /v2/{id}"),
    "auth_required": schema_types.flag("A valid token, or 401. Default: true"),
    "scopes": schema_types.one_or_many(
        schema_types.text(), "What the token must have, or 403.", least=0
    ),
    "timeout": schema_types.duration("The whole exchange, to the last byte. Default: none"),
    "connect_timeout": schema_types.duration("Until the service accepts. Default: 5s"),
    "first_byte_timeout": schema_types.duration("Until the service's response head. Default: 30s"),
    "idle_timeout": schema_types.duration(
        "The longest silence of the service. Default: none for streams, else 60s"
    ),
    "send_timeout": schema_types.duration(
        "The longest that a browser may take nothing. Default: 60s"
    ),
    "request_headers": schema_types.section(RULES, "What the service gets to see."),
    "response_headers": schema_types.section(RULES, "What the browser gets to see."),
    "preserve_host": schema_types.flag("The service sees the client's Host. Default: false"),
    "max_body": schema_types.size("The largest request body. Default: 10MiB"),
    "cors": CORS,
    "stream": STREAM,
    "limits": LIMITS,
    "description": schema_types.text("For people."),
}
DEFAULTS_KEYS = {key: value for key, value in KEYS.items() if key != "path"}
SHAPE = schema_types.section(KEYS, "One route.", ["path"])
DEFAULTS_SHAPE = schema_types.section(DEFAULTS_KEYS, "What holds where a route says nothing.")
LATER = ("resume",)

CORS_PREFIX = "access-control-"
_PATH_CHANGES = frozenset(("strip_prefix", "rewrite"))

# These stand in for what could not be read; such a route is never used.
NO_PATH: tuple[str, tuple[Segment, ...]] = ("", ())
_NO_UPSTREAM = Upstream(url="")


def settings(node: yaml.Node, defaults: Section | None) -> Section:
    """Lay a route's keys over the defaults. Raises ConfigError for what is no mapping."""
    section = Section(node, KEYS, LATER)
    if defaults is not None:
        # A route changes its path in one way: its own goes before that of the defaults.
        has_own_change = bool(_PATH_CHANGES & section.nodes.keys())
        left_out = _PATH_CHANGES if has_own_change else frozenset[str]()
        inherited = {key: defaults.nodes[key] for key in defaults.nodes.keys() - left_out}
        section.nodes = {**inherited, **section.nodes}
    return section


def defaults(node: yaml.Node, environ: Mapping[str, str] | None) -> Section:
    """Read what fills in for the keys that routes leave out.

    Its faults are left in it, so that routes still find what they inherit. Raises ConfigError for
    what is no mapping.
    """
    section = Section(node, DEFAULTS_KEYS, LATER)
    _read(section, environ)
    return section


def route(
    section: Section, environ: Mapping[str, str] | None, gateway_wide: Cors | None = None
) -> Route:
    """Read a route from its settings, and what holds where it says nothing. Raises ConfigError."""
    for key in ("path", "proxy_upstream"):
        if key not in section.nodes:
            section.faults.append(fault_at(section.node, f"{key} is missing"))
    read = _read(section, environ, gateway_wide)
    section.finish()
    return read


def path(node: yaml.Node) -> tuple[str, tuple[Segment, ...]]:
    """Read a route's path, as it is written and in segments. Raises ConfigError."""
    return text(node), parsed(node, path_pattern.path)


def _read(
    section: Section, environ: Mapping[str, str] | None, gateway_wide: Cors | None = None
) -> Route:
    written, segments = section.read("path", path, NO_PATH)
    rules = partial(header_rules, environ=environ)
    strip_prefix, rewrite = _path_change(section, segments)
    first, *others = section.read(
        "proxy_upstream", partial(upstreams, environ=environ), (_NO_UPSTREAM,)
    )
    read = Route(
        path=written,
        segments=segments,
        upstream=first,
        methods=section.read("method", methods, frozenset()),
        strip_prefix=strip_prefix,
        rewrite=rewrite,
        auth_required=section.read("auth_required", boolean, True),
        scopes=section.read("scopes", _scopes, ()),
        timeouts=_timeouts(section),
        request_headers=section.read("request_headers", rules, HeaderRules()),
        response_headers=section.read("response_headers", rules, HeaderRules()),
        preserve_host=section.read("preserve_host", boolean, False),
        max_body=section.read("max_body", partial(parsed, parse=units.size), MAX_BODY),
        cors=section.read("cors", partial(cors, environ=environ), gateway_wide),
        stream=section.read("stream", stream_options, StreamOptions()),
        limits=section.read("limits", route_limits, RouteLimits()),
        others=tuple(others),
        balance=section.read("balance", partial(parsed, parse=balance), "round_robin"),
        retries=section.read("retries", partial(parsed, parse=retries), RETRIES),
        health_check=section.read("health_check", health_check, None),
        description=section.read("description", text, "").strip(),
        line=fault_at(section.node, "").line,
    )
    if read.scopes and not read.auth_required:
        section.blame("auth_required", "scopes need a token: say true here, or scopes: []")
    if read.cors is not None:
        _blame_own_answers(section, read.response_headers)
    if read.stream.closes_on_expiry and not read.auth_required:
        mend = "say auth_required: true, or leave it out of stream"
        section.blame("stream", f"close_on_token_expiry needs a token: {mend}")
    return read


def _blame_own_answers(section: Section, rules: HeaderRules) -> None:
    for name, _ in rules.set:
        if name.lower().startswith(CORS_PREFIX):
            mend = "remove it here, or turn cors off for this route with cors: none"
            section.blame("response_headers", f"{name} is written by cors: {mend}")


def _path_change(
    section: Section, segments: tuple[Segment, ...]
) -> tuple[str, tuple[str | Segment, ...]]:
    if section.nodes.keys() >= _PATH_CHANGES:
        section.blame("rewrite", "strip_prefix and rewrite exclude each other: keep one")
    if not segments:  # the defaults have no path, and with a broken one nothing can be told
        section.read("strip_prefix", text, "")
        section.read("rewrite", text, "")
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
    """Check a scope-token (RFC 6749, section 3.3)."""
    if not text or not all("!" <= char <= "~" and char not in '"\\' for char in text):
        raise ValueError(f"{quoted(text)} is not one scope: give several as a list, [a, b]")
    return text


def _timeouts(section: Section) -> Timeouts:
    """Read the bounds; one that is given holds for streams and all else alike."""
    default = Timeouts()

    def read(key: str, otherwise: float | None) -> float | None:
        return section.read(key, partial(parsed, parse=units.duration), otherwise)

    return Timeouts(
        total=read("timeout", default.total),
        idle=read("idle_timeout", default.idle),
        stream_idle=read("idle_timeout", default.stream_idle),
        connect=read("connect_timeout", default.connect),
        first_byte=read("first_byte_timeout", default.first_byte),
        send=read("send_timeout", default.send),
    )
