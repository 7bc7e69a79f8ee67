"""The `limits:` section of routes.yaml: what holds for the gateway as a whole."""

from collections.abc import Mapping
from functools import partial

import yaml

from gateway.config import Limits
from gateway.loader import address, shape
from gateway.loader.section import Section, expanded

KEYS: shape.Keys = {
    "redis": shape.expanded(
        shape.matching("^(?:rediss?|unix)://", "The Redis that replicas share.")
    ),
}
LATER = ("max_connections", "max_header_size", "header_timeout")
SHAPE = shape.section(KEYS, "What holds for the gateway as a whole.")


def limits(node: yaml.Node, environ: Mapping[str, str] | None) -> Limits:
    """Read the section. Raises ConfigError."""
    section = Section(node, KEYS, LATER)
    redis = partial(expanded, environ=environ, parse=address.redis)
    read = Limits(redis=section.read("redis", redis, None))
    section.finish()
    return read
