"""The `limits:` section of routes.yaml: what holds for the gateway as a whole."""

from collections.abc import Mapping
from functools import partial

import yaml

from gateway.config import units
from gateway.config.loader import schema_types, upstream_url
from gateway.config.loader.section import Section, expanded, parsed
from gateway.config.model import HEADER_TIMEOUT, MAX_HEADER_SIZE, Limits

SMALLEST_HEAD, LARGEST_HEAD = 1024, 1024**2  # bytes: what any browser sends, what no browser does

KEYS: schema_types.Keys = {
    "max_connections": schema_types.count("How many the public port takes. Default: no bound"),
    "max_header_size": schema_types.size(
        "The largest request head, 1KiB to 1MiB. Default: 32KiB", least=SMALLEST_HEAD
    ),
    "header_timeout": schema_types.duration("How long a request head may take. Default: 10s"),
    "redis": schema_types.expanded(
        schema_types.matching("^(?:rediss?|unix)://", "The Redis that replicas share.")
    ),
}
SHAPE = schema_types.section(KEYS, "What holds for the gateway as a whole.")


def limits(node: yaml.Node, environ: Mapping[str, str] | None) -> Limits:
    """Read the section. Raises ConfigError."""
    section = Section(node, KEYS)
    redis = partial(expanded, environ=environ, parse=upstream_url.redis)
    read = Limits(
        max_connections=section.read("max_connections", partial(parsed, parse=units.count), None),
        max_header_size=section.read(
            "max_header_size", partial(parsed, parse=_head_size), MAX_HEADER_SIZE
        ),
        header_timeout=section.read(
            "header_timeout", partial(parsed, parse=units.duration), HEADER_TIMEOUT
        ),
        redis=section.read("redis", redis, None),
    )
    section.finish()
    return read


def _head_size(text: str) -> int:
    size = units.size(text)
    if not SMALLEST_HEAD <= size <= LARGEST_HEAD:
        raise ValueError("must be from 1KiB to 1MiB; 32KiB is the default")
    return size
