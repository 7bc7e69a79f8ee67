"""What is written arrives whole and in order, however much of it the kernel takes at once."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from gateway.server.socket_writer import SocketWriter

PATIENCE = 10.0
LARGE = b"0123456789abcdef" * (1 << 18)  # 4 MiB: more than any socket's buffers hold
SMALL_BUFFER = 4096


class Owner(asyncio.Protocol):
    """Passes the calls of the transport on to the writer, as a connection does."""

    outlet: SocketWriter

    def __init__(self) -> None:
        self.reported: list[str] = []
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        writable = cast("asyncio.Transport", transport)
        writable.set_write_buffer_limits(high=0)
        self.writer = SocketWriter(writable)

    def pause_writing(self) -> None:
        self.reported.append("pause")
        self.writer.pause()

    def resume_writing(self) -> None:
        self.reported.append("resume")
        self.writer.resume()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - as its base has it
        self.writer.close()
        self.lost.set()


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Owner, asyncio.Transport, socket.socket]]:
    """An outlet, its transport, and the socket at the other end, whose buffer is small."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listening, socket.socket() as theirs:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        theirs.setblocking(False)
        await loop.sock_connect(theirs, listening.getsockname())
        ours, _ = listening.accept()
        transport, owner = await loop.connect_accepted_socket(Owner, ours)
        yield owner, transport, theirs
        transport.abort()
        async with asyncio.timeout(PATIENCE):
            await owner.lost.wait()


async def read(theirs: socket.socket, size: int) -> bytes:
    loop, received = asyncio.get_running_loop(), bytearray()
    async with asyncio.timeout(PATIENCE):
        while len(received) < size:
            received += await loop.sock_recv(theirs, 1 << 20)
    return bytes(received)


def write(outlet: SocketWriter, data: bytes) -> None:
    outlet.write(data)


def write_parts(outlet: SocketWriter, data: bytes) -> None:
    outlet.writelines([data[:3], data[3:-3], data[-3:]])


@pytest.mark.parametrize("send", [write, write_parts])
async def test_a_little_is_with_the_kernel_when_the_call_returns(
    send: Callable[[SocketWriter, bytes], None],
) -> None:
    async with connected() as (owner, transport, theirs):
        send(owner.writer, b"a little")
        assert theirs.recv(100) == b"a little"  # the event loop had no turn
        assert transport.get_write_buffer_size() == 0
        assert owner.reported == []


@pytest.mark.parametrize("send", [write, write_parts])
async def test_what_the_kernel_does_not_take_queues_and_what_follows_stays_behind_it(
    send: Callable[[SocketWriter, bytes], None],
) -> None:
    async with connected() as (owner, transport, theirs):
        send(owner.writer, LARGE)
        assert owner.reported == ["pause"]
        left = transport.get_write_buffer_size()
        assert 0 < left < len(LARGE)  # part of it went at once
        send(owner.writer, b"what follows")
        assert await read(theirs, len(LARGE) + 12) == LARGE + b"what follows"
        assert owner.reported == ["pause", "resume"]
        send(owner.writer, b"and once more at once")
        assert theirs.recv(100) == b"and once more at once"


async def test_every_boundary_between_parts_may_be_where_the_kernel_stops() -> None:
    async with connected() as (owner, _, theirs):
        parts = [LARGE[at : at + 65536] for at in range(0, len(LARGE), 65536)]
        owner.writer.writelines(parts)
        assert owner.reported == ["pause"]
        assert await read(theirs, len(LARGE)) == LARGE


@pytest.mark.parametrize("send", [write, write_parts])
async def test_a_peer_that_is_gone_is_for_the_transport_to_find(
    send: Callable[[SocketWriter, bytes], None],
) -> None:
    async with connected() as (owner, _, theirs):
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()  # with a reset
        send(owner.writer, b"nobody reads this")
        async with asyncio.timeout(PATIENCE):
            await owner.lost.wait()


async def test_a_closed_outlet_leaves_the_descriptor_to_its_transport() -> None:
    async with connected() as (owner, transport, _):
        descriptor = transport.get_extra_info("socket").fileno()
        owner.writer.close()
        assert socket.socket(fileno=descriptor).detach() == descriptor  # it is still open
