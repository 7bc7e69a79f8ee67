"""Connections to services are opened within bounds, kept for a while, and never leaked."""

import asyncio
import os
import select
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.config.model import HealthCheck, Route, Upstream
from gateway.dns import Address
from gateway.http.errors import UPSTREAM_TIMEOUT, UPSTREAM_UNREACHABLE, Failure, Rejection
from gateway.http.response_parser import Receiver, ResponseHead
from gateway.upstream import pool as module
from gateway.upstream.connection import Connection
from gateway.upstream.passive_health import EJECT_AFTER
from gateway.upstream.pool import MAX_IDLE, Pool, in_turn
from gateway.upstream.registry import UpstreamRegistry
from tests.support import certificates

PATIENCE = 10.0
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Finished(Receiver):
    """A receiver that waits for the end of a response."""

    def __init__(self) -> None:
        self.done = asyncio.Event()

    def informational(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        raise AssertionError(status, headers)

    def head(self, head: ResponseHead) -> None:
        assert head.status == 200

    def head_read(self) -> None:
        pass

    def takes_chunks(self) -> bool:
        return True

    def chunks(self, data: bytes, payload: int) -> None:
        raise AssertionError(data, payload)

    def body(self, data: bytes) -> None:
        raise AssertionError(data)

    def complete(self, trailers: list[tuple[bytes, bytes]]) -> None:
        assert trailers == []
        self.done.set()

    def broken(self, failure: Failure, why: str) -> None:
        raise AssertionError(failure, why)


class Service:
    """Answers every read with an empty response, and can close what it accepted."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []
        self.server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def start_unix(self, path: Path) -> None:
        self.server = await asyncio.start_unix_server(self._serve, path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while await reader.read(1024):
                writer.write(ANSWER)
                await writer.drain()
        except ConnectionError:
            pass  # the gateway closes idle connections with a reset
        finally:
            writer.close()

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        await self.server.wait_closed()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    await service.start()
    yield service
    await service.stop()


@pytest.fixture
async def pool(service: Service) -> AsyncIterator[Pool]:
    pool = pool_to(service.port)
    yield pool
    pool.close()


def pool_to(port: int, host: str = "127.0.0.1") -> Pool:
    return Pool(Upstream("", "http", host, port), None)


async def used(pool: Pool) -> Connection:
    """A new connection that went through one whole exchange."""
    connection = await pool.connect(PATIENCE)
    got = Finished()
    connection.start(b"GET / HTTP/1.1\r\n\r\n", got, is_head=False, has_body=False)
    async with asyncio.timeout(PATIENCE):
        await got.done.wait()
    return connection


async def until(is_true: Callable[[], bool]) -> None:
    """Let the loop run until something holds for which there is no event."""
    async with asyncio.timeout(PATIENCE):
        while not is_true():  # noqa: ASYNC110 - what is waited for is the kernel's, without an event
            await asyncio.sleep(0.001)


# Idle connections


async def test_the_connection_used_last_is_used_next(pool: Pool) -> None:
    one, two, three = [await used(pool) for _ in range(3)]
    for connection in (one, two, three):
        pool.release(connection)
    assert [pool.take_idle() for _ in range(4)] == [three, two, one, None]


async def test_an_idle_connection_that_the_service_closed_is_not_handed_out(
    pool: Pool, service: Service
) -> None:
    older, newer = await used(pool), await used(pool)
    pool.release(older)
    pool.release(newer)
    service.writers[1].close()
    await until(lambda: not newer.is_open)
    assert pool.take_idle() is older


@pytest.mark.parametrize("last_word", ["close", "stray bytes"])
async def test_an_idle_connection_is_not_handed_out_after_a_last_word_still_unheard(
    pool: Pool, service: Service, last_word: str
) -> None:
    older, newer = await used(pool), await used(pool)
    pool.release(older)
    pool.release(newer)
    descriptor = service.writers[1].get_extra_info("socket").fileno()
    theirs = socket.socket(fileno=os.dup(descriptor))  # the event loop's own would wait a turn
    if last_word == "close":
        theirs.shutdown(socket.SHUT_WR)
    else:
        theirs.send(ANSWER)
    theirs.close()
    ours = newer._transport.get_extra_info("socket")
    select.select([ours.fileno()], [], [], PATIENCE)  # the event loop gets no turn meanwhile
    assert pool.take_idle() is older
    await until(lambda: not newer.is_open)


async def test_a_connection_that_may_not_be_reused_is_closed(pool: Pool) -> None:
    connection = await pool.connect(PATIENCE)
    pool.release(connection)
    assert pool.take_idle() is None
    await until(lambda: not connection.is_open)


async def test_no_more_than_the_bound_are_kept(pool: Pool) -> None:
    connections = [await used(pool) for _ in range(MAX_IDLE + 1)]
    for connection in connections:
        pool.release(connection)
    await until(lambda: not connections[-1].is_open)
    assert all(connection.is_open for connection in connections[:-1])


async def test_idle_connections_are_closed_in_their_time(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_EXPIRY", 0.05)
    older = await used(pool)
    pool.release(older)
    monkeypatch.setattr(module, "IDLE_EXPIRY", 0.2)
    newer = await used(pool)
    pool.release(newer)
    await until(lambda: not older.is_open)
    assert newer.is_open
    await until(lambda: not newer.is_open)
    assert pool.take_idle() is None


async def test_a_pool_that_expired_once_expires_again(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_EXPIRY", 0.02)
    for _ in range(2):
        connection = await used(pool)
        pool.release(connection)
        await until(lambda connection=connection: not connection.is_open)  # type: ignore[misc]


async def test_closing_closes_what_is_idle(service: Service) -> None:
    upstreams = UpstreamRegistry()
    pool = upstreams.pool(Upstream("", "http", "127.0.0.1", service.port))
    connection = await used(pool)
    pool.release(connection)
    upstreams.close()
    assert pool.take_idle() is None
    await until(lambda: not connection.is_open)


async def test_after_closing_none_is_kept_that_was_in_use(service: Service) -> None:
    pool = pool_to(service.port)
    connection = await used(pool)
    pool.close()
    assert connection.is_reusable
    pool.release(connection)
    assert pool.take_idle() is None
    await until(lambda: all(writer.is_closing() for writer in service.writers))


async def test_of_upstreams_that_are_gone_the_pools_are_closed(service: Service) -> None:
    stays, goes = (Upstream(url, "http", "127.0.0.1", service.port) for url in ("a", "b"))
    upstreams = UpstreamRegistry()
    kept, closed = upstreams.pool(stays), upstreams.pool(goes)
    for pool in (kept, closed):
        pool.release(await used(pool))
    upstreams.keep([stays, stays])
    assert upstreams.pool(stays) is kept
    assert upstreams.pool(goes) is not closed
    assert closed.take_idle() is None
    assert kept.take_idle() is not None
    upstreams.close()


def test_each_upstream_has_one_pool() -> None:
    upstreams = UpstreamRegistry()
    one, other = Upstream("", "http", "a", 80), Upstream("", "https", "a", 80)
    assert upstreams.pool(one) is upstreams.pool(Upstream("", "http", "a", 80))
    assert upstreams.pool(one) is not upstreams.pool(other)


# Connecting


async def refused(pool: Pool, timeout: float | None = PATIENCE) -> Rejection:  # noqa: ASYNC109 - theirs
    with pytest.raises(Rejection) as found:
        await pool.connect(timeout)
    return found.value


async def test_nobody_listening_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refusal = await refused(pool_to(taken.getsockname()[1]))
    assert refusal.failure is UPSTREAM_UNREACHABLE
    assert "127.0.0.1" not in refusal.problem("").decode()
    assert refusal.reason


async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    assert (await refused(pool_to(80, "name.invalid"))).failure is UPSTREAM_UNREACHABLE


async def test_a_missing_socket_is_unreachable(tmp_path: Path) -> None:
    pool = Pool(Upstream("", "unix", socket_path=str(tmp_path / "none.sock")), None)
    assert (await refused(pool)).failure is UPSTREAM_UNREACHABLE


async def test_no_time_left_is_a_timeout(pool: Pool) -> None:
    refusal = await refused(pool, 0)
    assert (refusal.failure, refusal.reason) == (UPSTREAM_TIMEOUT, "connect_timeout")


async def test_a_service_with_two_addresses_is_reached_by_the_one_that_answers(
    service: Service,
) -> None:
    connection = await pool_to(service.port, "localhost").connect(PATIENCE)
    assert connection.is_open
    connection.abort()


async def test_a_unix_socket_is_connected_to(tmp_path: Path) -> None:
    service = Service()
    path = tmp_path / "service.sock"
    await service.start_unix(path)
    pool = Pool(Upstream("", "unix", socket_path=str(path)), None)
    connection = await used(pool)
    assert connection.is_reusable
    connection.abort()
    await service.stop()


# How it stands


async def test_failures_in_a_row_and_the_connection_after_them_are_logged() -> None:
    with socket.socket() as taken, capture_logs() as lines:
        taken.bind(("127.0.0.1", 0))
        pool = Pool(Upstream("http://it", "http", "127.0.0.1", taken.getsockname()[1]), None)
        for _ in range(2 * EJECT_AFTER - 1):
            await refused(pool)
        assert pool.health.is_ejected(time.monotonic())
        taken.listen()
        (await pool.connect(PATIENCE)).abort()
    assert [(line["event"], line["upstream"]) for line in lines] == [
        ("upstream_ejected", "http://it"),
        ("upstream_recovered", "http://it"),
    ]
    assert lines[0]["error"]
    assert lines[0]["for_s"] > 0
    assert lines[0]["failures"] == 3


async def test_being_too_slow_is_a_failure_where_it_is_said_to_be_one(pool: Pool) -> None:
    with capture_logs() as lines:
        for _ in range(EJECT_AFTER):
            await refused(pool, 0)
        assert not pool.health.is_failing
        for _ in range(EJECT_AFTER):
            pool.connect_timed_out()
    assert [line["error"] for line in lines] == ["connect_timeout"]


async def test_an_exchange_that_went_well_on_an_older_connection_ends_the_pause(
    pool: Pool,
) -> None:
    connection = await used(pool)
    with capture_logs():
        for _ in range(EJECT_AFTER):
            pool.connect_timed_out()
        assert pool.health.is_failing
        pool.release(connection)
    assert not pool.health.is_failing


# The addresses behind a name

V6 = [Address(f"2001:db8::{n}", socket.AF_INET6) for n in range(2)]
V4 = [Address(f"192.0.2.{n}", socket.AF_INET) for n in range(3)]
FOUND = [*V6, *V4]


def test_each_address_of_a_family_is_the_first_in_turn() -> None:
    firsts = [in_turn(FOUND, turn)[0] for turn in range(4)]
    assert firsts == [V6[0], V6[1], V6[0], V6[1]]
    assert {in_turn(list(V4), turn)[0] for turn in range(7, 10)} == set(V4)


@given(st.permutations(FOUND), st.integers(0, 100))
def test_no_address_is_lost_and_the_preferred_family_stays_so(
    found: list[Address], turn: int
) -> None:
    order = in_turn(found, turn)
    assert sorted(order, key=str) == sorted(found, key=str)
    assert order[0].family == found[0].family
    assert list(dict.fromkeys(each.family for each in order)) == list(
        dict.fromkeys(each.family for each in found)
    )


def test_without_an_address_there_is_no_turn() -> None:
    assert in_turn([], 5) == []


# Health checks

CHECK = HealthCheck("/healthz", interval=60.0)


def route_to(*upstreams: Upstream, check: HealthCheck | None = CHECK) -> Route:
    first, *others = upstreams
    return Route("/", (), first, others=tuple(others), health_check=check)


def place(port: int) -> Upstream:
    return Upstream(f"http://{port}", "http", "127.0.0.1", port)


async def test_routes_share_the_check_of_an_upstream_where_they_ask_alike(
    service: Service,
) -> None:
    upstreams, it = UpstreamRegistry(), place(service.port)
    deep = replace(CHECK, path="/deep")
    upstreams.watch([route_to(it), route_to(it, check=deep), route_to(it), route_to(it)])
    await until(lambda: len(service.writers) == 2)
    assert upstreams.check(it, CHECK) is upstreams.check(it, CHECK)
    assert upstreams.check(it, CHECK) is not upstreams.check(it, deep)
    upstreams.close()


async def test_what_is_known_of_an_upstream_outlives_new_routes_that_ask_alike() -> None:
    upstreams, it, other = UpstreamRegistry(), place(1), place(2)
    upstreams.watch([route_to(it, other)])
    kept, gone = upstreams.check(it, CHECK), upstreams.check(other, CHECK)
    kept._health.is_up = gone._health.is_up = False
    upstreams.watch([route_to(it)])
    assert not upstreams.is_healthy(it, route_to(it))
    assert upstreams.is_healthy(other, route_to(other)), "nobody asks it any more"
    assert gone._keeper is not None
    await asyncio.wait([gone._keeper])
    assert kept._keeper is not None
    assert not kept._keeper.done()
    upstreams.close()


async def test_the_state_of_each_upstream_of_each_route_can_be_read() -> None:
    upstreams = UpstreamRegistry()
    well, ill, failing = map(place, (1, 2, 3))
    checked, plain = route_to(well, ill), route_to(ill, failing, check=None)
    upstreams.check(ill, CHECK)._health.is_up = False
    for _ in range(EJECT_AFTER):
        upstreams.pool(failing).health.connect_failed(time.monotonic())
    assert list(upstreams.states([checked, plain])) == [
        (checked, well, True),
        (checked, ill, False),
        (plain, ill, True),
        (plain, failing, False),
    ]


# TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A client's context that trusts one authority, and the server's for localhost."""
    authority, server = certificates.make(tmp_path_factory.mktemp("tls"))
    return ssl.create_default_context(cafile=str(authority)), server


async def tls_service(context: ssl.SSLContext) -> tuple[asyncio.Server, int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    return server, server.sockets[0].getsockname()[1]


def test_a_certificate_of_another_name_or_authority_is_unreachable(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    trusting, context = tls

    async def scenario() -> None:
        server, port = await tls_service(context)
        misnamed = Pool(Upstream("", "https", "127.0.0.1", port), trusting)
        assert (await refused(misnamed)).failure is UPSTREAM_UNREACHABLE
        unknown = Pool(Upstream("", "https", "localhost", port), ssl.create_default_context())
        assert "CERTIFICATE_VERIFY_FAILED" in (await refused(unknown)).reason
        connection = await Pool(Upstream("", "https", "localhost", port), trusting).connect(None)
        assert connection.is_open
        connection.abort()
        server.close()

    as_in_production(scenario())


def test_plain_http_on_a_tls_port_of_ours_is_unreachable() -> None:
    async def scenario() -> None:
        service = Service()
        await service.start()
        pool = Pool(Upstream("", "https", "127.0.0.1", service.port), ssl.create_default_context())
        assert (await refused(pool)).failure is UPSTREAM_UNREACHABLE
        await service.stop()

    as_in_production(scenario())


# Nothing leaks


def as_in_production(scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario)


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8])
def test_being_cancelled_while_connecting_leaks_nothing(is_tls: bool, turns: int) -> None:
    """The listener accepts in the kernel alone, so that a TLS handshake is never answered."""

    async def cancel_one(pool: Pool) -> None:
        connecting = asyncio.create_task(pool.connect(PATIENCE))
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()
        try:
            (await connecting).abort()  # it was quicker
        except asyncio.CancelledError:
            return

    async def open_once(pool: Pool) -> None:
        """What the loop itself opens at the first use is no leak."""
        try:
            (await pool.connect(0.05)).abort()
        except Rejection:
            assert is_tls

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
            port = listener.getsockname()[1]
            tls = ssl.create_default_context() if is_tls else None
            pool = Pool(Upstream("", "https" if is_tls else "http", "127.0.0.1", port), tls)
            await open_once(pool)
            before = open_files()
            for _ in range(20):
                await cancel_one(pool)
            await until(lambda: open_files() <= before)

    as_in_production(scenario())


def test_a_tls_handshake_that_is_never_answered_is_bounded_and_leaks_nothing() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
            upstream = Upstream("", "https", "127.0.0.1", listener.getsockname()[1])
            pool = Pool(upstream, ssl.create_default_context())
            assert (await refused(pool, 0.05)).failure is UPSTREAM_TIMEOUT
            before = open_files()
            for _ in range(5):
                await refused(pool, 0.05)
            await until(lambda: open_files() <= before)

    as_in_production(scenario())
