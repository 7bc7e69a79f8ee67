"""Requests and responses between the processes of one gateway, over a pair of sockets.

A message is a length (4 bytes, big-endian) and a pickle. Both ends are the same program, run by the
same user, and no other process can have the sockets.
"""

import asyncio
import contextlib
import pickle
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from typing import Any

import structlog

from gateway.http.errors import Rejection

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

_LENGTH = struct.Struct(">I")

Handlers = Mapping[str, Callable[..., Awaitable[object]]]  # by the name of a request


class Unanswered(Exception):
    """The other process is gone, took too long, or failed."""


class Channel:
    """One end of a channel. Requests of the other end go to the handler of their name.

    A `Rejection` of a handler is raised at the other end.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handlers: Handlers
    ) -> None:
        self._reader, self._writer = reader, writer
        self._handlers = handlers
        self._numbers = count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._at_work: set[asyncio.Task[None]] = set()
        self._is_open = True

    @classmethod
    async def over(cls, sock: socket.socket, handlers: Handlers) -> "Channel":
        """Returns a channel over one of a pair of sockets, which it closes."""
        reader, writer = await asyncio.open_unix_connection(sock=sock)
        return cls(reader, writer, handlers)

    async def ask(self, name: str, *arguments: object, within: float) -> Any:
        """Request something of the other end. Returns its response; raises Rejection or Unanswered.

        It waits `within` seconds at most. The other end goes on after that.
        """
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            self._send((number, name, arguments))
            async with asyncio.timeout(within):
                return await answer
        except TimeoutError:
            raise Unanswered(name) from None
        finally:
            del self._asked[number]

    def send(self, name: str, *arguments: object) -> None:
        """Send a message without a response. It is ignored if the other end is gone."""
        if self._is_open:
            self._send((0, name, arguments))

    async def serve(self) -> None:
        """Handle requests until the other end is gone."""
        try:
            while True:
                (size,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
                self._take(*pickle.loads(await self._reader.readexactly(size)))  # noqa: S301 - our own
        except (EOFError, OSError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Handle no more requests, and wait for no more responses."""
        self._is_open = False
        self._writer.close()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(Unanswered("the other process is gone"))

    async def finish(self) -> None:
        """Close once all messages are sent."""
        self.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def _send(self, message: tuple[object, ...]) -> None:
        if not self._is_open:
            raise Unanswered("the other process is gone")
        data = pickle.dumps(message)
        self._writer.write(_LENGTH.pack(len(data)) + data)

    def _take(self, number: int, name: str, body: Any) -> None:
        if name:
            # Tasks begin in the order in which they are made, so that no message overtakes another.
            task = asyncio.create_task(self._do(number, name, body))
            self._at_work.add(task)
            task.add_done_callback(self._at_work.discard)
        elif number in self._asked and not self._asked[number].done():
            value, fault = body
            if fault is None:
                self._asked[number].set_result(value)
            else:
                self._asked[number].set_exception(_revived(fault))

    async def _do(self, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        """Handle a request, and respond unless it needs no response (0)."""
        answer: tuple[object, object]
        try:
            answer = (await self._handlers[name](*arguments), None)
        except Rejection as rejection:
            answer = (None, _kept(rejection))
        except Exception:
            log.exception("ipc_message_failed", message=name)
            answer = (None, name)
        if number and self._is_open:
            self._send((number, "", answer))


def _kept(rejection: Rejection) -> tuple[object, ...]:
    """Returns all parts of a rejection, because pickle keeps only the positional ones."""
    return rejection.failure, rejection.detail, rejection.headers, rejection.reason


def _revived(fault: Any) -> Exception:
    if isinstance(fault, str):
        return Unanswered(fault)
    failure, detail, headers, reason = fault
    return Rejection(failure, detail, headers, reason=reason)
