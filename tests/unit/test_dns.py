"""A name is asked for once however many wait; its answer is kept, renewed, and serves when old."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pycares
import pytest
from structlog.testing import capture_logs

from gateway.dns import (
    FORGET,
    GRACE,
    LEAST_TTL,
    MOST_TTL,
    PATIENCE,
    RETRY,
    STALE,
    Address,
    Answer,
    CAres,
    Resolver,
    numeric,
)
from tests.support.dns_server import DnsServer

HOST = "service.test"
OLD, NEW = Address("192.0.2.1", socket.AF_INET), Address("192.0.2.2", socket.AF_INET)


class Dns:
    """A look-up whose answers the test gives, by a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0
        self.answer: Answer | OSError = Answer((OLD,), 10.0)
        self.is_free = asyncio.Event()
        self.is_free.set()
        self.is_closed = False

    async def __call__(self, host: str) -> Answer:  # noqa: ARG002 - there is one name
        self.asked += 1
        await self.is_free.wait()
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
async def dns() -> Dns:
    return Dns()


@pytest.fixture
async def resolver(dns: Dns) -> AsyncIterator[Resolver]:
    resolver = Resolver(dns, lambda: dns.now)
    yield resolver
    resolver.close()
    assert dns.is_closed


async def settle() -> None:
    """Let what is in the background come to its end."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_however_many_wait_a_name_is_asked_for_once(dns: Dns, resolver: Resolver) -> None:
    dns.is_free.clear()
    waiting = [asyncio.create_task(resolver.addresses(HOST)) for _ in range(5)]
    await settle()
    dns.is_free.set()
    assert await asyncio.gather(*waiting) == [(OLD,)] * 5
    assert dns.asked == 1


async def test_one_who_stops_waiting_does_not_stop_the_look_up(
    dns: Dns, resolver: Resolver
) -> None:
    dns.is_free.clear()
    one, other = (asyncio.create_task(resolver.addresses(HOST)) for _ in range(2))
    await settle()
    one.cancel()
    await settle()
    dns.is_free.set()
    assert await other == (OLD,)
    assert dns.asked == 1


@pytest.mark.parametrize(("ttl", "kept"), [(0.0, LEAST_TTL), (7.0, 7.0), (3600.0, MOST_TTL)])
async def test_an_answer_is_kept_for_its_time_to_live_within_bounds(
    dns: Dns, resolver: Resolver, ttl: float, kept: float
) -> None:
    dns.answer = Answer((OLD,), ttl)
    await resolver.addresses(HOST)
    dns.now += kept - 0.01
    await resolver.addresses(HOST)
    await settle()
    assert dns.asked == 1
    dns.now += 0.02
    await resolver.addresses(HOST)
    await settle()
    assert dns.asked == 2


async def test_an_answer_that_expired_serves_while_it_is_renewed(
    dns: Dns, resolver: Resolver
) -> None:
    await resolver.addresses(HOST)
    dns.now += 10.0 + GRACE - 0.01
    dns.answer = Answer((NEW,), 10.0)
    assert await resolver.addresses(HOST) == (OLD,)
    await settle()
    assert await resolver.addresses(HOST) == (NEW,)


async def test_an_older_answer_is_renewed_first(dns: Dns, resolver: Resolver) -> None:
    await resolver.addresses(HOST)
    dns.now += 10.0 + GRACE + 0.01
    dns.answer = Answer((NEW,), 10.0)
    assert await resolver.addresses(HOST) == (NEW,)


async def test_while_dns_fails_the_last_answer_serves_for_a_while(
    dns: Dns, resolver: Resolver
) -> None:
    await resolver.addresses(HOST)
    dns.answer = OSError("no answer")
    with capture_logs() as lines:
        dns.now += 10.0 + GRACE + 0.01
        assert await resolver.addresses(HOST) == (OLD,)
        for _ in range(3):
            dns.now += RETRY
            assert await resolver.addresses(HOST) == (OLD,)
            await settle()
        assert [line["event"] for line in lines] == ["dns_lookup_failed"]
        dns.now += STALE
        with pytest.raises(OSError, match="no answer"):
            await resolver.addresses(HOST)
        dns.answer, dns.now = Answer((NEW,), 1.0), dns.now + RETRY
        assert await resolver.addresses(HOST) == (NEW,)
    assert [line["event"] for line in lines] == ["dns_lookup_failed", "dns_recovered"]
    assert lines[0]["name"] == HOST


async def test_for_an_old_answer_a_hanging_look_up_is_waited_for_a_moment_only(
    dns: Dns, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.dns.PATIENCE", 0.01)
    assert PATIENCE < 5.0, "less than a connection may take"
    await resolver.addresses(HOST)
    dns.now += 10.0 + GRACE + 0.01
    dns.is_free.clear()
    assert await resolver.addresses(HOST) == (OLD,)


async def test_a_name_that_fails_is_asked_for_again_after_a_pause(
    dns: Dns, resolver: Resolver
) -> None:
    dns.answer = OSError("service.test: Domain name not found")
    for _ in range(3):
        with pytest.raises(OSError, match="Domain name not found"):
            await resolver.addresses(HOST)
    assert dns.asked == 1
    dns.now += RETRY
    dns.answer = Answer((OLD,), 1.0)
    assert await resolver.addresses(HOST) == (OLD,)


async def test_a_name_that_nobody_asks_for_is_forgotten(dns: Dns, resolver: Resolver) -> None:
    await resolver.addresses(HOST)
    dns.now += FORGET + 0.01
    await resolver.addresses("other.test")
    dns.answer = OSError("gone")
    with pytest.raises(OSError, match="gone"):
        await resolver.addresses(HOST)


@pytest.mark.parametrize(
    ("host", "family"),
    [
        ("127.0.0.1", socket.AF_INET),
        ("::1", socket.AF_INET6),
        ("fe80::1%eth0", socket.AF_INET6),
        ("localhost", None),
        ("1.2.3", None),
    ],
)
def test_an_address_written_as_a_number_is_known(
    host: str, family: socket.AddressFamily | None
) -> None:
    assert numeric(host) == (None if family is None else Address(host, family))


# c-ares


@pytest.fixture
async def server() -> AsyncIterator[DnsServer]:
    async with DnsServer.running() as server:
        yield server


@pytest.fixture
async def cares(server: DnsServer) -> AsyncIterator[CAres]:
    cares = CAres([server.place])
    yield cares
    cares.close()


async def test_the_servers_that_are_named_are_asked(server: DnsServer, cares: CAres) -> None:
    server.addresses[HOST], server.ttl = ("192.0.2.1", "192.0.2.2"), 7
    answer = await cares(HOST)
    assert {each.host for each in answer.addresses} == {"192.0.2.1", "192.0.2.2"}
    assert answer.ttl == 7
    with pytest.raises(OSError, match=r"none\.test: Domain name not found"):
        await cares("none.test")


async def test_each_look_up_asks_anew(server: DnsServer, cares: CAres) -> None:
    server.addresses[HOST], server.ttl = ("192.0.2.1",), 3600
    await cares(HOST)
    await until(lambda: server.asked[HOST] == 1)
    server.addresses[HOST] = ("192.0.2.2",)
    async with asyncio.timeout(10):
        while (await cares(HOST)).addresses[0].host != "192.0.2.2":
            pass  # it drops what it kept in a thread of its own


async def test_the_system_knows_localhost_without_dns() -> None:
    cares = CAres()
    answer = await cares("localhost")
    assert "127.0.0.1" in {each.host for each in answer.addresses}
    cares.close()


async def test_without_inotify_the_systems_resolver_is_asked_and_that_is_logged_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**_options: float) -> None:
        raise pycares.AresError("Failed to initialize c-ares channel")

    monkeypatch.setattr(pycares, "Channel", fail)
    cares = CAres()
    with capture_logs() as lines:
        for _ in range(2):
            answer = await cares("localhost")
            assert "127.0.0.1" in {each.host for each in answer.addresses}
    assert [line["event"] for line in lines] == ["dns_resolver_fallback"]
    cares.close()


async def test_closed_it_answers_nobody(server: DnsServer, cares: CAres) -> None:
    server.silent.add(HOST)
    asking = asyncio.create_task(cares(HOST))
    await until(lambda: server.asked[HOST] > 0)
    cares.close()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


def test_what_is_no_server_is_refused() -> None:
    with pytest.raises(ValueError, match="not a server"):
        CAres(["not a server"])


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_true():  # noqa: ASYNC110 - what is waited for is c-ares', without an event
            await asyncio.sleep(0.001)
