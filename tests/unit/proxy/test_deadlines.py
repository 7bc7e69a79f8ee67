"""Each bound runs from where it should, and a silence is put down to whose turn it was.

Where no bound applies, the bound of the whole exchange is the clock: it must be called first.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial

import pytest

from gateway.config.model import Timeouts
from gateway.proxy import deadlines as module
from gateway.proxy.deadlines import Deadlines
from gateway.server.timer import Timer

PATIENCE = 10.0
SOON = 0.03  # seconds
LATER = 0.3
TICK = 0.002  # uvloop's clock counts milliseconds, as floats

only = partial(replace, Timeouts(None, None, None, None, None, None))  # and no other bound


class Watched:
    """An exchange that records its first call; the test says whose turn it is."""

    def __init__(self) -> None:
        self.awaits_client = False
        self.left = 0
        self._reported: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def unsent(self) -> int:
        return self.left

    def total_timed_out(self) -> None:
        self._report("out of time")

    def idle_timed_out(self) -> None:
        self._report("fell silent")

    def send_timed_out(self) -> None:
        self._report("took nothing")

    def _report(self, what: str) -> None:
        if not self._reported.done():
            self._reported.set_result(what)

    @property
    def was_reported(self) -> bool:
        return self._reported.done()

    async def reported(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return await self._reported


Bound = Callable[[Timeouts], Deadlines]


@pytest.fixture
async def watched() -> Watched:
    return Watched()


@pytest.fixture
async def bound(watched: Watched) -> AsyncIterator[Bound]:
    made: list[Deadlines] = []

    def make(timeouts: Timeouts) -> Deadlines:
        made.append(Deadlines(watched, timeouts, Timer()))
        return made[-1]

    yield make
    for deadlines in made:
        deadlines.cancel()


# The whole exchange


async def test_without_a_bound_any_time_is_left(bound: Bound) -> None:
    assert bound(only()).seconds_left() is None


async def test_what_is_left_runs_out(bound: Bound, watched: Watched) -> None:
    deadlines = bound(only(total=SOON))
    left = deadlines.seconds_left()
    assert left is not None
    assert 0 < left <= SOON + TICK
    assert await watched.reported() == "out of time"
    assert deadlines.seconds_left() == 0.0


@pytest.mark.parametrize("is_stream", [True, False])
async def test_the_whole_exchange_is_bounded_whatever_the_response_is(
    bound: Bound, watched: Watched, *, is_stream: bool
) -> None:
    deadlines = bound(only(total=SOON))
    deadlines.await_body(is_stream=is_stream)
    assert await watched.reported() == "out of time"


async def test_the_time_before_the_head_counts_too(bound: Bound, watched: Watched) -> None:
    deadlines = bound(only(total=LATER, first_byte=SOON))
    deadlines.await_head()
    assert await watched.reported() == "fell silent"  # which only passes the time here
    deadlines.await_body(is_stream=True)
    left = deadlines.seconds_left()
    assert left is not None
    assert left <= LATER - SOON + TICK


async def test_without_a_bound_there_is_always_time_left(bound: Bound) -> None:
    deadlines = bound(only(idle=LATER))
    deadlines.await_body(is_stream=False)
    assert deadlines.seconds_left() is None


async def test_by_default_a_stream_may_be_silent_and_anything_else_may_not(bound: Bound) -> None:
    deadlines = bound(Timeouts())
    deadlines.await_body(is_stream=True)
    assert (deadlines.seconds_left(), deadlines.silence()) == (None, None)  # nothing is awaited
    deadlines = bound(Timeouts())
    deadlines.await_body(is_stream=False)
    assert deadlines.silence() is not None


# The service's silence


async def test_a_head_that_does_not_come_is_a_silence(bound: Bound, watched: Watched) -> None:
    bound(only(total=LATER, first_byte=SOON)).await_head()
    assert await watched.reported() == "fell silent"


@pytest.mark.parametrize("is_stream", [True, False])
async def test_a_body_has_the_bound_for_its_kind(
    bound: Bound, watched: Watched, is_stream: bool
) -> None:
    idle, stream_idle = (None, SOON) if is_stream else (SOON, None)
    timeouts = only(total=LATER, idle=idle, stream_idle=stream_idle)
    bound(timeouts).await_body(is_stream=is_stream)
    assert await watched.reported() == "fell silent"


async def test_a_head_that_came_ends_the_wait_for_it(bound: Bound, watched: Watched) -> None:
    deadlines = bound(only(total=LATER, first_byte=SOON))
    deadlines.await_head()
    deadlines.await_body(is_stream=False)
    assert await watched.reported() == "out of time"


async def test_a_byte_that_moved_begins_the_wait_anew(bound: Bound, watched: Watched) -> None:
    loop = asyncio.get_running_loop()
    deadlines = bound(only(idle=LATER))
    deadlines.await_body(is_stream=False)
    touched: list[float] = []

    def touch() -> None:
        deadlines.touch()
        touched.append(loop.time())

    loop.call_later(LATER / 2, touch)
    assert await watched.reported() == "fell silent"
    assert loop.time() - touched[0] >= LATER - TICK


async def test_a_service_that_said_all_is_not_silent(bound: Bound, watched: Watched) -> None:
    deadlines = bound(only(total=LATER, idle=SOON))
    deadlines.await_body(is_stream=False)
    deadlines.forget_upstream()
    deadlines.client_took()
    assert await watched.reported() == "out of time"


# The browser's silence


async def test_a_browser_that_owes_a_body_has_its_own_bound(bound: Bound, watched: Watched) -> None:
    watched.awaits_client = True
    deadlines = bound(only(total=LATER, first_byte=SOON, send=PATIENCE))
    deadlines.await_head()
    assert await watched.reported() == "out of time"


async def test_a_browser_that_owes_a_body_falls_silent(bound: Bound, watched: Watched) -> None:
    watched.awaits_client = True
    deadlines = bound(only(total=PATIENCE, first_byte=SOON, send=SOON * 2))
    deadlines.await_head()
    assert await watched.reported() == "fell silent"


async def test_an_upload_that_nothing_bounds_is_looked_at_until_it_is_the_services_turn(
    bound: Bound, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLIENT_CHECK", SOON)
    watched.awaits_client = True
    deadlines = bound(only(first_byte=SOON))
    deadlines.await_head()
    loop = asyncio.get_running_loop()

    def turn() -> None:
        assert not watched.was_reported
        watched.awaits_client = False
        deadlines.touch()

    loop.call_later(LATER, turn)
    began = loop.time()
    assert await watched.reported() == "fell silent"
    assert loop.time() - began >= LATER + SOON - TICK


# The browser that takes nothing


async def test_a_client_that_takes_nothing_is_reported(bound: Bound, watched: Watched) -> None:
    watched.left = 10
    bound(only(total=LATER, send=SOON)).await_client()
    assert await watched.reported() == "took nothing"


async def test_a_browser_that_takes_a_little_is_given_more_time(
    bound: Bound, watched: Watched
) -> None:
    watched.left = 1000
    loop = asyncio.get_running_loop()

    def take() -> None:
        watched.left -= 1
        loop.call_later(SOON / 3, take)

    bound(only(total=LATER, send=SOON)).await_client()
    loop.call_soon(take)
    assert await watched.reported() == "out of time"


async def test_what_is_written_after_the_pause_does_not_hide_what_is_taken(
    bound: Bound, watched: Watched
) -> None:
    """The write that fills the buffer pauses in its midst: its rest comes after."""
    watched.left = 10
    bound(only(total=LATER, send=LATER * 0.6)).await_client()
    watched.left = 100
    asyncio.get_running_loop().call_later(LATER / 4, setattr, watched, "left", 50)
    assert await watched.reported() == "out of time"


async def test_without_a_bound_a_browser_may_take_its_time(bound: Bound, watched: Watched) -> None:
    watched.left = 10
    bound(only(total=LATER)).await_client()
    assert await watched.reported() == "out of time"


async def test_the_service_is_not_silent_while_the_browser_is_waited_for(
    bound: Bound, watched: Watched
) -> None:
    deadlines = bound(only(total=LATER, idle=SOON))
    deadlines.await_body(is_stream=False)
    deadlines.await_client()
    assert await watched.reported() == "out of time"


async def test_after_the_browser_took_all_it_is_the_services_turn(
    bound: Bound, watched: Watched
) -> None:
    deadlines = bound(only(total=LATER, idle=SOON, send=SOON / 2))
    deadlines.await_body(is_stream=False)
    deadlines.await_client()
    deadlines.client_took()
    assert await watched.reported() == "fell silent"


# The end


async def test_after_the_end_nothing_is_called(bound: Bound) -> None:
    ended = Watched()
    deadlines = Deadlines(ended, only(total=SOON, first_byte=SOON, idle=SOON, send=SOON), Timer())
    deadlines.await_head()
    deadlines.await_client()
    deadlines.cancel()
    clock = Watched()
    running = Deadlines(clock, only(total=SOON * 3), Timer())
    assert await clock.reported() == "out of time"
    running.cancel()
    assert not ended.was_reported
