"""Opens a TCP connection to the first of several addresses that accepts (RFC 8305)."""

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Any, cast

import aiohappyeyeballs

from gateway.dns import Address

# RFC 8305 section 8 recommends 250 ms.
HAPPY_EYEBALLS_DELAY = 0.25


async def dial(addresses: Sequence[Address], port: int) -> socket.socket:
    """Returns a socket that is connected to one of these addresses, tried in this order.

    The next address is tried beside it after a while, or at once when the first refuses. Raises
    OSError or RuntimeError. No name is looked up.
    """
    infos = [
        (address.family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address.host, port))
        for address in addresses
    ]
    loop = cast("asyncio.AbstractEventLoop", _Connecting(asyncio.get_running_loop()))
    return await aiohappyeyeballs.start_connection(
        infos, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY, loop=loop
    )


class _Connecting:
    """The event loop with its own way to connect, because uvloop looks addresses up in a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect a socket to a numeric address. Raises OSError."""
        try:
            sock.connect(address)
        except BlockingIOError:
            await self._connected(sock)
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, f"{os.strerror(error)}: {address[0]}:{address[1]}") from None

    async def _connected(self, sock: socket.socket) -> None:
        ready = self._loop.create_future()
        self._loop.add_writer(sock, _wake, ready)
        try:
            await ready
        finally:
            self._loop.remove_writer(sock)


def _wake(ready: "asyncio.Future[None]") -> None:
    if not ready.done():
        ready.set_result(None)
