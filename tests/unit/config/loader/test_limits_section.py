import pytest

from gateway.config.loader.faults import ConfigError
from gateway.config.loader.limits_section import limits
from gateway.config.loader.yaml_document import compose
from gateway.config.model import Limits

PASSWORD = "open-sesame"


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        limits(compose(text), {})
    (fault,) = caught.value.faults
    return fault.message


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis",
        "redis://127.0.0.1:6379/1",
        "rediss://gateway:p%40ss@redis.example:6380/0?health_check_interval=10",
        "redis://:secret@[::1]:6379",
        "unix:///run/redis.sock?db=1",
    ],
)
def test_a_redis_is_named_by_its_url(url: str) -> None:
    assert limits(compose("redis: $REDIS_URL"), {"REDIS_URL": url}) == Limits(redis=url)


@pytest.mark.parametrize(
    "url",
    [
        f"http://:{PASSWORD}@redis",
        f"redis://:{PASSWORD}@redis:port",
        f"redis://:{PASSWORD}@",
        f"redis://:{PASSWORD}@redis/name",
        f"redis://:{PASSWORD}@a@b",
        f"redis://:{PASSWORD}@redis /0",
        f"unix://redis.sock?password={PASSWORD}",
    ],
)
def test_what_is_no_redis_is_refused_and_its_password_not_shown(url: str) -> None:
    fault = refused(f"redis: '{url}'")
    assert "must be redis(s)://" in fault
    assert PASSWORD not in fault


def test_a_password_is_not_in_what_is_printed_of_the_limits() -> None:
    assert PASSWORD not in repr(limits(compose(f"redis: 'redis://:{PASSWORD}@redis'"), {}))


def test_the_bounds_of_connections_and_heads_are_read() -> None:
    text = "{max_connections: 500, max_header_size: 64KiB, header_timeout: 2500ms}"
    assert limits(compose(text), {}) == Limits(500, 64 * 1024, 2.5)


def test_without_them_heads_are_bounded_and_connections_are_not() -> None:
    assert limits(compose("{}"), {}) == Limits(None, 32 * 1024, 10.0)
    assert limits(compose("header_timeout: none"), {}).header_timeout is None


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("max_connections: 0", "must be a whole number from 1 to 1000000"),
        ("max_connections: many", "must be a whole number from 1 to 1000000"),
        ("max_header_size: 512", "must be from 1KiB to 1MiB"),
        ("max_header_size: 2MiB", "must be from 1KiB to 1MiB"),
        ("header_timeout: 10", "a duration needs a unit, such as 10s"),
        ("max_conections: 1", "did you mean 'max_connections'?"),
    ],
)
def test_a_bound_that_is_none_is_rejected_with_a_fix(text: str, fix: str) -> None:
    assert fix in refused(text)


def test_without_an_environment_what_refers_to_it_is_not_checked() -> None:
    assert limits(compose("redis: $REDIS_URL"), None) == Limits()
