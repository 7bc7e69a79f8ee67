"""The `limits:` sections of routes.yaml: those of the gateway, and those of a route."""

from collections.abc import Mapping

import yaml

from gateway.config import units
from gateway.config.loader import schema_types, upstream_url
from gateway.config.loader.field import Field, Table, expanded, plain
from gateway.config.loader.section import Section, is_off
from gateway.config.model import HEADER_TIMEOUT, MAX_HEADER_SIZE, Limits, RouteLimits

SMALLEST_HEAD, LARGEST_HEAD = 1024, 1024**2  # bytes: every browser sends as much, none sends more


def _head_size(text: str) -> int:
    size = units.size(text)
    if not SMALLEST_HEAD <= size <= LARGEST_HEAD:
        raise ValueError("must be from 1KiB to 1MiB; 32KiB is the default")
    return size


_COUNT = plain(units.count, schema_types.count())

# Of the gateway

MAX_CONNECTIONS = Field(
    "max_connections",
    _COUNT,
    "how many connections the public port accepts. One more gets a 503 `too_many_connections` and"
    " is closed. This includes `/healthz` on this port, so use the ops port for health checks,"
    " which has no such limit",
    "none",
)
MAX_HEADER_SIZE_ = Field(
    "max_header_size",
    plain(_head_size, schema_types.size(least=SMALLEST_HEAD)),
    "the largest request head, `1KiB` to `1MiB`, as a whole and for each line; more is a 431",
    "32KiB",
)
HEADER_TIMEOUT_ = Field(
    "header_timeout",
    plain(units.duration, schema_types.duration()),
    "how long a request head may take from its first byte, or a new connection to send one: a 408"
    " `request_timeout`, or only a close if no byte came. A connection may idle for 75s between two"
    " requests",
    "10s",
)
REDIS = Field(
    "redis",
    expanded(upstream_url.redis, schema_types.matching("^(?:rediss?|unix)://")),
    "the Redis that replicas share: `redis(s)://[user:password@]host[:port][/database]` or"
    " `unix:///path.sock`",
    "none",
)
TABLE = Table(MAX_CONNECTIONS, MAX_HEADER_SIZE_, HEADER_TIMEOUT_, REDIS)
SHAPE = TABLE.shape("The limits of the gateway as a whole.")


def limits(node: yaml.Node, environ: Mapping[str, str] | None) -> Limits:
    """Reads the section of the gateway. Raises ConfigError."""
    section = Section(node, TABLE.keys, environ=environ)
    read = Limits(
        max_connections=MAX_CONNECTIONS.of(section),
        max_header_size=MAX_HEADER_SIZE_.of(section, MAX_HEADER_SIZE),
        header_timeout=HEADER_TIMEOUT_.of(section, HEADER_TIMEOUT),
        redis=REDIS.of(section),
    )
    section.finish()
    return read


# Of a route

MAX_STREAMS = Field(
    "max_streams",
    _COUNT,
    "how many exchanges may be open at a time, in each gateway. All exchanges count, because the"
    " response shows too late whether it is a stream",
    "none",
)
MAX_STREAMS_PER_USER = Field("max_streams_per_user", _COUNT, "the same, for one user", "none")
RATE = Field(
    "rate",
    plain(units.rate, schema_types.matching(f"^{units.RATE.pattern}$")),
    "how many requests of one user are accepted in the long run: `10/s`, `100/m`, `1000/h`",
    "none",
)
BURST = Field(
    "burst", _COUNT, "how many of them may come at once after a pause", "the number in `rate`"
)
ROUTE_TABLE = Table(MAX_STREAMS, MAX_STREAMS_PER_USER, RATE, BURST)
ROUTE_SHAPE = schema_types.or_off(
    ROUTE_TABLE.shape("How many exchanges at a time, and how fast. Default: no limits."), "none"
)


def route_limits(node: yaml.Node) -> RouteLimits:
    """Reads the section of a route; there are no limits if it is turned off. Raises ConfigError.

    The burst is the number in the rate, unless it is given.
    """
    if is_off(node):
        return RouteLimits()
    section = Section(node, ROUTE_TABLE.keys)
    number, seconds = RATE.of(section, (0, 0))
    burst = BURST.of(section, number or 1)
    if "burst" in section.nodes and "rate" not in section.nodes:
        section.blame("burst", "burst belongs to a rate: add one, such as rate: 10/s")
    read = RouteLimits(
        max_streams=MAX_STREAMS.of(section),
        max_streams_per_user=MAX_STREAMS_PER_USER.of(section),
        interval=seconds / number if number else None,
        burst=burst,
    )
    section.finish()
    return read
