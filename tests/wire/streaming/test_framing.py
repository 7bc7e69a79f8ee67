"""How long a message is has one reading, on both sides of the gateway."""

import pytest

from tests.support.raw_client import Ending, RawClient
from tests.support.upstream import Exchange, Upstream, response, sends

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("name", ["Content-Length", "content-length, X-Other"])
async def test_a_service_cannot_name_the_length_away(
    upstream: Upstream, client: RawClient, name: str
) -> None:
    upstream.script = sends(response(b"hello", f"Connection: {name}, close"))
    for _ in range(2):
        got = await client.fetch("/open/x")
        assert (got.value("Content-Length"), bytes(got.body)) == ("5", b"hello")
        assert got.value("Transfer-Encoding") is None


async def test_the_length_stays_for_an_http_1_0_client_that_keeps_its_connection(
    upstream: Upstream, client: RawClient
) -> None:
    upstream.script = sends(response(b"hello", "Connection: Content-Length"))
    for _ in range(2):
        await client.send(b"GET /open/x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        got = await client.head()
        assert (got.value("Content-Length"), got.value("Connection")) == ("5", "keep-alive")
        assert bytes((await client.rest()).body) == b"hello"


@pytest.mark.parametrize("zeros", [20, 5000])
async def test_a_length_of_very_many_digits_is_refused_and_goes_nowhere(
    upstream: Upstream, client: RawClient, zeros: int
) -> None:
    length = b"0" * zeros + b"3"
    await client.send(
        b"POST /open/x HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\nabc"
    )
    assert (await client.head()).status in (400, 413)
    assert (await client.rest()).json()["code"] in ("bad_request", "body_too_large")
    assert upstream.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Transfer-Encoding: chunked \r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        OK + b"Content-Length: 5 \r\n\r\nhello",
        OK + b"Content-Length: 5\t\r\n\r\nhello",
    ],
)
async def test_a_service_may_leave_white_space_behind_its_framing(
    upstream: Upstream, client: RawClient, answer: bytes
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.send(answer)

    upstream.script = script
    for _ in range(2):
        got = await client.fetch("/open/x")
        assert (got.status, bytes(got.body), got.ending) == (200, b"hello", Ending.CLEAN)
    assert upstream.connections == 1


async def test_an_interim_response_goes_on_without_a_length(
    upstream: Upstream, client: RawClient
) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 7\r\n\r\n"
    upstream.script = sends(early + response(b"hello"))
    await client.request("/open/x")
    interim = await client.next_head()
    assert (interim.status, interim.headers) == (103, [(b"Link", b"</a>")])
    await client.head()
    assert bytes((await client.rest()).body) == b"hello"
