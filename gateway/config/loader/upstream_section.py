"""What a route says of its upstreams: which they are, how they share, how they are checked."""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import get_args

import yaml

from gateway.config import units
from gateway.config.loader import schema_types, upstream_url
from gateway.config.loader.faults import Unresolved, quoted, unfit
from gateway.config.loader.section import (
    Section,
    boolean,
    expanded,
    is_off,
    one_or_many,
    parsed,
    text,
)
from gateway.config.model import (
    CHECK_INTERVAL,
    CHECK_TIMEOUT,
    HEALTHY_AFTER,
    MAX_RETRIES,
    UNHEALTHY_AFTER,
    Balance,
    HealthCheck,
    Upstream,
)

# A comma may stand in a base path: one that divides has the next address right behind it.
_DIVIDER = re.compile(r"\s*,\s*(?=https?://|unix:)", re.IGNORECASE)
_BALANCES: tuple[Balance, ...] = get_args(Balance)
_TARGET = re.compile(r"/[!-\"$-~]*")  # printable ASCII, and no fragment (RFC 9112 3.2)
_MOST_ANSWERS = 100

UPSTREAMS = schema_types.one_or_many(
    schema_types.expanded(schema_types.matching("^(?:[Hh][Tt][Tt][Pp][Ss]?://|unix:/)")),
    "http(s)://host[:port][/base] or unix:/path.sock, or a list of them",
)
BALANCE = schema_types.one_of(
    _BALANCES, "Each in turn, or the one with the fewest under way. Default: round_robin"
)
KEYS: schema_types.Keys = {
    "path": schema_types.matching("^/", "What is asked for, with its query: /healthz"),
    "interval": schema_types.duration("Between two questions. Default: 10s"),
    "timeout": schema_types.duration("Until the answer is there, whole. Default: 3s"),
    "unhealthy_after": schema_types.count(
        "Bad answers in a row that take it down. Default: 3", most=_MOST_ANSWERS
    ),
    "healthy_after": schema_types.count(
        "Good answers in a row that bring it back. Default: 2", most=_MOST_ANSWERS
    ),
    "required": schema_types.flag(
        "Whether the gateway is not ready while no upstream of the route is up. Default: false"
    ),
}
HEALTH_CHECK = schema_types.or_off(
    schema_types.section(KEYS, "How the upstreams are asked whether they are well.", ["path"]),
    "none",
)


def upstreams(node: yaml.Node, environ: Mapping[str, str] | None) -> tuple[Upstream, ...]:
    """Read one upstream or a list; a text, such as a variable's, may hold several with commas."""
    found = tuple(chain.from_iterable(one_or_many(node, partial(_several, environ))))
    for place, upstream in enumerate(found):
        if any(_is_same(upstream, earlier) for earlier in found[:place]):
            raise unfit(node, f"{quoted(upstream.url)} is listed twice: remove one")
    return found


def _several(environ: Mapping[str, str] | None, node: yaml.Node) -> tuple[Upstream, ...]:
    try:
        return expanded(node, environ, _addresses)
    except Unresolved:
        return (Upstream(url=text(node)),)


def _addresses(text: str) -> tuple[Upstream, ...]:
    return tuple(upstream_url.upstream(part) for part in _DIVIDER.split(text))


def _is_same(one: Upstream, other: Upstream) -> bool:
    """Tell whether two are the same service, however they are written."""
    if not one.host and not one.socket_path:
        return one.url == other.url  # as written, where the environment is not read
    return replace(one, url="") == replace(other, url="")


def balance(text: str) -> Balance:
    """Check how requests are shared. Raises ValueError, with the mend."""
    for known in _BALANCES:
        if text == known:
            return known
    near = difflib.get_close_matches(text[:40].lower(), _BALANCES, n=1)
    hint = f": did you mean {near[0]}?" if near else ""
    raise ValueError(f"must be {' or '.join(_BALANCES)}{hint}")


def retries(text: str) -> int:
    """Parse how many attempts follow the first. Raises ValueError, with the mend."""
    return _count(text, 0, MAX_RETRIES)


def health_check(node: yaml.Node) -> HealthCheck | None:
    """Read `health_check:`; None where it is turned off. Raises ConfigError."""
    if is_off(node):
        return None
    section = Section(node, KEYS)
    if "path" not in section.nodes:
        section.blame("path", "path is missing: say what to ask for, such as path: /healthz")

    def read(key: str, parse: Callable[[str], float], otherwise: float) -> float:
        return section.read(key, partial(parsed, parse=parse), otherwise)

    count = partial(parsed, parse=partial(_count, least=1, most=_MOST_ANSWERS))
    found = HealthCheck(
        path=section.read("path", partial(parsed, parse=_target), "/"),
        interval=read("interval", _bound, CHECK_INTERVAL),
        timeout=read("timeout", _bound, CHECK_TIMEOUT),
        unhealthy_after=section.read("unhealthy_after", count, UNHEALTHY_AFTER),
        healthy_after=section.read("healthy_after", count, HEALTHY_AFTER),
        required=section.read("required", boolean, False),
    )
    section.finish()
    return found


def _target(text: str) -> str:
    if not _TARGET.fullmatch(text):
        raise ValueError("must be a path such as /healthz, percent-encoded, without a fragment (#)")
    return text


def _bound(text: str) -> float:
    seconds = units.duration(text)
    if seconds is None:
        raise ValueError("must be a duration such as 10s; to check nothing: health_check: none")
    return seconds


def _count(text: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not least <= int(text) <= most:
        raise ValueError(f"must be a number from {least} to {most}")
    return int(text)
