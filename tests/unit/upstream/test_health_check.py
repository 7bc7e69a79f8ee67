"""A service is asked how it is, again and again, and believed after a few answers alike."""

import asyncio
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.config.model import HealthCheck
from gateway.config.model import Upstream as Address
from gateway.upstream.connection import Connection
from gateway.upstream.health_check import Health, HealthChecker
from gateway.upstream.pool import Pool
from tests.support.upstream import EVENT_STREAM, Exchange, Script, Upstream, answers, never_answers

PATIENCE = 10.0
QUICK = HealthCheck("/healthz?deep=1", 0.01, 0.2, unhealthy_after=2, healthy_after=3)


# What answers come to


def test_it_is_up_until_it_was_asked_often_enough() -> None:
    health = Health(HealthCheck("/", unhealthy_after=3))
    assert [health.note(is_well=False) for _ in range(4)] == [False, False, True, False]
    assert not health.is_up


def test_one_answer_between_begins_the_count_anew() -> None:
    health = Health(HealthCheck("/", unhealthy_after=2))
    for _ in range(5):
        health.note(is_well=False)
        health.note(is_well=True)
    assert health.is_up


@given(st.lists(st.booleans()), st.integers(1, 4), st.integers(1, 4))
def test_it_changes_after_so_many_answers_alike_and_only_then(
    answers: list[bool], unhealthy_after: int, healthy_after: int
) -> None:
    settings = HealthCheck("/", unhealthy_after=unhealthy_after, healthy_after=healthy_after)
    health, is_up = Health(settings), True
    for number, is_well in enumerate(answers):
        needed = healthy_after if is_well else unhealthy_after
        last = answers[max(0, number + 1 - needed) : number + 1]
        is_changed = is_well != is_up and last == [is_well] * needed
        is_up = is_well if is_changed else is_up
        assert health.note(is_well=is_well) is is_changed
        assert health.is_up is is_up


# Asking


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not is_true():  # noqa: ASYNC110 - what changes is a service's, without an event
            await asyncio.sleep(0.001)


def check_of(service: Upstream, settings: HealthCheck = QUICK) -> HealthChecker:
    address = Address("http://it", "http", "127.0.0.1", service.port, "/base")
    return HealthChecker(address, settings, Pool(address, None).connect)


@pytest.fixture
async def check(service: Upstream) -> AsyncIterator[HealthChecker]:
    check = check_of(service)
    yield check
    check.stop()


async def test_it_is_asked_for_the_path_alone_and_nothing_is_kept_open(
    service: Upstream, check: HealthChecker
) -> None:
    service.script = answers(b"fine")
    check.start()
    check.start()
    await until(lambda: len(service.requests) >= 3)
    request = service.requests[0]
    assert (request.method, request.target) == ("GET", "/healthz?deep=1")
    assert request.value("Host") == f"127.0.0.1:{service.port}"
    assert request.value("Connection") == "close"
    assert service.connections == len(service.requests)
    assert check.is_up


async def half(exchange: Exchange) -> None:
    """Begin an answer, and break off."""
    await exchange.send(EVENT_STREAM)
    exchange.finish()


async def endless(exchange: Exchange) -> None:
    """Begin an answer, and never end it."""
    await exchange.send(EVENT_STREAM)
    await exchange.until_gone()


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        (answers(b"", status="503 Busy"), "it answered 503"),
        (answers(b"", status="302 Found"), "it answered 302"),
        (never_answers, "it did not answer within 0.2s"),
        (endless, "it did not answer within 0.2s"),
        (half, "it closed the connection too early"),
    ],
)
async def test_any_other_answer_than_a_whole_2xx_in_time_takes_it_down_until_it_is_well(
    service: Upstream, check: HealthChecker, script: Script, fault: str
) -> None:
    service.script = script
    with capture_logs() as lines:
        check.start()
        await until(lambda: not check.is_up)
        service.script = answers(b"", status="204 Fine")
        await until(lambda: check.is_up)
    reported = changes(lines)
    assert [line["event"] for line in reported] == [
        "upstream_marked_unhealthy",
        "upstream_marked_healthy",
    ]
    assert reported[0]["error"].startswith(fault)
    assert {line["upstream"] for line in reported} == {"http://it"}


def changes(lines: list[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [
        line
        for line in lines
        if line["event"] in {"upstream_marked_unhealthy", "upstream_marked_healthy"}
    ]


async def test_a_service_that_takes_no_connection_is_down(
    service: Upstream, check: HealthChecker
) -> None:
    await service.stop()
    with capture_logs() as lines:
        check.start()
        await until(lambda: not check.is_up)
    assert changes(lines)[0]["error"]


async def test_one_that_was_stopped_asks_no_more(service: Upstream, check: HealthChecker) -> None:
    check.stop()  # it was never started
    check.start()
    await until(lambda: bool(service.requests))
    check.stop()
    assert check._keeper is not None
    await asyncio.wait([check._keeper])
    count = len(service.requests)
    await asyncio.sleep(0.1)
    assert len(service.requests) == count


async def test_a_fault_of_our_own_does_not_end_the_asking() -> None:
    count = 0

    async def broken(timeout: float | None) -> Connection:  # noqa: ASYNC109 - as a pool's
        nonlocal count
        count += 1
        raise ValueError(timeout)

    check = HealthChecker(Address("http://it"), QUICK, broken)
    with capture_logs() as lines:
        check.start()
        await until(lambda: count > 1)
        check.stop()
    assert lines[0]["event"] == "health_check_failed"
    assert check.is_up
