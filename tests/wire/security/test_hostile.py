"""Input that means harm: refused with a problem or a closed connection, and never passed on."""

import pytest

from tests.support.raw_client import RawClient
from tests.support.upstream import Upstream
from tests.wire.conftest import Connect

GET = b"GET /open/x HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /open/x HTTP/1.1\r\nHost: x\r\n"

MALFORMED = {
    "length-and-chunked": POST
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked-and-length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two-lengths": POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length-list": POST + b"Content-Length: 1, 2\r\n\r\nab",
    "signed-length": POST + b"Content-Length: +1\r\n\r\na",
    "underscored-length": POST + b"Content-Length: 1_0\r\n\r\n0123456789",
    "hex-length": POST + b"Content-Length: 0x1\r\n\r\na",
    "unknown-coding": POST + b"Transfer-Encoding: chunky\r\n\r\n0\r\n\r\n",
    "chunked-not-last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked-twice": POST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space-before-colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "space-in-name": GET + b"X Y: 1\r\n\r\n",
    "obs-fold": GET + b"X-A: 1\r\n folded\r\n\r\n",
    "nul-in-value": GET + b"X-A: a\0b\r\n\r\n",
    "cr-in-value": GET + b"X-A: a\rb\r\n\r\n",
    "nul-in-target": b"GET /open/\0 HTTP/1.1\r\nHost: x\r\n\r\n",
    "space-in-target": b"GET /open/a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "no-version": b"GET /open/x\r\nHost: x\r\n\r\n",
    "http-0.9": b"GET /open/x\r\n\r\n",
    "http-0.9-by-name": b"GET /open/x HTTP/0.9\r\n\r\n",
    "http-1.0-chunked": b"POST /open/x HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "chunked-and-a-tab": POST + b"Transfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n",
    "http-2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http-3": b"GET /open/x HTTP/3.0\r\nHost: x\r\n\r\n",
    "bad-method": b"G@T /open/x HTTP/1.1\r\nHost: x\r\n\r\n",
    "tls-hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello hello hello\r\n\r\n",
    "binary": bytes(range(128, 256)) + b"\r\n\r\n",
    "empty-name": GET + b": 1\r\n\r\n",
    "no-colon": GET + b"nonsense\r\n\r\n",
    "no-host": b"GET /open/x HTTP/1.1\r\n\r\n",
    "two-hosts": GET + b"Host: y\r\n\r\n",
}


@pytest.mark.parametrize("wire", MALFORMED.values(), ids=MALFORMED.keys())
async def test_a_malformed_request_is_a_400_problem_and_goes_nowhere(
    upstream: Upstream, client: RawClient, wire: bytes
) -> None:
    await client.send(wire + GET.replace(b"/open/x", b"/open/smuggled") + b"\r\n")
    got = await client.head()
    assert got.status == 400
    assert got.value("Content-Type") == "application/problem+json"
    assert (await client.rest()).json()["code"] == "bad_request"
    await client.closed()
    assert upstream.requests == []


@pytest.mark.parametrize(
    "size", [b"0x5", b"+5", b"5_0", b"-1", b"", b"5 5", b"fffffffffffffffff", b"g"]
)
async def test_a_malformed_chunk_never_ends_a_request_well(
    upstream: Upstream, client: RawClient, size: bytes
) -> None:
    smuggled = GET.replace(b"/open/x", b"/open/smuggled") + b"\r\n"
    wire = POST + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\nhello\r\n0\r\n\r\n"
    await client.send(wire + smuggled)
    everything = await client.closed()
    assert b"HTTP/1.1 200" not in everything
    for request in upstream.requests:
        assert request.target == "/open/x"


async def test_bare_line_feeds_do_not_smuggle_a_header(
    upstream: Upstream, client: RawClient
) -> None:
    await client.send(GET + b"X-A: 1\nX-User-Id: root\r\nConnection: close\r\n\r\n")
    await client.closed()
    for request in upstream.requests:
        assert request.value("X-User-Id") is None


@pytest.mark.parametrize(
    "line",
    [
        b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n",
        b"GET http://evil.test/open/x HTTP/1.1\r\nHost: evil.test\r\n",
        b"GET //evil.test/open/x HTTP/1.1\r\nHost: x\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n",
        b"GET open/x HTTP/1.1\r\nHost: x\r\n",
        b"GET ?x HTTP/1.1\r\nHost: x\r\n",
    ],
    ids=["connect", "absolute", "authority", "asterisk", "no-slash", "query-only"],
)
async def test_the_gateway_is_nobodys_open_proxy(
    upstream: Upstream, client: RawClient, line: bytes
) -> None:
    await client.send(line + b"Connection: close\r\n\r\n")
    got = await client.head()
    assert got.status in (200, 400, 404, 405)
    for request in upstream.requests:
        assert request.target == "/open/x"


@pytest.mark.parametrize(
    "target",
    [
        "/open/../private/x",
        "/open/%2e%2e/private/x",
        "/open/..%2fprivate/x",
        "/open/.%2e/private/x",
        "/open/./../private/x",
        "/open/..\\private/x",
    ],
)
async def test_dots_in_a_path_do_not_lead_around_a_route(
    upstream: Upstream, client: RawClient, target: str
) -> None:
    got = await client.fetch(target)
    assert got.status in (200, 400, 401, 404)
    for request in upstream.requests:
        plain = request.target.lower().replace("%2e", ".").replace("%2f", "/").replace("\\", "/")
        assert "/../" not in plain, "the service would resolve it to another path"


@pytest.mark.parametrize("start", [b"GET /open/x\r\n", b"GET /open/x HTTP/0.9\r\n"])
async def test_a_request_of_http_0_9_alone_is_a_400_and_closes(
    upstream: Upstream, client: RawClient, start: bytes
) -> None:
    await client.send(start + b"Host: x\r\n\r\n")
    assert (await client.head()).status == 400
    await client.rest()
    assert await client.closed() == b""
    assert upstream.requests == []


@pytest.mark.parametrize(
    "target",
    ["/open/x#", "/open/x#y?z", "/open/x?a#&token=b", "/private/x?a#&token=b", "http://h/open/x?#"],
)
async def test_a_hash_in_the_target_is_a_400(
    upstream: Upstream, client: RawClient, target: str
) -> None:
    got = await client.fetch(target)
    assert (got.status, got.json()["code"]) == (400, "bad_request")
    assert upstream.requests == []


async def test_many_headers_are_refused_or_passed_whole(
    upstream: Upstream, client: RawClient
) -> None:
    got = await client.fetch("/open/x", *(f"X-{number}: 1" for number in range(20_000)))
    assert (got.status, got.json()["code"]) == (431, "headers_too_large")
    assert upstream.requests == []


async def test_a_half_sent_head_holds_back_nobody(upstream: Upstream, connect: Connect) -> None:
    for _ in range(50):
        await (await connect()).send(b"GET /open/x HTTP/1.1\r\nHost:")
    assert (await (await connect()).fetch("/open/x")).status == 200


async def test_connections_that_say_nothing_leave_no_trace(
    upstream: Upstream, connect: Connect
) -> None:
    for number in range(50):
        client = await connect()
        client.reset() if number % 2 else client.close()
    assert (await (await connect()).fetch("/open/x")).status == 200
