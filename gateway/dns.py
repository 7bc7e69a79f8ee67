"""Resolves names by c-ares, keeps answers for their time to live, and renews them in time.

A look-up delays only the requests that need the name. The event loop's own `getaddrinfo` could
delay all: it has four threads, and a name without an answer occupies one for many seconds.
"""

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

import pycares
import structlog

from gateway.background import in_background

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

# Seconds for which an answer is used without a renewal, whatever its time to live.
LEAST_TTL: Final = 1.0
MOST_TTL: Final = 30.0
# An answer that expired no longer ago than this is used while it is renewed, so that steady traffic
# never waits for DNS.
GRACE: Final = 30.0
# While DNS fails, the last good answer is used for this long after it expired.
STALE: Final = 600.0
# With an older answer, a request waits this long for a new one, and then uses the old one.
PATIENCE: Final = 1.0
RETRY: Final = 1.0  # between two look-ups of a name that fails
FORGET: Final = 900.0  # a name that was not used for this long is forgotten
SYSTEM_TTL: Final = 5.0  # of an answer without a time to live
# For one question: c-ares asks each server this often, and waits longer each time.
TIMEOUT: Final = 2.0
TRIES: Final = 2


class NotResolved(OSError):
    """A name has no addresses, or DNS does not answer."""


@dataclass(frozen=True, slots=True)
class Address:
    """A numeric address."""

    host: str
    family: socket.AddressFamily


@dataclass(frozen=True, slots=True)
class Answer:
    """The addresses of a name, in the order to try them (RFC 6724), and their time to live."""

    addresses: tuple[Address, ...]
    ttl: float


class Lookup(Protocol):
    """Looks up the addresses of a name."""

    async def __call__(self, host: str) -> Answer:
        """Returns the addresses, at least one. Raises OSError with the reason."""

    def close(self) -> None:
        """Stop: look-ups that are running may never end."""


def numeric(host: str) -> Address | None:
    """Returns the address of a host that is written as a number; a number is never looked up."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    is_v4 = isinstance(address, ipaddress.IPv4Address)
    return Address(host, socket.AF_INET if is_v4 else socket.AF_INET6)


@dataclass(slots=True)
class _Name:
    """What is known of one name. Times are of the clock, in seconds."""

    addresses: tuple[Address, ...] = ()
    expires: float = 0.0
    asked: float = 0.0
    retry: float = 0.0
    error: OSError | None = None  # of the last look-up, if it failed
    lookup: "asyncio.Task[None] | None" = field(default=None, repr=False)


class Resolver:
    """Knows the addresses of names, and looks each name up once, however many requests wait."""

    def __init__(
        self, lookup: Lookup | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`lookup` is c-ares by default; `clock` returns seconds."""
        self._lookup = lookup or CAres()
        self._clock = clock
        self._names: dict[str, _Name] = {}

    async def addresses(self, host: str) -> tuple[Address, ...]:
        """Returns the addresses of a name, at least one.

        It does not wait if the answer is known. Raises OSError with the reason.
        """
        now = self._clock()
        name = self._names.get(host)
        if name is None:
            self._forget(now)
            name = self._names[host] = _Name()
        name.asked = now
        if now < name.expires:
            return name.addresses
        if name.lookup is None and now >= name.retry:
            name.lookup = in_background(self._renew(host, name))
        if name.addresses and now < name.expires + (STALE if name.error else GRACE):
            return name.addresses
        if name.lookup is not None:
            await self._wait(name, now)
        if name.addresses and self._clock() < name.expires + STALE:
            return name.addresses
        raise name.error or NotResolved(f"{host}: DNS does not answer")

    def close(self) -> None:
        """Stop all look-ups."""
        for name in self._names.values():
            if name.lookup is not None:
                name.lookup.cancel()
        self._lookup.close()

    async def _wait(self, name: _Name, now: float) -> None:
        """Wait for the running look-up. A cancelled caller does not cancel it."""
        assert name.lookup is not None  # noqa: S101 - it was just looked at
        has_old = bool(name.addresses) and now < name.expires + STALE
        await asyncio.wait([name.lookup], timeout=PATIENCE if has_old else None)

    async def _renew(self, host: str, name: _Name) -> None:
        try:
            answer = await self._lookup(host)
        except OSError as error:
            self._failed(host, name, error)
        else:
            if name.error is not None and name.addresses:
                log.info("dns_recovered", name=host)
            name.addresses, name.error = answer.addresses, None
            name.expires = self._clock() + min(max(answer.ttl, LEAST_TTL), MOST_TTL)
        finally:
            name.lookup = None

    def _failed(self, host: str, name: _Name, error: OSError) -> None:
        name.retry = self._clock() + RETRY
        if name.error is None and name.addresses:
            log.warning("dns_lookup_failed", name=host, error=str(error), serving="the last answer")
        name.error = error

    def _forget(self, now: float) -> None:
        for host in [host for host, name in self._names.items() if now - name.asked > FORGET]:
            if self._names[host].lookup is None:
                del self._names[host]


