"""One request to an upstream: repeated only where that is safe; failures name the side at fault."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from gateway.config.model import Route, Timeouts
from gateway.config.model import Upstream as Address
from gateway.http.errors import Rejection
from gateway.http.header_edits import Edits
from gateway.http.message_heads import Reply, RequestHead
from gateway.http.own_response import OwnResponse
from gateway.proxy.forward import IDEMPOTENT, Forwarder
from gateway.proxy.replies import reject
from gateway.proxy.response_pump import ResponsePump
from gateway.server.connection import AlreadySent, ParsedRequest
from gateway.server.request import Request
from gateway.server.server import Server
from gateway.telemetry.exchange import EndReason
from gateway.upstream.connection import Connection
from gateway.upstream.load_balancer import Candidate, LoadBalancer
from gateway.upstream.pool import Pool
from tests.support.raw_client import RawClient, Response
from tests.support.routes import Places, port_of
from tests.support.serving import running
from tests.support.upstream import Exchange, Upstream, answers


class Ending(Pool):
    """A pool whose connections come just when the exchange was asked to end."""

    pipe: ResponsePump

    async def connect(self, timeout: float | None) -> Connection:  # noqa: ASYNC109 - as its base
        connection = await super().connect(timeout)
        self.pipe.end(EndReason.DRAINED)
        return connection


@asynccontextmanager
async def relaying(
    *pools: Pool, max_body: int = 100, retries: int = 1, timeouts: Timeouts | None = None
) -> AsyncIterator[RawClient]:
    """A client of a server that relays every request over these pools, in turn from the second."""
    address = Address("http://service")
    route = Route("/", (), address, timeouts=timeouts or Timeouts(), max_body=max_body)
    route = replace(route, retries=retries)
    balancer = LoadBalancer([Candidate(pool._upstream, pool) for pool in pools])

    async def handle(arrival: ParsedRequest) -> OwnResponse | AlreadySent:
        incoming = Request(arrival, [])
        edits = Edits.of()
        reply = Reply(True, incoming.keeps_alive, incoming.expects_continue, False, "id-1", edits)
        pipe = ResponsePump(arrival.connection, incoming.exchange, reply, route.timeouts)
        for pool in pools:
            if isinstance(pool, Ending):
                pool.pipe = pipe
        head = RequestHead(incoming.method, b"/", b"service", incoming.framing)
        try:
            await Forwarder(incoming, route, head, pipe, balancer).run()
        except Rejection as refusal:
            return reject(incoming, refusal)
        finally:
            pipe.close()
        if pipe.rejection is not None:
            return reject(incoming, pipe.rejection)
        return AlreadySent(keep_alive=pipe.keep_alive)

    async with running(Server(handle), 0.1) as port:
        client = await RawClient.connect(port)
        yield client
        client.close()
        for pool in pools:
            pool.close()


def address_of(service: Upstream, base: str = "") -> Address:
    return Address("", "http", "127.0.0.1", service.port, base)


async def response_to(
    client: RawClient, *headers: str, method: str = "GET", body: bytes = b""
) -> Response:
    lines = [f"{method} / HTTP/1.1", "Host: h", *headers, "", ""]
    await client.send("\r\n".join(lines).encode() + body)
    await client.head(method)
    return await client.rest()


def closing_when_reused(service: Upstream) -> None:
    """Answer each connection's first request; close the connection at a second one."""
    seen: list[object] = []

    async def script(exchange: Exchange) -> None:
        connection = exchange._writer
        if connection in seen:
            exchange.finish()
            return
        seen.append(connection)
        await answers(b"first")(exchange)

    service.script = script


@pytest.mark.parametrize("method", sorted(IDEMPOTENT - {"HEAD"}))
async def test_a_reused_connection_that_closes_is_replaced_where_that_is_safe(
    service: Upstream, method: str
) -> None:
    closing_when_reused(service)
    async with relaying(Pool(address_of(service), None)) as client:
        for _ in range(2):
            response = await response_to(client, method=method)
            assert response.status == 200
            assert response.body == b"first"


