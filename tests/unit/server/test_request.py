"""A request's parts stay as they came, and its framing is judged before a service sees it."""

import pytest

from gateway.config.model import MAX_HEADER_SIZE
from gateway.http.errors import BAD_REQUEST, BODY_TOO_LARGE, HEADERS_TOO_LARGE, Failure, Rejection
from gateway.server.request import Request, over, raw
from tests.support.receiving import Received


def request(*headers: str, target: str = "/", version: str = "1.1", method: str = "POST") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: h", *headers, "", ""]).encode()


async def test_path_and_query_stay_as_received(received: Received) -> None:
    incoming = await received(request(target="/a%2Fb//c'?b=%2F+&b=&a=?"))
    assert (incoming.path, incoming.query) == ("/a%2Fb//c'", "?b=%2F+&b=&a=?")
    assert incoming.exchange.path == "/a%2Fb//c'"


async def test_an_empty_query_keeps_its_mark(received: Received) -> None:
    assert (await received(request(target="/a?"))).query == "?"
    assert (await received(request(target="/a"))).query == ""


async def test_a_target_in_absolute_form_loses_its_host_to_the_host_header(
    received: Received,
) -> None:
    incoming = await received(request(target="http://other/a?b"))
    assert (incoming.path, incoming.query, incoming.first(b"host")) == ("/a", "?b", b"other")


@pytest.mark.parametrize(
    ("headers", "is_chunked", "framing"),
    [
        ((), False, []),
        (("Content-Length: 0",), False, [(b"Content-Length", b"0")]),
        (("Content-Length: 2",), False, [(b"Content-Length", b"2")]),
        (("Transfer-Encoding: chunked",), True, [(b"Transfer-Encoding", b"chunked")]),
    ],
)
async def test_a_body_goes_on_framed_as_it_came(
    received: Received,
    headers: tuple[str, ...],
    is_chunked: bool,
    framing: list[tuple[bytes, bytes]],
) -> None:
    body = {0: b"", 2: b"hi", 5: b"0\r\n\r\n"}[5 if is_chunked else 2 if "2" in str(headers) else 0]
    incoming = await received(request(*headers) + body)
    assert (incoming.is_chunked, incoming.framing) == (is_chunked, framing)


@pytest.mark.parametrize(
    ("version", "is_http_11"), [("1.0", False), ("1.1", True)], ids=["http 1.0", "http 1.1"]
)
async def test_the_clients_version_is_known(
    received: Received, version: str, is_http_11: bool
) -> None:
    assert (await received(request(version=version, method="GET"))).is_http_11 is is_http_11


async def test_a_method_keeps_its_case(received: Received) -> None:
    assert (await received(request(method="GET"))).method == "GET"


async def test_a_body_at_the_limit_is_taken_and_one_over_it_is_not(received: Received) -> None:
    incoming = await received(request("Content-Length: 2") + b"hi")
    incoming.check_body(2)
    with pytest.raises(Rejection) as refused:
        incoming.check_body(1)
    assert refused.value.failure is BODY_TOO_LARGE
    assert "1 bytes" in refused.value.detail


@pytest.mark.parametrize("coding", ["gzip, chunked", "GZIP, Chunked"])
async def test_a_coding_that_no_service_was_asked_to_read_is_refused(
    received: Received, coding: str
) -> None:
    incoming = await received(request(f"Transfer-Encoding: {coding}") + b"0\r\n\r\n")
    assert failure_of(incoming) is BAD_REQUEST


async def test_chunked_is_taken_in_any_case(received: Received) -> None:
    incoming = await received(request("Transfer-Encoding: CHUNKED") + b"0\r\n\r\n")
    assert failure_of(incoming) is None


async def test_a_coding_that_http_1_0_does_not_have_is_refused(received: Received) -> None:
    chunked = request("Transfer-Encoding: chunked", version="1.0") + b"0\r\n\r\n"
    assert failure_of(await received(chunked)) is BAD_REQUEST


@pytest.mark.parametrize(
    ("framing", "body"),
    [("Content-Length: 2", b"hi"), ("Transfer-Encoding: chunked", b"2\r\nhi\r\n0\r\n\r\n")],
)
async def test_a_body_behind_an_upgrade_is_known_or_refused(
    received: Received, framing: str, body: bytes
) -> None:
    incoming = await received(request("Connection: Upgrade", "Upgrade: h2c", framing) + body)
    assert incoming.has_body or failure_of(incoming) is BAD_REQUEST


# Whether another request may follow


