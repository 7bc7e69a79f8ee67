"""Headers at the edge: what must go is gone, what stays keeps its bytes and its order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.header_edits import Edits
from gateway.http.headers import (
    HOP_BY_HOP,
    accepts_event_stream,
    connection_options,
    end_to_end,
    first,
    for_client,
    for_upstream,
    is_streaming,
    media_type,
    origin_form,
    serialize,
    trailers,
    upgrades_to_websocket,
    values,
)

Pairs = list[tuple[bytes, bytes]]


header_names = st.sampled_from(
    [b"Accept", b"X-A", b"x-a", b"Cookie", b"Connection", b"TE", b"Host", b"Upgrade", b"Via"]
)
header_lists = st.lists(st.tuples(header_names, st.binary(max_size=8)), max_size=8)


def is_subsequence(kept: list[bytes], whole: list[bytes]) -> bool:
    rest = iter(whole)
    return all(pair in rest for pair in kept)


# Requests on their way up


def upward(*received: tuple[bytes, bytes]) -> Pairs:
    return for_upstream(received)


@pytest.mark.parametrize(
    "name",
    [
        "Forwarded",
        "X-Real-IP",
        "X_Real_Ip",
        "X-Forwarded-For",
        "x_forwarded_for",
        "X-FORWARDED-anything",
        "Host",
        "Content-Length",
        "Content_Length",
        "Transfer_Encoding",
        "TRANSFER_ENCODING",
        "Proxy_Authorization",
        "X-Request-Id",
        "traceparent",
        "tracestate",
    ],
)
def test_what_the_gateway_says_itself_is_not_passed_on(name: str) -> None:
    assert upward((name.encode(), b"1")) == []


@given(header_lists)
def test_nothing_hop_by_hop_goes_up(received: Pairs) -> None:
    names = {name.lower() for name, _ in upward(*received)}
    assert not names & (HOP_BY_HOP | connection_options(received))


def test_an_event_stream_is_asked_for_uncompressed_once() -> None:
    received = [(b"accept-encoding", b"gzip"), (b"Accept", b"text/event-stream")]
    assert upward(*received, (b"Accept-Encoding", b"br")) == [
        (b"Accept", b"text/event-stream"),
        (b"Accept-Encoding", b"identity"),
    ]


# Hop by hop


@given(header_lists)
def test_what_is_end_to_end_keeps_its_bytes_and_order(received: Pairs) -> None:
    stop = HOP_BY_HOP | connection_options(received)
    assert end_to_end(received) == [pair for pair in received if pair[0].lower() not in stop]


def test_every_connection_header_is_read_in_any_case() -> None:
    received = [
        (b"Connection", b"close, X-One"),
        (b"CONNECTION", b"\tx-TWO ,,"),
        (b"x-one", b"1"),
        (b"X-Two", b"2"),
        (b"X-Three", b"3"),
    ]
    assert end_to_end(received) == [(b"X-Three", b"3")]


@pytest.mark.parametrize("name", [b"Content-Length", b"content-length"])
def test_the_length_is_not_connections_to_name(name: bytes) -> None:
    received = [(b"Connection", b"close, " + name + b", X-One"), (name, b"2"), (b"X-One", b"1")]
    assert end_to_end(received) == [(name, b"2")]


def test_a_trailer_cannot_say_what_belongs_into_a_head() -> None:
    received = [(b"Set-Cookie", b"a=1"), (b"Content-Length", b"0"), (b"Server-Timing", b"db;dur=5")]
    assert trailers(received) == [(b"Server-Timing", b"db;dur=5")]


# Responses on their way down


STREAMS = [
    b"text/event-stream",
    b"application/x-ndjson",
    b"application/jsonl",
    b"application/json-seq",
    b"application/stream+json",
    b"multipart/x-mixed-replace",
    b"application/grpc",
    b"application/grpc+proto",
    b"application/grpc-web",
    b"application/grpc-web+json",
]
space = st.text(" \t", max_size=3).map(str.encode)
parameters = st.sampled_from([b"", b";charset=utf-8", b" ; boundary=x", b";"])


@given(st.sampled_from(STREAMS), st.booleans(), space, space, parameters)
def test_a_streaming_media_type_is_known_however_it_is_written(
    kind: bytes, is_upper: bool, before: bytes, after: bytes, parameter: bytes
) -> None:
    written = before + (kind.upper() if is_upper else kind) + after + parameter
    assert is_streaming(media_type(written))


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"application/json",
        b"text/event-streams",
        b"text/plain; a=text/event-stream",
        b"application/x-ndjson+x",
        b"multipart/mixed",
        b"application/x-grpc",
    ],
)
def test_other_media_types_are_no_streams(value: bytes | None) -> None:
    assert not is_streaming(media_type(value))


@pytest.mark.parametrize("is_event_stream", [True, False])
def test_a_stream_is_marked_as_not_to_be_buffered_whatever_the_service_says(
    *, is_event_stream: bool
) -> None:
    received = [(b"x-accel-buffering", b"yes"), (b"cache-control", b"private")]
    assert for_client(received, is_stream=True, is_event_stream=is_event_stream) == [
        (b"cache-control", b"private"),
        (b"X-Accel-Buffering", b"no"),
    ]


def test_only_an_event_stream_is_kept_from_caches_where_the_service_says_nothing_of_them() -> None:
    marked = [(b"X-Accel-Buffering", b"no")]
    assert for_client([], is_stream=True, is_event_stream=False) == marked
    assert for_client([], is_stream=True, is_event_stream=True) == [
        *marked,
        (b"Cache-Control", b"no-cache"),
    ]


def test_other_responses_keep_their_own_word_on_buffering() -> None:
    received = [(b"X-Accel-Buffering", b"yes")]
    assert for_client(received, is_stream=False, is_event_stream=False) == received


# A route's own rules


def test_a_header_that_is_set_replaces_all_of_its_name() -> None:
    edits = Edits.of((("X-A", "new"),), ("Server",))
    received = [(b"x-a", b"1"), (b"SERVER", b"s"), (b"X-B", b"2"), (b"X-A", b"3")]
    assert edits.apply(received) == [(b"X-B", b"2"), (b"X-A", b"new")]


@given(header_lists)
def test_no_rules_change_nothing(received: Pairs) -> None:
    assert Edits.of().apply(received) == received


# Small readings


@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        ("/a?b=://c", "/a?b=://c", b"sent"),
        ("http://h/a?b", "/a?b", b"h"),
        ("HTTPS://h:81", "/", b"h:81"),
        ("http://h?b=/", "/?b=/", b"h"),
        ("ftp://h/a", "ftp://h/a", b"sent"),
        ("*", "*", b"sent"),
        ("http://h\udcc3/a", "/a", b"h\xc3"),
    ],
)
def test_a_target_in_absolute_form_names_the_host_itself(
    target: str, path: str, host: bytes
) -> None:
    found, headers = origin_form(target, [(b"host", b"sent"), (b"A", b"1")])
    assert (found, values(headers, b"host")) == (path, [host])
    assert first(headers, b"a") == b"1"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, b""),
        (b"", b""),
        (b"Text/Event-Stream", b"text/event-stream"),
        (b" text/event-stream ; charset=utf-8", b"text/event-stream"),
        (b"text/event-stream-not", b"text/event-stream-not"),
    ],
)
def test_a_media_type_is_read_without_parameters_and_case(value: bytes | None, kind: bytes) -> None:
    assert media_type(value) == kind


@pytest.mark.parametrize(
    ("accept", "is_wanted"),
    [
        ([b"text/event-stream"], True),
        ([b"text/html", b"a/b, TEXT/EVENT-STREAM;q=0.9"], True),
        ([b"*/*"], False),
        ([b"text/*"], False),
        ([b"application/x+text/event-stream"], False),
        ([], False),
    ],
)
def test_an_event_stream_is_accepted_by_its_own_name_alone(
    accept: list[bytes], is_wanted: bool
) -> None:
    assert accepts_event_stream([(b"Accept", value) for value in accept]) is is_wanted


def test_headers_are_serialized_in_their_order() -> None:
    assert serialize([(b"B", b"1"), (b"a", b""), (b"B", b"2")]) == b"B: 1\r\na: \r\nB: 2\r\n"


@pytest.mark.parametrize(
    ("received", "is_so"),
    [
        ([(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")], True),
        ([(b"upgrade", b" WebSocket "), (b"connection", b"keep-alive, UPGRADE")], True),
        ([(b"Upgrade", b"websocket"), (b"Connection", b"a"), (b"Connection", b"upgrade")], True),
        ([(b"Upgrade", b"websocket")], False),
        ([(b"Upgrade", b"websocket"), (b"Connection", b"close")], False),
        ([(b"Upgrade", b"h2c"), (b"Connection", b"upgrade")], False),
        ([(b"Upgrade", b"websocket, h2c"), (b"Connection", b"upgrade")], False),
        ([(b"Upgrade", b"a"), (b"Upgrade", b"websocket"), (b"Connection", b"upgrade")], False),
        ([(b"Connection", b"upgrade")], False),
    ],
)
def test_an_upgrade_to_websocket_is_recognized_and_no_other_is(
    received: list[tuple[bytes, bytes]], is_so: bool
) -> None:
    assert upgrades_to_websocket(received) is is_so
