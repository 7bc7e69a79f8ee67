"""The public port, opened several times: the kernel gives each new connection to one of them.

SO_REUSEPORT rather than one socket that all accept from: there whoever is awake takes the most.
"""

import socket
from collections.abc import Sequence

Listener = Sequence[socket.socket]  # one for each address of the host; most have one


def open_doors(host: str, port: int, count: int, backlog: int) -> list[Listener]:
    """Listen `count` times on the same port, which is any free one for 0. Raises OSError.

    Not where somebody else listens, another gateway of the same user included: SO_REUSEPORT alone
    would share the port with it.
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
    doors: list[Listener] = []
    try:
        for _ in range(count):
            doors.append([])
            for family, address in addresses:
                sock = _bound(family, (address[0], port, *address[2:]), shares=True)
                doors[-1] = [*doors[-1], sock]
                sock.listen(backlog)
    except OSError:
        close(doors)
        raise
    return doors


def port_of(door: Listener) -> int:
    """The port that it is."""
    port: int = door[0].getsockname()[1]
    return port


def close(doors: Sequence[Listener]) -> None:
    """Listen no more, as far as this process is concerned."""
    for door in doors:
        for sock in door:
            sock.close()


def _addresses(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[object, ...]]]:
    """Every address of a host, once; all of the machine's for an empty one."""
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
