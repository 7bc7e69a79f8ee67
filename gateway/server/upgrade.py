"""A client's connection after it left HTTP: received bytes go to another receiver."""

import asyncio
from typing import Protocol


class UpgradeReceiver(Protocol):
    """Receives the bytes of the client after an upgrade."""

    def sent(self, data: bytes) -> None:
        """The client sent these bytes."""

    def sent_all(self) -> bool:
        """The client sends no more. Returns whether bytes may still be sent to it."""


class Client(Protocol):
    """The connection of a client, as the event loop sees it after an upgrade."""

    def pause_writing(self) -> None:
        """The write buffer is full."""

    def resume_writing(self) -> None:
        """The write buffer is empty again."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""


class UpgradedProtocol(asyncio.Protocol):
    """The protocol of the event loop after the switch, in place of HTTP.

    Only received bytes go to the receiver. Writing and the end stay with the connection, so that
    HTTP pays nothing for upgrades.
    """

    def __init__(self, client: Client, receiver: UpgradeReceiver) -> None:
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
