"""Heads are written with the framing last: no header that came in can change it."""

from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.cors import CorsPolicy
from gateway.config.model import Cors, HeaderRules
from gateway.http.header_edits import Access, Edits
from gateway.http.message_heads import (
    Framing,
    Reply,
    RequestHead,
    framing_of,
    informational_head,
    response_head,
    switching_head,
)
from gateway.http.response_parser import ResponseHead

Pairs = list[tuple[bytes, bytes]]


def reply(
    *,
    is_http_11: bool = True,
    keep_alive: bool = True,
    had_query_token: bool = False,
    edits: HeaderRules | None = None,
    access: Access | None = None,
) -> Reply:
    edits = edits or HeaderRules()
    rules = Edits.of(edits.set, edits.remove)
    return Reply(is_http_11, keep_alive, False, had_query_token, "id-1", rules, access)


def head(
    *headers: tuple[bytes, bytes], status: int = 200, has_body: bool = True, length: bool = False
) -> ResponseHead:
    return ResponseHead(status, b"Fine", list(headers), has_body, length)


def lines(data: bytes) -> tuple[bytes, Pairs]:
    start, *rest = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
    pairs = [tuple(line.split(b": ", 1)) for line in rest]
    return start, [(name, value) for name, value in pairs]


def written(received: ResponseHead, to: Reply, *, is_closing: bool = False) -> Pairs:
    return lines(response_head(received, framing_of(received, to), to, is_closing=is_closing))[1]


@pytest.mark.parametrize(
    ("received", "is_http_11", "framing"),
    [
        (head(has_body=False), True, Framing.NONE),
        (head(has_body=False, length=True), True, Framing.NONE),
        (head(length=True), True, Framing.LENGTH),
        (head(length=True), False, Framing.LENGTH),
        (head(), True, Framing.CHUNKED),
        (head(), False, Framing.UNTIL_CLOSE),
    ],
)
def test_a_body_is_framed_as_the_browser_can_read_it(
    received: ResponseHead, is_http_11: bool, framing: Framing
) -> None:
    assert framing_of(received, reply(is_http_11=is_http_11)) is framing


def test_the_services_status_and_reason_stand_in_the_first_line() -> None:
    data = response_head(head(status=299), Framing.CHUNKED, reply(), is_closing=False)
    assert lines(data)[0] == b"HTTP/1.1 299 Fine"


def test_a_date_and_a_request_id_are_added_where_the_service_gave_none() -> None:
    added = dict(written(head(), reply()))
    assert parsedate_to_datetime(added[b"Date"].decode())
    assert added[b"X-Request-Id"] == b"id-1"


def test_the_services_own_date_and_request_id_stand() -> None:
    own = [(b"date", b"then"), (b"x-request-id", b"its own")]
    kept = written(head(*own, has_body=False), reply())
    assert kept == own


def test_a_token_in_the_url_is_kept_from_the_next_site() -> None:
    received = head((b"referrer-policy", b"unsafe-url"))
    kept = written(received, reply(had_query_token=True))
    assert [pair for pair in kept if pair[0].lower() == b"referrer-policy"] == [
        (b"Referrer-Policy", b"no-referrer")
    ]


def test_without_a_token_in_the_url_the_services_referrer_policy_stands() -> None:
    policy = (b"Referrer-Policy", b"origin")
    assert policy in written(head(policy), reply())


def test_a_page_that_may_read_gets_the_headers_for_it_and_no_rule_changes_that() -> None:
    origin = b"https://app.example"
    access = CorsPolicy(Cors((origin.decode(),))).access(origin)
    received = head((b"Access-Control-Allow-Origin", b"*"), (b"Vary", b"Accept"))
    edits = HeaderRules(set=(("Vary", "Cookie"),))
    kept = written(received, reply(edits=edits, access=access))
    assert [pair for pair in kept if pair[0] in (b"Vary", b"Access-Control-Allow-Origin")] == [
        (b"Vary", b"Cookie"),
        (b"Vary", b"Origin"),
        (b"Access-Control-Allow-Origin", origin),
    ]


def test_without_cors_the_services_own_word_on_it_stands() -> None:
    own = (b"Access-Control-Allow-Origin", b"*")
    assert own in written(head(own), reply())