@pytest.mark.parametrize(
    ("data", "keeps_alive"),
    [
        (request(), True),
        (request("Connection: close"), False),
        (request("Upgrade: h2c", "Connection: Upgrade", method="GET"), False),
        (request("Upgrade: websocket", method="GET"), False),
        (request(target="h:443", method="CONNECT"), False),
        (request(version="1.0", method="GET"), False),
        (request("Connection: keep-alive", version="1.0", method="GET"), True),
        (
            request("Connection: keep-alive", "Transfer-Encoding: chunked", version="1.0")
            + b"0\r\n\r\n",
            False,
        ),
        (request("Transfer-Encoding: chunked") + b"0\r\n\r\n", True),
    ],
)
async def test_another_request_may_follow_only_where_the_end_of_the_first_is_known(
    received: Received, data: bytes, keeps_alive: bool
) -> None:
    assert (await received(data)).keeps_alive is keeps_alive


# WebSocket

KEY = ("Sec-WebSocket-Key: a", "Sec-WebSocket-Version: 13")
UPGRADE = ("Upgrade: websocket", "Connection: upgrade")


@pytest.mark.parametrize(
    ("data", "is_websocket"),
    [
        (request(*UPGRADE, *KEY, method="GET"), True),
        (request("upgrade: WebSocket", "Connection: a, Upgrade", *KEY, method="GET"), True),
        (request(*UPGRADE, *KEY, "Content-Length: 0", method="GET"), True),
        (request(*UPGRADE, *KEY, method="GET") + b"\x81\x80early", True),
        (request(*UPGRADE, *KEY, method="GET", version="1.0"), False),
        (request(*UPGRADE, *KEY), False),
        (request(*UPGRADE, *KEY, "Content-Length: 2", method="GET") + b"hi", False),
        (request(*UPGRADE, KEY[0], method="GET"), False),
        (request(*UPGRADE, KEY[1], method="GET"), False),
        (request("Upgrade: h2c", "Connection: upgrade", *KEY, method="GET"), False),
        (request("Upgrade: websocket, h2c", "Connection: upgrade", *KEY, method="GET"), False),
        (request("Upgrade: websocket", *KEY, method="GET"), False),
        (request(method="GET"), False),
    ],
)
async def test_an_opening_handshake_is_known(
    received: Received, data: bytes, is_websocket: bool
) -> None:
    assert (await received(data)).is_websocket is is_websocket


# The head as a whole


async def test_a_head_at_the_limit_is_taken_and_one_over_it_is_not(received: Received) -> None:
    fields = [f"X-{number}: {'x' * 1000}" for number in range(32)]
    small = await received(request(*fields[:-1], method="GET"))
    small.check_head(MAX_HEADER_SIZE)
    large = await received(request(*fields, f"X-Last: {'x' * 700}", method="GET"))
    with pytest.raises(Rejection) as refused:
        large.check_head(MAX_HEADER_SIZE)
    assert refused.value.failure is HEADERS_TOO_LARGE
    large.check_head(2 * MAX_HEADER_SIZE)


@pytest.mark.parametrize("target", ["/a#b", "/a?b#c", "/a#?b", "http://other/a?#"])
async def test_a_target_with_a_hash_is_rejected_with_a_fix(received: Received, target: str) -> None:
    incoming = await received(request(target=target, method="GET"))
    with pytest.raises(Rejection) as refused:
        incoming.check_head(MAX_HEADER_SIZE)
    assert refused.value.failure is BAD_REQUEST
    assert "percent-encode" in refused.value.detail


def failure_of(incoming: Request) -> Failure | None:
    try:
        incoming.check_body(10)
    except Rejection as refusal:
        return refusal.failure
    return None


@pytest.mark.parametrize(
    ("headers", "expects"),
    [((), False), (("Expect: 100-Continue",), True), (("Expect: x",), False)],
)
async def test_only_100_continue_is_waited_for(
    received: Received, headers: tuple[str, ...], expects: bool
) -> None:
    assert (await received(request(*headers, method="GET"))).expects_continue is expects


async def test_every_value_of_a_header_is_kept(received: Received) -> None:
    incoming = await received(request("X-A: 1", "x-a: 2", method="GET"))
    assert incoming.values(b"x-a") == [b"1", b"2"]


def test_bytes_that_are_no_text_survive() -> None:
    assert raw(b"/\xff\xc3\xa4".decode("utf-8", "surrogateescape")) == b"/\xff\xc3\xa4"


def test_the_limit_is_named() -> None:
    assert "1024 bytes" in over(1024).detail
