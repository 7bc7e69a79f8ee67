"""Listening sockets of the public port, one for each worker (SO_REUSEPORT).

The kernel spreads new connections over them. With a single shared socket the busiest worker would
accept the most.
"""

import socket
from collections.abc import Sequence

Listener = Sequence[socket.socket]  # one for each address of the host; most have one


def open_listeners(host: str, port: int, count: int, backlog: int) -> list[Listener]:
    """Opens `count` listeners on the same port; 0 is any free port. Raises OSError.

    A port that another process listens on is an error, because SO_REUSEPORT alone would share the
    port with another gateway of the same user.
    """
    addresses = _addresses(host, port)
    guards = []
    try:
        for family, address in addresses:
            at = (address[0], port, *address[2:])
            guards.append(_bound(family, at, shares=False))
            port = port or guards[0].getsockname()[1]
    finally:
        for guard in guards:
            guard.close()
    listeners: list[Listener] = []
    try:
        for _ in range(count):
            listeners.append([])
            for family, address in addresses:
                sock = _bound(family, (address[0], port, *address[2:]), shares=True)
                listeners[-1] = [*listeners[-1], sock]
                sock.listen(backlog)
    except OSError:
        close_listeners(listeners)
        raise
    return listeners


def port_of(listener: Listener) -> int:
    """Returns the port of a listener."""
    port: int = listener[0].getsockname()[1]
    return port


def close_listeners(listeners: Sequence[Listener]) -> None:
    """Closes this process's sockets of the listeners."""
    for listener in listeners:
        for sock in listener:
            sock.close()


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    """Returns every address of a host once; those of all interfaces for an empty host."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bound(
    family: socket.AddressFamily, address: tuple[object, ...], *, shares: bool
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