def test_no_content_has_no_length() -> None:
    received = head((b"Content-Length", b"0"), status=204, has_body=False, length=True)
    assert b"Content-Length" not in dict(written(received, reply()))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"Transfer-Encoding", b"transfer-encoding", b"Connection", b"X-A"]),
            st.sampled_from([b"chunked", b"gzip", b"close", b"keep-alive", b"x-a"]),
        ),
        max_size=5,
    )
)
def test_no_header_of_the_service_changes_how_the_message_is_framed(received: Pairs) -> None:
    kept = [(name.lower(), value) for name, value in written(head(*received), reply())]
    assert [value for name, value in kept if name == b"transfer-encoding"] == [b"chunked"]
    assert b"connection" not in dict(kept)


@pytest.mark.parametrize(
    ("to", "is_closing", "connection"),
    [
        (reply(), False, None),
        (reply(), True, b"close"),
        (reply(is_http_11=False), False, b"keep-alive"),
        (reply(is_http_11=False), True, b"close"),
    ],
)
def test_the_client_learns_whether_the_connection_stays(
    to: Reply, is_closing: bool, connection: bytes | None
) -> None:
    kept = dict(written(head(length=True), to, is_closing=is_closing))
    assert kept.get(b"Connection") == connection


def test_a_routes_rules_come_after_what_the_gateway_adds() -> None:
    rules = HeaderRules(set=(("X-Accel-Buffering", "yes"),), remove=("Date",))
    received = head((b"Content-Type", b"text/event-stream"))
    kept = dict(written(received, reply(edits=rules)))
    assert kept[b"X-Accel-Buffering"] == b"yes"
    assert b"Date" not in kept


def test_an_event_stream_is_known_by_its_media_type() -> None:
    assert head((b"content-type", b"Text/Event-Stream; charset=utf-8")).is_event_stream
    assert not head((b"Content-Type", b"text/plain")).is_event_stream
    assert not head().is_event_stream


def test_an_informational_head_is_whole() -> None:
    written_head = informational_head(103, b"Early Hints", [(b"Link", b"</a>")])
    assert written_head == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


def test_an_informational_head_has_no_length() -> None:
    received = [(b"content-length", b"7"), (b"Link", b"</a>"), (b"Content-Length", b"7")]
    written_head = informational_head(103, b"Early Hints", received)
    assert written_head == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"


def test_a_switching_head_says_itself_what_is_switched_to_and_has_no_length() -> None:
    received = [
        (b"connection", b"upgrade, x-hop"),
        (b"upgrade", b"WebSocket"),
        (b"X-Hop", b"1"),
        (b"Content-Length", b"7"),
        (b"Sec-WebSocket-Accept", b"a"),
        (b"Server", b"theirs"),
    ]
    rules = HeaderRules(remove=("Server",))
    start, pairs = lines(switching_head(b"Switching", received, reply(edits=rules)))
    assert start == b"HTTP/1.1 101 Switching"
    assert pairs == [
        (b"Sec-WebSocket-Accept", b"a"),
        (b"X-Request-Id", b"id-1"),
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
    ]


def test_a_switching_head_keeps_the_services_own_request_id() -> None:
    _, pairs = lines(switching_head(b"", [(b"x-request-id", b"theirs")], reply()))
    assert pairs[0] == (b"x-request-id", b"theirs")
    assert b"X-Request-Id" not in dict(pairs)


def test_a_request_head_is_whole() -> None:
    head = RequestHead("GET", b"/a%2Fb?c", b"", [(b"X", b"y")])
    assert head.to(b"", b"h") == b"GET /a%2Fb?c HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n"


def test_a_request_head_is_for_whichever_service_gets_it() -> None:
    head = RequestHead("GET", b"/a", b"", [])
    assert head.to(b"/v1", b"one") == b"GET /v1/a HTTP/1.1\r\nHost: one\r\n\r\n"
    assert head.to(b"", b"two:81") == b"GET /a HTTP/1.1\r\nHost: two:81\r\n\r\n"


def test_the_clients_host_goes_before_that_of_any_service() -> None:
    head = RequestHead("GET", b"/a", b"client", [])
    assert head.to(b"/v1", b"one") == b"GET /v1/a HTTP/1.1\r\nHost: client\r\n\r\n"
