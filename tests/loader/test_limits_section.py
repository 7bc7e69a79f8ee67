import pytest

from gateway.config import Limits
from gateway.loader.document import compose
from gateway.loader.faults import ConfigError
from gateway.loader.limits_section import limits

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


@pytest.mark.parametrize("key", ["max_connections", "max_header_size", "header_timeout"])
def test_a_limit_that_does_nothing_yet_is_refused(key: str) -> None:
    assert f"this version does not support '{key}'" in refused(f"{key}: 1")


def test_without_an_environment_what_refers_to_it_is_not_checked() -> None:
    assert limits(compose("redis: $REDIS_URL"), None) == Limits()
