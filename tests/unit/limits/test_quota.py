"""A route's limits hold exactly, and what is over is counted no more."""

import asyncio

import pytest

from gateway.config.model import RouteLimits
from gateway.http.errors import RATE_LIMITED, TOO_MANY_STREAMS, Failure, Rejection
from gateway.limits.local_store import LocalLimitStore
from gateway.limits.quota import Quota, Slot, too_fast, too_many
from gateway.limits.redis_leases import Lease
from gateway.limits.redis_store import Leases, RedisLimitStore


async def taken(quota: Quota, user: str = "ada") -> Slot:
    permit = quota.slot(user)
    await permit.acquire()
    return permit


async def refused(quota: Quota, user: str = "ada") -> Rejection:
    permit = quota.slot(user)
    with pytest.raises(Rejection) as caught:
        await permit.acquire()
    permit.release()
    return caught.value


async def test_a_route_takes_as_many_as_it_may_and_another_when_one_is_over() -> None:
    quota = Quota("/a", RouteLimits(max_streams=2), LocalLimitStore())
    first, _ = await taken(quota), await taken(quota, "grace")
    refusal = await refused(quota, "joan")
    assert refusal.failure is TOO_MANY_STREAMS
    first.release()
    await taken(quota, "joan")
    assert (await refused(quota)).failure is TOO_MANY_STREAMS


async def test_a_user_has_as_many_as_one_may_and_takes_none_from_others() -> None:
    quota = Quota("/a", RouteLimits(max_streams_per_user=2), LocalLimitStore())
    first, _ = await taken(quota), await taken(quota)
    refusal = await refused(quota)
    assert (refusal.failure, "route, 2: close one" in refusal.detail) == (
        TOO_MANY_STREAMS,
        True,
    )
    await taken(quota, "grace")
    first.release()
    await taken(quota)


async def test_released_twice_or_never_taken_changes_nothing() -> None:
    quota = Quota("/a", RouteLimits(max_streams=1), LocalLimitStore())
    permit = await taken(quota)
    for _ in range(2):
        quota.slot("ada").release()
        permit.release()
    await taken(quota)
    assert (await refused(quota)).failure is TOO_MANY_STREAMS


async def test_of_a_user_who_left_nothing_is_kept() -> None:
    quota = Quota("/a", RouteLimits(max_streams_per_user=1), LocalLimitStore())
    for number in range(100):
        (await taken(quota, str(number))).release()
    assert quota._of_user == {}


async def test_a_client_over_the_rate_gets_the_time_to_wait_and_is_not_counted_as_open() -> None:
    quota = Quota("/a", RouteLimits(max_streams=3, interval=3600, burst=2), LocalLimitStore())
    await taken(quota)
    await taken(quota)
    refusal = await refused(quota)
    assert (refusal.failure, refusal.headers) == (RATE_LIMITED, (("Retry-After", "3600"),))
    await taken(quota, "grace")


async def test_what_is_refused_for_the_streams_does_not_count_for_the_rate() -> None:
    quota = Quota(
        "/a", RouteLimits(max_streams_per_user=1, interval=3600, burst=2), LocalLimitStore()
    )
    permit = await taken(quota)
    for _ in range(5):
        assert (await refused(quota)).failure is TOO_MANY_STREAMS
    permit.release()
    await taken(quota)


async def test_new_limits_hold_for_what_is_under_way_too() -> None:
    quota = Quota("/a", RouteLimits(max_streams=1, interval=3600, burst=1), LocalLimitStore())
    await taken(quota)
    quota.adopt(RouteLimits(max_streams=2, interval=3600, burst=1))
    assert (await refused(quota)).failure is RATE_LIMITED, "the same rate goes on"
    quota.adopt(RouteLimits(max_streams=2, interval=3600, burst=2))
    await taken(quota)
    assert (await refused(quota)).failure is TOO_MANY_STREAMS
    quota.adopt(RouteLimits(max_streams=3))
    await taken(quota)


# With leases of all replicas


class FixedLeases(Leases):
    """Leases that are granted or not, as the test says."""

    is_reached, fallbacks = True, 0

    def __init__(self, verdict: bool | Rejection) -> None:
        self.verdict = verdict
        self.entered: list[Lease] = []
        self.left: list[Lease] = []

    async def enter(self, lease: Lease, limits: RouteLimits) -> bool:  # noqa: ARG002 - the protocol's
        self.entered.append(lease)
        if isinstance(self.verdict, Rejection):
            raise self.verdict
        return self.verdict

    def leave(self, lease: Lease) -> None:
        self.left.append(lease)

    async def close(self) -> None:
        pass


SHARED = RouteLimits(max_streams_per_user=2, interval=3600, burst=1)


async def test_what_the_ledger_lets_in_needs_no_leave_of_the_rate_here() -> None:
    ledger = FixedLeases(True)
    quota = Quota("/a", SHARED, RedisLimitStore(ledger))
    permits = [await taken(quota), await taken(quota)]
    for permit in permits:
        permit.release()
        permit.release()
    assert ledger.entered == ledger.left
    assert len({lease.id for lease in ledger.left}) == 2
    assert len({lease.key for lease in ledger.left}) == 1


@pytest.mark.parametrize(
    ("refusal", "failure"), [(too_many(2), TOO_MANY_STREAMS), (too_fast(1.5), RATE_LIMITED)]
)
async def test_what_the_ledger_refuses_is_not_under_way_here(
    refusal: Rejection, failure: Failure
) -> None:
    ledger = FixedLeases(refusal)
    quota = Quota("/a", SHARED, RedisLimitStore(ledger))
    for _ in range(3):
        assert (await refused(quota)).failure is failure
    assert quota._of_user == {}


async def test_where_the_store_does_not_answer_the_limits_hold_locally() -> None:
    ledger = FixedLeases(False)
    quota = Quota("/a", SHARED, RedisLimitStore(ledger))
    await taken(quota)
    assert (await refused(quota)).failure is RATE_LIMITED
    assert len(ledger.entered) == 2


async def test_what_is_refused_here_already_is_not_asked_of_the_ledger() -> None:
    ledger = FixedLeases(True)
    quota = Quota("/a", SHARED, RedisLimitStore(ledger))
    await taken(quota)
    await taken(quota)
    assert (await refused(quota)).failure is TOO_MANY_STREAMS
    assert len(ledger.entered) == 2


async def test_the_bound_of_a_route_alone_needs_no_ledger() -> None:
    ledger = FixedLeases(False)
    await taken(Quota("/a", RouteLimits(max_streams=1), RedisLimitStore(ledger)))
    assert ledger.entered == []


async def test_a_browser_that_leaves_while_the_ledger_is_asked_is_not_under_way() -> None:
    class Slow(FixedLeases):
        async def enter(self, lease: Lease, limits: RouteLimits) -> bool:  # noqa: ARG002
            await asyncio.get_running_loop().create_future()
            return True

    quota = Quota("/a", SHARED, RedisLimitStore(Slow(True)))
    permit = quota.slot("ada")
    task = asyncio.create_task(permit.acquire())
    await asyncio.sleep(0)
    assert quota._of_user == {"ada": 1}
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    permit.release()
    assert quota._of_user == {}


def test_a_key_shows_neither_route_nor_user_and_confuses_none() -> None:
    keys = {Lease(route, user).key for route in ("/a", "/a b") for user in ("ada", "b ada")}
    assert len(keys) == 4
    assert not any("ada" in key for key in keys)
