"""Writes bytes to a client's socket in the call that brings them.

The transport of an event loop costs several times what the system call does. It is needed only for
bytes that the kernel does not take.
"""

import asyncio
import socket
from collections.abc import Sequence


class SocketWriter:
    """The writing end of a connection, beside its transport, whose write mark must be zero.

    With that mark the transport calls `pause` when it holds bytes and `resume` when it holds none.
    In between, new bytes must queue behind them. The transport finds and reports errors of the
    socket.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        theirs = transport.get_extra_info("socket")
        self._transport = transport
        # A second object for the same descriptor; `close` must release it before the transport
        # does.
        self._socket = socket.socket(theirs.family, theirs.type, theirs.proto, theirs.fileno())
        self._is_queueing = False

    def write(self, data: bytes) -> None:
        """Send these bytes, as far as the kernel takes them now. A closed connection takes none."""
        sent = 0
        if not self._is_queueing:
            try:
                sent = self._socket.send(data)
            except OSError:
                sent = 0
            if sent == len(data):
                return
        self._queue(data, sent)

    def writelines(self, parts: Sequence[bytes]) -> None:
        """Send these parts as one, without joining them."""
        sent = 0
        if not self._is_queueing:
            try:
                sent = self._socket.sendmsg(parts)
            except OSError:
                sent = 0
        for part in parts:
            if sent < len(part):
                self._queue(part, sent)
            sent = max(0, sent - len(part))

    def pause(self) -> None:
        """The transport holds bytes."""
        self._is_queueing = True

    def resume(self) -> None:
        """The transport holds no bytes any more."""
        self._is_queueing = False

    def close(self) -> None:
        """Release the descriptor, which the transport is about to close."""
        self._is_queueing = True
        self._socket.detach()

    def _queue(self, data: bytes, sent: int) -> None:
        """Pass the unsent part to the transport, unless it is closing."""
        if not self._transport.is_closing():
            self._transport.write(memoryview(data)[sent:])
