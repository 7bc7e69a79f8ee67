"""The kernel reports which of the paused clients left, and no other."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.server.disconnects import DisconnectWatcher

PATIENCE = 10.0


class Seat:
    """A connection that nobody reads from; `theirs` is the browser's end of it."""

    def __init__(self, sockets: ExitStack) -> None:
        self.ours, self.theirs = socket.socketpair()
        sockets.enter_context(self.ours)
        sockets.enter_context(self.theirs)
        self.times_left = 0
        self.has_left = asyncio.Event()

    @property
    def descriptor(self) -> int:
        return self.ours.fileno()

    def left(self) -> None:
        self.times_left += 1
        self.has_left.set()

    async def gone(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.has_left.wait()


@pytest.fixture
async def hangups() -> AsyncIterator[DisconnectWatcher]:
    hangups = DisconnectWatcher()
    yield hangups
    hangups.close()


@pytest.fixture
def seats() -> Iterator[list[Seat]]:
    with ExitStack() as sockets:
        yield [Seat(sockets) for _ in range(3)]


@pytest.mark.parametrize("how", ["close", "half close"])
async def test_a_peer_that_leaves_is_noticed_behind_bytes_that_nobody_read(
    hangups: DisconnectWatcher, seats: list[Seat], how: str
) -> None:
    seat = seats[0]
    seat.theirs.sendall(b"never read")
    hangups.watch(seat.descriptor, seat.left)
    seat.theirs.close() if how == "close" else seat.theirs.shutdown(socket.SHUT_WR)
    await seat.gone()


async def test_bytes_alone_are_no_leaving(hangups: DisconnectWatcher, seats: list[Seat]) -> None:
    stays, leaves, _ = seats
    for seat in (stays, leaves):
        hangups.watch(seat.descriptor, seat.left)
    stays.theirs.sendall(b"still here")
    leaves.theirs.close()
    await leaves.gone()
    assert stays.times_left == 0


async def test_a_disconnect_is_reported_once(hangups: DisconnectWatcher, seats: list[Seat]) -> None:
    first, second, _ = seats
    for seat in (first, second):
        hangups.watch(seat.descriptor, seat.left)
        hangups.watch(seat.descriptor, seat.left)
        seat.theirs.close()
        await seat.gone()
    assert (first.times_left, second.times_left) == (1, 1)


async def test_an_exchange_that_was_removed_is_not_called(
    hangups: DisconnectWatcher, seats: list[Seat]
) -> None:
    forgotten, watched, _ = seats
    for seat in (forgotten, watched):
        hangups.watch(seat.descriptor, seat.left)
    hangups.forget(forgotten.descriptor, forgotten.left)
    hangups.forget(forgotten.descriptor, forgotten.left)
    for seat in (forgotten, watched):
        seat.theirs.close()
    await watched.gone()
    assert forgotten.times_left == 0


async def test_who_was_forgotten_can_be_watched_again(
    hangups: DisconnectWatcher, seats: list[Seat]
) -> None:
    seat = seats[0]
    hangups.watch(seat.descriptor, seat.left)
    hangups.forget(seat.descriptor, seat.left)
    hangups.watch(seat.descriptor, seat.left)
    seat.theirs.close()
    await seat.gone()


async def test_nobody_is_forgotten_on_anothers_word(
    hangups: DisconnectWatcher, seats: list[Seat]
) -> None:
    """A descriptor is another connection's as soon as the kernel gives it out again."""
    seat, other, _ = seats
    hangups.watch(seat.descriptor, seat.left)
    hangups.forget(seat.descriptor, other.left)
    seat.theirs.close()
    await seat.gone()


async def test_of_two_that_leave_at_once_the_first_may_forget_the_second(
    hangups: DisconnectWatcher, seats: list[Seat]
) -> None:
    one, other, later = seats

    def left_first(seat: Seat, second: Seat) -> None:
        seat.left()
        hangups.forget(second.descriptor, lefts[second])

    lefts = {
        one: lambda: left_first(one, other),
        other: lambda: left_first(other, one),
        later: later.left,
    }
    for seat, left in lefts.items():
        hangups.watch(seat.descriptor, left)
    one.theirs.close()
    other.theirs.close()
    await asyncio.wait(
        [asyncio.ensure_future(seat.has_left.wait()) for seat in (one, other)],
        timeout=PATIENCE,
        return_when=asyncio.FIRST_COMPLETED,
    )
    later.theirs.close()
    await later.gone()
    assert one.times_left + other.times_left == 1


def open_files() -> set[str]:
    return {file.name for file in Path("/proc/self/fd").iterdir()}


async def test_after_the_close_nobody_is_called_and_nothing_is_left_open(seats: list[Seat]) -> None:
    before = open_files()
    hangups = DisconnectWatcher()
    hangups.watch(seats[0].descriptor, seats[0].left)
    hangups.close()
    assert open_files() == before
    seats[0].theirs.close()
    hangups.forget(seats[0].descriptor, seats[0].left)
    assert seats[0].times_left == 0
