"""Notices that a client left while the gateway does not read from it.

The event loop asks the kernel only for what it would read. So a paused connection, such as an
upload that the upstream does not take, would show no end. The kernel can report it all the same
(EPOLLRDHUP, epoll_ctl(2)). One epoll for the whole process watches all paused connections.
"""

import asyncio
import select
from collections.abc import Callable


class DisconnectWatcher:
    """The connections that are not read from, and what to call when their client leaves."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[], None]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._epoll.fileno(), self._finish_wait)

    def watch(self, descriptor: int, left: Callable[[], None]) -> None:
        """Call `left` once if the client of this socket leaves. A second call changes nothing."""
        if descriptor not in self._watched:
            self._epoll.register(descriptor, select.EPOLLRDHUP)
        self._watched[descriptor] = left

    def forget(self, descriptor: int, left: Callable[[], None]) -> None:
        """Stop watching, unless another connection has the descriptor by now."""
        if self._watched.get(descriptor) == left:
            del self._watched[descriptor]
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Stop watching all of them."""
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._watched.clear()

    def _finish_wait(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            left = self._watched.get(descriptor)
            if left is not None:
                self.forget(descriptor, left)
                left()
