"""A browser's connection after it left HTTP: its bytes go to whoever speaks the other protocol."""

import asyncio
from typing import Protocol


class UpgradeReceiver(Protocol):
    """What takes the browser's bytes."""

    def sent(self, data: bytes) -> None:
        """The browser sent these bytes."""

    def sent_all(self) -> bool:
        """It sends no more. Whether it may still be sent to: if not, the connection closes."""


class UpgradedProtocol(asyncio.Protocol):
    """What the event loop calls instead of the browser's HTTP, from the switch on.

    Only what it reads is told to another. The rest is the connection's own, which writes and ends
    as ever: so HTTP pays nothing for what may come after it.
    """

    def __init__(self, client: asyncio.Protocol, receiver: UpgradeReceiver) -> None:
        self._client = client
        self._receiver = receiver

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._receiver.sent(data)

    def eof_received(self) -> bool:
        """Called by the event loop, which closes the connection unless this is True."""
        return self._receiver.sent_all()

    def pause_writing(self) -> None:
        """Called by the event loop."""
        self._client.pause_writing()

    def resume_writing(self) -> None:
        """Called by the event loop."""
        self._client.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop."""
        self._client.connection_lost(exc)