async def test_a_post_is_never_sent_twice(service: Upstream) -> None:
    closing_when_reused(service)
    async with relaying(Pool(address_of(service), None)) as client:
        assert (await response_to(client)).status == 200
        assert (await response_to(client, method="POST")).status == 502
    assert [request.method for request in service.requests] == ["GET", "POST"]


async def test_a_body_is_never_sent_twice(service: Upstream) -> None:
    closing_when_reused(service)
    async with relaying(Pool(address_of(service), None)) as client:
        assert (await response_to(client)).status == 200
        response = await response_to(client, "Content-Length: 2", method="PUT", body=b"hi")
        assert response.status == 502
    assert [request.method for request in service.requests] == ["GET", "PUT"]


async def test_an_exchange_that_ended_while_connecting_sends_nothing(service: Upstream) -> None:
    async with relaying(Ending(address_of(service), None)) as client:
        assert (await response_to(client)).status == 503
    assert service.requests == []


# Another attempt


def dead(taken: socket.socket, base: str = "") -> Pool:
    """A pool to a port that refuses."""
    taken.bind(("127.0.0.1", 0))
    return Pool(Address("", "http", "127.0.0.1", taken.getsockname()[1], base), None)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_service_that_takes_no_connection_is_passed_by(
    service: Upstream, method: str
) -> None:
    service.script = answers(b"hello")
    alive = Pool(address_of(service, "/v2"), None)
    with socket.socket() as taken:
        async with relaying(alive, dead(taken), retries=1) as client:
            for _ in range(6):
                response = await response_to(client, "Content-Length: 2", method=method, body=b"hi")
                assert response.body == b"hello"
    assert {request.target for request in service.requests} == {"/v2/"}
    assert {bytes(request.body) for request in service.requests} == {b"hi"}


async def test_without_retries_a_service_that_takes_no_connection_is_a_502(
    service: Upstream,
) -> None:
    service.script = answers(b"hello")
    with socket.socket() as taken:
        async with relaying(Pool(address_of(service), None), dead(taken), retries=0) as client:
            statuses = [(await response_to(client)).status for _ in range(4)]
    assert statuses == [502, 200, 502, 200]


async def test_each_of_several_attempts_goes_to_another_service(service: Upstream) -> None:
    service.script = answers(b"hello")
    with socket.socket() as one, socket.socket() as other:
        pools = Pool(address_of(service), None), dead(one), dead(other)
        async with relaying(*pools, retries=2) as client:
            for _ in range(6):
                assert (await response_to(client)).status == 200


async def test_one_service_is_tried_again_after_a_moment() -> None:
    with socket.socket() as taken:
        pool = dead(taken)
        async with relaying(pool, retries=4) as client:
            assert (await response_to(client)).status == 502
            assert pool.health.is_failing  # three failures of one request


@pytest.fixture
def deaf() -> Iterator[Address]:
    """Where connecting hangs."""
    places = Places.reserve(Path())
    yield Address("", "http", "127.0.0.1", port_of(places.deaf[0]))
    places.close()


async def test_one_service_that_does_not_accept_in_time_is_not_waited_for_again(
    deaf: Address,
) -> None:
    pool = Pool(deaf, None)
    async with relaying(pool, retries=10, timeouts=Timeouts(connect=0.05)) as client:
        assert (await response_to(client)).status == 504
        assert not pool.health.is_failing
        for _ in range(2):
            await response_to(client)
    assert pool.health.is_failing


async def test_a_service_that_does_not_accept_in_time_is_passed_by(
    service: Upstream, deaf: Address
) -> None:
    pools = Pool(address_of(service), None), Pool(deaf, None)
    async with relaying(*pools, timeouts=Timeouts(connect=0.05)) as client:
        assert [(await response_to(client)).status for _ in range(4)] == [200] * 4


