"""`limits:` of a route: how many at a time, and how fast new ones may come."""

from functools import partial

import yaml

from gateway.config import units
from gateway.config.loader import schema_types
from gateway.config.loader.section import Section, is_off, parsed
from gateway.config.model import RouteLimits

KEYS: schema_types.Keys = {
    "max_streams": schema_types.count(
        "How many requests may be under way at a time, in each process."
    ),
    "max_streams_per_user": schema_types.count("The same, of one user."),
    "rate": schema_types.matching(f"^{units.RATE.pattern}$", "Of one user: 10/s, 100/m or 1000/h"),
    "burst": schema_types.count("How many may come at once. Default: as many as rate names"),
}
SHAPE = schema_types.or_off(
    schema_types.section(KEYS, "How many at a time, and how fast. Default: none"), "none"
)


def route_limits(node: yaml.Node) -> RouteLimits:
    """Read `limits:`; there are none where they are turned off. Raises ConfigError.

    A burst is as many as the rate names, unless one is given.
    """
    if is_off(node):
        return RouteLimits()
    section = Section(node, KEYS)
    count = partial(parsed, parse=units.count)
    number, seconds = section.read("rate", partial(parsed, parse=units.rate), (0, 0))
    burst = section.read("burst", count, number or 1)
    if "burst" in section.nodes and "rate" not in section.nodes:
        section.blame("burst", "burst is of a rate: add one, such as rate: 10/s")
    read = RouteLimits(
        max_streams=section.read("max_streams", count, None),
        max_streams_per_user=section.read("max_streams_per_user", count, None),
        interval=seconds / number if number else None,
        burst=burst,
    )
    section.finish()
    return read
