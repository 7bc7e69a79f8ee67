"""Noticing that a browser left while nobody reads from it.

A connection whose reading is paused, because a service takes no more of an upload, hears of no end:
the event loop asks the kernel only for what it would read. The kernel can say it all the same
(EPOLLRDHUP, epoll_ctl(2)), and one epoll for the whole process hears it for all of them.
"""

import asyncio
import select
from collections.abc import Callable


class DisconnectWatcher:
    """The connections that are not being read from, and what to do when their peer leaves."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[], None]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._tell)

    def watch(self, descriptor: int, left: Callable[[], None]) -> None:
        """Call `left` once if the peer of this socket leaves. Watched already, it stays so."""
        if descriptor not in self._watched:
            self._epoll.register(descriptor, select.EPOLLRDHUP)
        self._watched[descriptor] = left

    def forget(self, descriptor: int, left: Callable[[], None]) -> None:
        """Stop watching, unless the descriptor is another connection's by now."""
        if self._watched.get(descriptor) == left:
            del self._watched[descriptor]
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Stop watching all of them."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._watched.clear()

    def _tell(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            left = self._watched.get(descriptor)
            if left is not None:
                self.forget(descriptor, left)
                left()
