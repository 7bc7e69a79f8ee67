"""Which upstream gets the next request: each its share, a sick one none, and one where it can."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.model import Balance, HealthCheck, Route, Upstream
from gateway.http.errors import UPSTREAM_UNHEALTHY, Rejection
from gateway.upstream.connection import Connection
from gateway.upstream.health_check import HealthChecker
from gateway.upstream.load_balancer import Candidate, LoadBalancer
from gateway.upstream.passive_health import EJECT_AFTER
from gateway.upstream.pool import Pool
from gateway.upstream.registry import UpstreamRegistry

BALANCES: list[Balance] = ["round_robin", "least_streams"]


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def nowhere(timeout: float | None) -> Connection:  # noqa: ASYNC109 - as a pool's
    raise AssertionError(timeout)


def places(count: int) -> list[Candidate]:
    """Upstreams that are well, each with a check that says so until a test says otherwise."""
    addresses = [Upstream(f"http://{n}", "http", f"h{n}", 80) for n in range(count)]
    checks = [HealthChecker(each, HealthCheck("/"), nowhere) for each in addresses]
    return [Candidate(*each) for each in zip(addresses, map(pool, addresses), checks, strict=True)]


def pool(upstream: Upstream) -> Pool:
    return Pool(upstream, None)


def say(place: Candidate, *, is_up: bool) -> None:
    assert place._check is not None
    place._check._health.is_up = is_up


def fail(place: Candidate, now: float) -> None:
    for _ in range(EJECT_AFTER):
        place.health.connect_failed(now)


@given(st.integers(1, 7), st.integers(0, 50), st.sampled_from(BALANCES))
def test_each_gets_its_share_and_no_more_than_one_over(
    count: int, requests: int, balance: Balance
) -> None:
    all_places = places(count)
    balancer = LoadBalancer(all_places, balance)
    got = Counter(balancer.pick() for _ in range(requests))
    shares = [got[place] for place in all_places]
    assert sum(shares) == requests
    assert max(shares) - min(shares) <= 1


@given(st.integers(2, 7), st.data())
def test_those_that_are_left_share_what_a_sick_one_would_have_got(
    count: int, data: st.DataObject
) -> None:
    all_places = places(count)
    clock = Clock()
    sick = data.draw(st.sets(st.sampled_from(all_places), max_size=count - 1))
    for place in sick:
        if data.draw(st.booleans()):
            say(place, is_up=False)
        else:
            fail(place, clock.now)
    balancer = LoadBalancer(all_places, clock=clock)
    got = Counter(balancer.pick() for _ in range(10 * (count - len(sick))))
    assert got == {place: 10 for place in all_places if place not in sick}


@given(st.lists(st.integers(0, 4), min_size=2, max_size=6), st.integers(0, 20))
def test_by_load_the_one_with_the_fewest_exchanges_is_next(loads: list[int], requests: int) -> None:
    all_places = places(len(loads))
    for place, load in zip(all_places, loads, strict=True):
        place.health.open_exchanges = load
    balancer = LoadBalancer(all_places, "least_streams")
    for _ in range(requests):
        before = [place.health.open_exchanges for place in all_places]
        place = balancer.pick()
        assert place.health.open_exchanges == min(before)
        place.health.open_exchanges += 1


@given(st.integers(1, 5), st.data())
def test_another_attempt_goes_to_one_that_was_not_tried_where_there_is_one(
    count: int, data: st.DataObject
) -> None:
    all_places = places(count)
    down = data.draw(st.sets(st.sampled_from(all_places), max_size=count - 1))
    for place in down:
        say(place, is_up=False)
    tried = data.draw(st.sets(st.sampled_from(all_places)))
    picked = LoadBalancer(all_places).pick(tried)
    assert picked not in down
    assert picked not in tried or set(all_places) - down <= tried


def test_another_attempt_does_not_go_to_an_ejected_one_while_the_tried_one_is_healthy() -> None:
    """What was tried may be well: a kept connection closed just when it was used."""
    well, sick = places(2)
    clock = Clock()
    fail(sick, clock.now)
    balancer = LoadBalancer([well, sick], clock=clock)
    assert balancer.pick((well,)) is well
    fail(well, clock.now)
    assert balancer.pick((well,)) is sick


@pytest.mark.parametrize("count", [1, 3])
def test_where_all_are_down_the_request_is_refused_until_they_are_asked_again(count: int) -> None:
    all_places = places(count)
    for place in all_places:
        say(place, is_up=False)
    with pytest.raises(Rejection) as refused:
        LoadBalancer(all_places, retry_after=9.2).pick()
    assert refused.value.failure is UPSTREAM_UNHEALTHY
    assert refused.value.headers == (("Retry-After", "10"),)


@pytest.mark.parametrize("count", [1, 3])
def test_where_connections_to_all_failed_they_are_tried_all_the_same(count: int) -> None:
    all_places, clock = places(count), Clock()
    for place in all_places:
        fail(place, clock.now)
    balancer = LoadBalancer(all_places, clock=clock)
    assert {balancer.pick() for _ in range(count)} == set(all_places)


def test_after_its_pause_one_gets_one_request_and_the_rest_when_that_went_well() -> None:
    clock = Clock()
    sick, well = places(2)
    fail(sick, clock.now)
    balancer = LoadBalancer([sick, well], clock=clock)
    assert {balancer.pick() for _ in range(4)} == {well}
    clock.now += 2
    assert Counter(balancer.pick() for _ in range(10)) == {sick: 1, well: 9}
    sick.health.connected()
    assert Counter(balancer.pick() for _ in range(10)) == {sick: 5, well: 5}


def test_a_route_brings_its_upstreams_and_their_checks() -> None:
    one = Upstream("http://a/v1", "http", "a", 81, "/v1")
    other = Upstream("unix:/s", "unix", socket_path="/s")
    upstreams = UpstreamRegistry()
    check = HealthCheck("/healthz")
    balancer = LoadBalancer.of(Route("/", (), one, others=(other,), health_check=check), upstreams)
    assert [(place.base, place.host) for place in balancer.candidates] == [
        (b"/v1", b"a:81"),
        (b"", b"localhost"),
    ]
    assert [place.pool for place in balancer.candidates] == [
        upstreams.pool(one),
        upstreams.pool(other),
    ]
    assert balancer.candidates[0]._check is upstreams.check(one, check)
    assert LoadBalancer.of(Route("/", (), one), upstreams).candidates[0]._check is None
