import pytest

from gateway.config.loader.faults import ConfigError
from gateway.config.loader.limits_section import route_limits
from gateway.config.loader.yaml_document import compose
from gateway.config.model import RouteLimits


def read(text: str) -> RouteLimits:
    return route_limits(compose(text))


def test_all_of_it_is_read() -> None:
    text = "{max_streams: 500, max_streams_per_user: 3, rate: 10/s, burst: 20}"
    assert read(text) == RouteLimits(500, 3, 0.1, 20)


@pytest.mark.parametrize(
    ("rate", "interval", "burst"),
    [("10/s", 0.1, 10), ("30/m", 2.0, 30), ("1/h", 3600.0, 1), ("1000000/s", 1e-6, 1_000_000)],
)
def test_a_burst_is_as_many_as_the_rate_names(rate: str, interval: float, burst: int) -> None:
    assert read(f"rate: {rate}") == RouteLimits(interval=interval, burst=burst)


@pytest.mark.parametrize("text", ["none", "false", "{}"])
def test_without_any_there_are_no_limits(text: str) -> None:
    assert read(text) == RouteLimits()


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("rate: 10", ["must be a rate such as 10/s, 100/m or 1000/h"]),
        ("rate: 10/d", ["must be a rate such as"]),
        ("rate: 0/s", ["must be from 1 to 1000000 for each s, m or h"]),
        ("rate: 0.5/s", ["must be a rate such as"]),
        ("burst: 5", ["burst belongs to a rate: add one, such as rate: 10/s"]),
        ("max_streams: 0", ["must be a whole number from 1 to 1000000"]),
        ("max_streams_per_user: none", ["must be a whole number from 1 to 1000000"]),
        ("max_stream: 1", ["did you mean 'max_streams'?"]),
        ("{rate: fast, burst: 0}", ["must be a rate", "must be a whole number"]),
        ("10", ["must be a mapping"]),
    ],
)
def test_each_fault_says_its_fix(text: str, faults: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    found = sorted(caught.value.faults, key=lambda fault: (fault.line, fault.column))
    assert len(found) == len(faults)
    for fault, fix in zip(found, faults, strict=True):
        assert fix in fault.message