async def test_no_attempt_is_made_when_the_time_is_up_and_that_is_not_the_services_fault(
    deaf: Address,
) -> None:
    pools = [Pool(replace(deaf, base_path=f"/{n}"), None) for n in range(2)]
    async with relaying(*pools, retries=10, timeouts=Timeouts(total=0.05)) as client:
        for _ in range(8):
            assert (await response_to(client)).status == 504
    assert not any(pool.health.is_failing for pool in pools)


async def test_without_retries_a_reused_connection_that_closes_is_a_502(service: Upstream) -> None:
    closing_when_reused(service)
    async with relaying(Pool(address_of(service), None), retries=0) as client:
        statuses = [(await response_to(client)).status for _ in range(2)]
    assert statuses == [200, 502]


async def test_what_is_under_way_is_counted(service: Upstream) -> None:
    pool = Pool(address_of(service), None)
    counts: list[int] = []

    async def script(exchange: Exchange) -> None:
        counts.append(pool.health.open_exchanges)
        await answers(b"")(exchange)

    service.script = script
    async with relaying(pool) as client:
        for _ in range(2):
            await response_to(client)
    assert (counts, pool.health.open_exchanges) == ([1, 1], 0)


async def test_a_browser_that_leaves_is_counted_no_more(deaf: Address) -> None:
    pool = Pool(deaf, None)
    async with relaying(pool) as client:
        await client.request("/")
        async with asyncio.timeout(10):
            while pool.health.open_exchanges == 0:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.001)
            client.close()
            while pool.health.open_exchanges:  # noqa: ASYNC110 - there is no event
                await asyncio.sleep(0.001)
    assert not pool.health.is_failing


@pytest.mark.parametrize("body", [b"x\r\n", b"2\r\nhi!\r\n", b"2\r\nhi\r\n-1\r\n"])
async def test_a_body_that_is_not_framed_well_is_a_400(service: Upstream, body: bytes) -> None:
    async with relaying(Pool(address_of(service), None)) as client:
        response = await response_to(client, "Transfer-Encoding: chunked", method="POST", body=body)
    assert (response.status, response.json()["code"]) == (400, "bad_request")


async def test_a_chunked_body_over_the_limit_is_a_413_and_not_completed(service: Upstream) -> None:
    async with relaying(Pool(address_of(service), None), max_body=4) as client:
        response = await response_to(
            client, "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhello\r\n0\r\n\r\n"
        )
    assert response.status == 413
    assert all(request.body == b"" for request in service.requests)


class Faulty(Pool):
    """A pool whose connections have a fault of the gateway's own, once the head is sent."""

    async def connect(self, timeout: float | None) -> Connection:  # noqa: ASYNC109 - as its base
        connection = await super().connect(timeout)
        connection._transport = FaultyTransport(connection._transport)
        return connection


class FaultyTransport(asyncio.Transport):
    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.is_closing = transport.is_closing  # type: ignore[method-assign]
        self.abort = transport.abort  # type: ignore[method-assign]

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if b"HTTP/1.1" not in bytes(data):
            raise RuntimeError("a fault of our own, with eyJsecret in it")
        self._transport.write(data)


async def test_a_fault_of_our_own_while_uploading_is_a_500_and_is_logged_whole(
    service: Upstream,
) -> None:
    with capture_logs() as lines:
        async with relaying(Faulty(address_of(service), None)) as client:
            body = b"2\r\nhi\r\n0\r\n\r\n"
            chunked = "Transfer-Encoding: chunked"
            response = await response_to(client, chunked, method="PUT", body=body)
    assert (response.status, response.json()["code"]) == (500, "internal_error")
    assert b"eyJsecret" not in response.body
    [reported] = [line for line in lines if line["event"] == "upload_failed"]
    assert reported["exc_info"]
