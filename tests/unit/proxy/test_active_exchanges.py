"""Streams are admitted until the gateway closes, counted, asked to end, and awaited."""

import asyncio

import pytest

from gateway.http.errors import DRAINING, Rejection
from gateway.proxy.active_exchanges import ActiveExchanges
from gateway.telemetry.exchange import EndReason, Exchange
from gateway.telemetry.report import Condition


class Recorded:
    """A stream that ends as soon as it is asked to."""

    condition: Condition = "streaming"

    def __init__(self, streams: ActiveExchanges) -> None:
        self.streams = streams
        self.reported: list[EndReason] = []
        self.exchange = Exchange("GET", "/", "id-1", "", "")

    def record(self) -> Exchange:
        return self.exchange

    def silence(self) -> float | None: ...

    def end(self, reason: EndReason) -> None:
        self.reported.append(reason)
        self.streams.release(self)


def admitted(streams: ActiveExchanges) -> Recorded:
    stream = Recorded(streams)
    streams.admit(stream)
    return stream


async def test_those_under_way_are_counted() -> None:
    streams = ActiveExchanges()
    one, _ = admitted(streams), admitted(streams)
    assert len(streams) == 2
    streams.release(one)
    assert len(streams) == 1


async def test_what_is_known_of_those_under_way_can_be_had() -> None:
    streams = ActiveExchanges()
    one, two = admitted(streams), admitted(streams)
    streams.release(one)
    assert streams.records() == [two.exchange]
    assert list(streams) == [two]


async def test_releasing_twice_or_what_was_never_admitted_changes_nothing() -> None:
    streams = ActiveExchanges()
    one, _ = admitted(streams), admitted(streams)
    streams.release(one)
    streams.release(one)
    streams.release(Recorded(streams))
    assert len(streams) == 1


async def test_nobody_is_admitted_once_it_is_closed() -> None:
    streams = ActiveExchanges()
    admitted(streams)
    streams.close()
    with pytest.raises(Rejection) as refused:
        admitted(streams)
    assert refused.value.failure is DRAINING
    assert len(streams) == 1


async def test_with_nobody_under_way_there_is_nothing_to_wait_for() -> None:
    assert await ActiveExchanges().wait_empty(0)


async def test_the_wait_is_over_when_the_last_one_leaves() -> None:
    streams = ActiveExchanges()
    one, two = admitted(streams), admitted(streams)
    waiting = asyncio.create_task(streams.wait_empty(30))
    streams.release(one)
    await asyncio.sleep(0)
    assert not waiting.done()
    streams.release(two)
    assert await waiting


async def test_the_wait_is_bounded_and_says_that_it_timed_out() -> None:
    streams = ActiveExchanges()
    admitted(streams)
    assert not await streams.wait_empty(0.01)


async def test_who_comes_after_an_empty_moment_is_waited_for_too() -> None:
    streams = ActiveExchanges()
    streams.release(admitted(streams))
    admitted(streams)
    assert not await streams.wait_empty(0)


async def test_all_are_asked_to_end_though_some_end_meanwhile() -> None:
    streams = ActiveExchanges()
    all_of_them = [admitted(streams) for _ in range(3)]
    streams.end_all(EndReason.DRAINED)
    assert [stream.reported for stream in all_of_them] == [[EndReason.DRAINED]] * 3
    assert await streams.wait_empty(0)
