"""A valid trace of the caller is continued, any other begins anew."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.trace_context import TraceContext

NEW_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-[0-9a-f]{16}-00")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
lower_hex = st.sampled_from("0123456789abcdef")


def hex_of(length: int) -> st.SearchStrategy[str]:
    return st.text(lower_hex, min_size=length, max_size=length)


def traceparent(received: list[bytes]) -> tuple[bytes, str]:
    context = TraceContext(received, [b"vendor=1"])
    assert context.is_continued == (context.parent in received)
    assert list(context.states) == ([b"vendor=1"] if context.is_continued else [])
    return context.parent, context.trace_id


@given(hex_of(32).filter(lambda id_: id_.strip("0")), hex_of(16).filter(lambda id_: id_.strip("0")))
def test_a_valid_trace_is_carried_on_as_it_is(trace: str, parent: str) -> None:
    received = f"00-{trace}-{parent}-01".encode()
    assert traceparent([received]) == (received, trace)


def test_a_later_version_may_say_more() -> None:
    received = f"cc-{TRACE}-{PARENT}-01-what-comes-later".encode()
    assert traceparent([received]) == (received, TRACE)


@pytest.mark.parametrize(
    "received",
    [
        "",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}",
        f"cc-{TRACE}-{PARENT}-01.more",
        f" 00-{TRACE}-{PARENT}-01",
    ],
)
def test_an_invalid_trace_begins_anew(received: str) -> None:
    header, trace = traceparent([received.encode()])
    found = NEW_TRACEPARENT.fullmatch(header)
    assert found
    assert found[1].decode() == trace != TRACE


def test_of_two_traces_neither_is_taken() -> None:
    received = f"00-{TRACE}-{PARENT}-01".encode()
    assert traceparent([received, received])[1] != TRACE


@given(st.lists(st.binary(), max_size=2))
def test_whatever_came_the_trace_id_is_the_one_in_the_header(received: list[bytes]) -> None:
    header, trace = traceparent(received)
    assert header.split(b"-")[1].decode() == trace
    assert re.fullmatch("[0-9a-f]{32}", trace)
