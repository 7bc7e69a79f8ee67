"""The public port is opened several times, and by one gateway alone."""

import contextlib
import socket

import pytest

from gateway.server.listeners import close_listeners, open_listeners, port_of


def test_all_doors_have_the_same_port_whichever_it_is() -> None:
    doors = open_listeners("127.0.0.1", 0, 3, 8)
    assert len({port_of(door) for door in doors}) == 1
    assert port_of(doors[0]) > 0
    close_listeners(doors)


def waiting(sock: socket.socket) -> int:
    """How many connections wait at it, which are taken."""
    sock.setblocking(False)
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.accept()[0].close()
            count += 1
    return count


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", ""])
def test_connections_come_in_by_each_door(host: str) -> None:
    """By which one is the kernel's choice: with 200 of them one in 10^60 runs has none at one."""
    doors = open_listeners(host, 0, 2, 256)
    port = port_of(doors[0])
    clients = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(200)]
    for door in doors:
        assert sum(waiting(sock) for sock in door) > 0
    for client in clients:
        client.close()
    close_listeners(doors)


def test_a_port_that_another_gateway_serves_is_not_shared_with_it() -> None:
    doors = open_listeners("127.0.0.1", 0, 1, 8)
    with pytest.raises(OSError, match="in use"):
        open_listeners("127.0.0.1", port_of(doors[0]), 1, 8)
    close_listeners(doors)


def test_a_port_can_be_opened_again_when_all_doors_are_closed() -> None:
    doors = open_listeners("127.0.0.1", 0, 2, 8)
    port = port_of(doors[0])
    close_listeners(doors)
    again = open_listeners("127.0.0.1", port, 2, 8)
    close_listeners(again)