class CAres:
    """Looks names up by c-ares, which reads /etc/hosts and /etc/resolv.conf as libc does.

    It opens its channel at the first look-up, so that numeric addresses cost nothing. Answers that
    c-ares itself keeps for up to an hour are dropped.
    """

    def __init__(self, servers: Sequence[str] = ()) -> None:
        """`servers` are asked instead of those in resolv.conf. Raises ValueError for bad ones."""
        self._servers = list(servers)
        self._channel: pycares.Channel | None = None
        self._is_replaced = False  # by the system's resolver, which was logged
        if servers:
            self._open()

    async def __call__(self, host: str) -> Answer:
        """Returns the addresses of a name. Raises OSError."""
        channel = self._channel or self._open()
        if channel is None:
            return await _by_system(host)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[pycares.AddrInfoResult] = loop.create_future()
        try:
            channel.getaddrinfo(
                host,
                None,
                family=socket.AF_UNSPEC,
                type=socket.SOCK_STREAM,
                callback=partial(_hand_over, loop, answered, host),
            )
        except pycares.AresError as error:
            raise NotResolved(f"{host}: {error!s}") from error
        result = await answered
        channel.reinit()  # drops the answers that c-ares keeps
        addresses = tuple(map(_address, result.nodes))
        if not addresses:
            raise NotResolved(f"{host}: the name has no address")
        return Answer(addresses, min(node.ttl for node in result.nodes))

    def close(self) -> None:
        """Close the channel. Running look-ups fail."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _open(self) -> pycares.Channel | None:
        """Returns a channel; None if the system has no inotify instance for resolv.conf."""
        try:
            channel = pycares.Channel(timeout=TIMEOUT, tries=TRIES)
        except pycares.AresError as error:
            if not self._is_replaced:
                self._is_replaced = True
                log.warning(
                    "dns_resolver_fallback", error=str(error), hint="raise max_user_instances"
                )
            return None
        if self._servers:
            try:
                channel.servers = self._servers
            except (pycares.AresError, ValueError) as error:
                raise ValueError(f"{', '.join(self._servers)}: {error}") from error
        self._channel = channel
        return channel


async def _by_system(host: str) -> Answer:
    """Returns the addresses by the event loop: in a thread, without a time to live."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    addresses = (Address(str(each[4][0]), socket.AddressFamily(each[0])) for each in found)
    return Answer(tuple(dict.fromkeys(addresses)), SYSTEM_TTL)


def _hand_over(
    loop: asyncio.AbstractEventLoop,
    answered: "asyncio.Future[pycares.AddrInfoResult]",
    host: str,
    result: pycares.AddrInfoResult | None,
    code: int | None,
) -> None:
    """Called by c-ares in a thread of its own."""
    with contextlib.suppress(RuntimeError):  # the loop may be closed already
        loop.call_soon_threadsafe(_settle, answered, host, result, code)


def _settle(
    answered: "asyncio.Future[pycares.AddrInfoResult]",
    host: str,
    result: pycares.AddrInfoResult | None,
    code: int | None,
) -> None:
    if answered.done():
        return
    if code is not None or result is None:
        why = b"no answer" if code is None else pycares.errno.strerror(code)
        text = why.decode() if isinstance(why, bytes) else why
        answered.set_exception(NotResolved(f"{host}: {text}"))
    else:
        answered.set_result(result)


def _address(node: pycares.AddrInfoNode) -> Address:
    return Address(node.addr[0].decode(), socket.AddressFamily(node.family))
