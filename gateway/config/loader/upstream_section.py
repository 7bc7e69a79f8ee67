"""The keys of a route about its upstreams: addresses, balancing, retries, health checks."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import get_args

import yaml

from gateway.config import units
from gateway.config.loader import schema_types, upstream_url
from gateway.config.loader.faults import Unresolved, quoted, unfit
from gateway.config.loader.field import FLAG, Field, Table, Value, of_node, plain
from gateway.config.loader.section import (
    Section,
    expanded,
    is_off,
    one_or_many,
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

# A base path may have a comma: one that divides has the next address right behind it.
_DIVIDER = re.compile(r"\s*,\s*(?=https?://|unix:)", re.IGNORECASE)
_BALANCES: tuple[Balance, ...] = get_args(Balance)
_TARGET = re.compile(r"/[!-\"$-~]*")  # printable ASCII, and no fragment (RFC 9112 3.2)
_MOST_ANSWERS = 100


def upstreams(node: yaml.Node, environ: Mapping[str, str] | None) -> tuple[Upstream, ...]:
    """Reads one upstream or a list; a text, such as a variable's, may hold several with commas."""
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
    """Whether two addresses are the same, however they are written."""
    if not one.host and not one.socket_path:
        return one.url == other.url  # as written, because the environment is not read
    return replace(one, url="") == replace(other, url="")


def balance(text: str) -> Balance:
    """Checks the name of a balancing method. Raises ValueError."""
    for known in _BALANCES:
        if text == known:
            return known
    near = difflib.get_close_matches(text[:40].lower(), _BALANCES, n=1)
    hint = f": did you mean {near[0]}?" if near else ""
    raise ValueError(f"must be {' or '.join(_BALANCES)}{hint}")


def retries(text: str) -> int:
    """Parses the number of attempts after the first. Raises ValueError."""
    return _count(text, 0, MAX_RETRIES)


def health_check(node: yaml.Node) -> HealthCheck | None:
    """Reads `health_check:`; None if it is turned off. Raises ConfigError."""
    if is_off(node):
        return None
    section = Section(node, TABLE.keys)
    if "path" not in section.nodes:
        section.blame("path", "path is missing: name what to request, such as path: /healthz")
    found = HealthCheck(
        path=PATH.of(section, "/"),
        interval=INTERVAL.of(section, CHECK_INTERVAL),
        timeout=TIMEOUT.of(section, CHECK_TIMEOUT),
        unhealthy_after=UNHEALTHY_AFTER_.of(section, UNHEALTHY_AFTER),
        healthy_after=HEALTHY_AFTER_.of(section, HEALTHY_AFTER),
        required=REQUIRED.of(section, False),
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


# Of a route

PROXY_UPSTREAM = Field(
    "proxy_upstream",
    Value(
        upstreams,
        schema_types.one_or_many(
            schema_types.expanded(schema_types.matching("^(?:[Hh][Tt][Tt][Pp][Ss]?://|unix:/)"))
        ),
    ),
    "`http(s)://host[:port][/base]` or `unix:/path.sock`; a list is [balanced](upstreams.md)",
    "required",
)
BALANCE = Field(
    "balance",
    plain(balance, schema_types.one_of(_BALANCES)),
    "`round_robin`: each upstream in turn; `least_streams`: the upstream with the fewest open"
    " exchanges",
    "`round_robin`",
)
RETRIES = Field(
    "retries",
    plain(retries, schema_types.count(least=0, most=MAX_RETRIES)),
    f"attempts after the first one, 0 to {MAX_RETRIES},"
    " [where a retry is safe](upstreams.md#retries)",
    "1",
)

# Of a health check

_ANSWERS = plain(
    lambda text: _count(text, 1, _MOST_ANSWERS), schema_types.count(most=_MOST_ANSWERS)
)
_BOUND = plain(_bound, schema_types.duration())
PATH = Field(
    "path",
    plain(_target, schema_types.matching("^/")),
    "the path that is requested, with its query; no base path is put before it",
    "required",
)
INTERVAL = Field("interval", _BOUND, "between two checks, ±10 %", "10s")
TIMEOUT = Field("timeout", _BOUND, "until the response is complete", "3s")
UNHEALTHY_AFTER_ = Field(
    "unhealthy_after", _ANSWERS, "consecutive bad answers that make an upstream unhealthy", "3"
)
HEALTHY_AFTER_ = Field(
    "healthy_after", _ANSWERS, "consecutive good answers that make it healthy again", "2"
)
REQUIRED = Field(
    "required",
    FLAG,
    "the gateway is not ready while no upstream of this route is healthy",
    "`false`",
)
TABLE = Table(PATH, INTERVAL, TIMEOUT, UNHEALTHY_AFTER_, HEALTHY_AFTER_, REQUIRED)
HEALTH_CHECK = Field(
    "health_check",
    of_node(
        health_check,
        schema_types.or_off(TABLE.shape("How the upstreams of a route are checked."), "none"),
    ),
    "how the upstreams are [checked](upstreams.md#health-checks); `none` for no checks",
    "none",
)
