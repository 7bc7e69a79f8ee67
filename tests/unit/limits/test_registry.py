"""Each route with limits has one quota, which goes on when the routes are read anew."""

import gc

from gateway.config.model import Route, RouteLimits, Upstream
from gateway.limits.registry import QuotaRegistry

LIMITS = RouteLimits(max_streams=1)


def route(path: str = "/a", limits: RouteLimits = LIMITS, *methods: str) -> Route:
    return Route(path, (), Upstream(""), frozenset(methods), limits=limits)


def test_a_route_without_limits_has_none() -> None:
    assert QuotaRegistry(None).of(route(limits=RouteLimits())) is None


def test_the_same_route_has_the_same_quota_with_its_limits_of_now() -> None:
    quotas = QuotaRegistry(None)
    quota = quotas.of(route())
    other = quotas.of(route(limits=RouteLimits(max_streams=2)))
    assert quota is other
    assert other is not None
    assert other.limits.max_streams == 2


def test_routes_of_other_paths_or_methods_have_others() -> None:
    quotas = QuotaRegistry(None)
    found = [
        quotas.of(each)
        for each in (route(), route("/b"), route("/a", LIMITS, "GET"), route("/a", LIMITS, "POST"))
    ]
    assert len({id(quota) for quota in found}) == 4


def test_what_nobody_uses_any_more_is_forgotten() -> None:
    quotas = QuotaRegistry(None)
    quotas.of(route())
    gc.collect()
    assert len(quotas._quotas) == 0


async def test_without_redis_nothing_is_shared_nor_falls_back() -> None:
    quotas = QuotaRegistry(None)
    assert quotas.of(route()) is not None
    assert (quotas.is_shared, quotas.fallbacks) == (None, None)
    await quotas.close()


async def test_with_redis_it_is_shared_from_the_first_route_with_limits() -> None:
    quotas = QuotaRegistry("redis://127.0.0.1:1")
    quotas.of(route(limits=RouteLimits()))
    assert (quotas.is_shared, quotas.fallbacks) == (None, None)
    quotas.of(route())
    reported: tuple[bool | None, int | None] = (quotas.is_shared, quotas.fallbacks)
    assert reported == (True, 0)
    await quotas.close()
