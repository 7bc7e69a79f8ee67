"""Where an event stream stands is known in any pieces, and what is put between breaks no event."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.http.event_stream import BOM, HEARTBEAT, MAX_EVENT, EventStream, error_event
from tests.support.event_source import Event, EventSource

PROGRESS = b'data: {"progress": 40}\n\n'

# What a browser makes of these is the HTML standard's to say (9.2.5, 9.2.6): one rule of it each.
CASES: dict[str, tuple[bytes, list[tuple[str, str]]]] = {
    "a byte order mark": (BOM + b"data:a\n\n", [("message", "a")]),
    "two byte order marks": (BOM * 2 + b"data:a\n\ndata:b\n\n", [("message", "b")]),
    "a mark in the middle": (b"data:a\n\n" + BOM + b"data:b\n\ndata:c\n\n", [("", "a"), ("", "c")]),
    "line ends of LF": (b"data:a\ndata:b\n\n", [("message", "a\nb")]),
    "line ends of CR": (b"data:a\rdata:b\r\r", [("message", "a\nb")]),
    "line ends of CRLF": (b"data:a\r\ndata:b\r\n\r\n", [("message", "a\nb")]),
    "line ends of all kinds": (b"data:a\rdata:b\r\ndata:c\n\r\n", [("message", "a\nb\nc")]),
    "LF CR is two line ends": (b"data:a\n\rdata:b\n\n", [("message", "a"), ("message", "b")]),
    "a comment": (b":a\n: b\ndata:a\n:c\ndata:b\n\n:\n\n", [("message", "a\nb")]),
    "a comment of colons": (b":::\n\n::data:b\ndata:a\n\n", [("message", "a")]),
    "a comment with a NUL": (b":\0\ndata:a\n\n", [("message", "a")]),
    "a long comment": (b":" + b"x" * 2048 + b"\ndata:a\n\n", [("message", "a")]),
    "data without a value": (b"data\n\ndata:\n\ndata\ndata\n\n", [("", ""), ("", ""), ("", "\n")]),
    "no blank line at the end": (b"data:a\n\ndata:b\n", [("message", "a")]),
    "no line end at the end": (b"data:a\n\ndata:b", [("message", "a")]),
    "one space is dropped": (b"data:  a\n\ndata:\tb\n\n", [("", " a"), ("", "\tb")]),
    "spaces before a name": (b" data:a\n\ndata :b\n\ndata:c\n\n", [("message", "c")]),
    "names in another case": (b"Data:a\nDATA:b\n\ndata:c\n\n", [("message", "c")]),
    "unknown names": (b"dat:a\ndatas:b\ndata\0:c\ndata:d\n\n", [("message", "d")]),
    "colons in a value": (b"data:a:b: c\n\n", [("message", "a:b: c")]),
    "a NUL in a value": (b"data:a\0b\n\n", [("message", "a\0b")]),
    "a type": (b"event:x\ndata:a\n\ndata:b\n\n", [("x", "a"), ("message", "b")]),
    "a type without a value": (b"event:x\nevent\ndata:a\n\n", [("message", "a")]),
    "a type without data": (b"event:x\n\ndata:a\n\n", [("message", "a")]),
    "an id without data": (b"id:1\n\ndata:a\n\n", [("message", "a")]),
    "a time to reconnect": (b"retry:1000\n\ndata:a\n\nretry:x\n\n", [("message", "a")]),
    "UTF-8": ("data:ok…\n\n".encode(), [("message", "ok…")]),
    "what is no UTF-8": (b"data:\xff\xe2\x80\n\ndata:a\n\n", [("", "\ufffd\ufffd"), ("", "a")]),
    "nothing": (b"", []),
    "blank lines alone": (b"\n\n\r\r\r\n", []),
}

LINES = st.sampled_from(
    [
        *(b"", b"", b":", b": ping", b"data: 1", b"data", b"data:", b"event: x", b"event"),
        *(b"id: 7", b"id", b"retry: 5", b"bogus: 1", b" ", b"data: \xe2\x80\xa6"),
        *(BOM, BOM + b"data: 2", b"\xef"),
    ]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Any event stream: lines of every sort and end, half a line, perhaps a mark before it all."""
    lines = draw(st.lists(st.tuples(LINES, ENDS), max_size=12))
    opening = draw(st.sampled_from([b"", b"", BOM, BOM[:1], BOM[:2]]))
    return opening + b"".join(line + end for line, end in lines) + draw(LINES)


@st.composite
def pieces(draw: st.DrawFn) -> list[bytes]:
    """Any event stream in any pieces."""
    stream = draw(streams())
    cuts = draw(st.sets(st.integers(0, len(stream)), max_size=len(stream)))
    return [stream[start:end] for start, end in pairwise(sorted({0, *cuts, len(stream)}))]


def bytewise(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


def reported(stream: bytes) -> tuple[list[Event], int | None]:
    source = EventSource.read(stream)
    return source.events, source.retry


def dispatched(stream: bytes) -> list[tuple[str, list[str], str]]:
    """What a client makes of a stream to which each blank line ends an event, an empty one too.

    The type, the lines of data and the id of each.
    """
    events = []
    kind, data, last_id = "", list[str](), ""
    for line in re.split(r"\r\n|\r|\n", stream.removeprefix(BOM).decode("utf-8", "replace"))[:-1]:
        name, _, value = line.partition(":")
        if not line:
            events.append((kind, data, last_id))
            kind, data, last_id = "", [], ""
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            last_id = value
    return events


def with_heartbeats(chunks: Iterable[bytes], wanted: Iterator[bool]) -> bytes:
    """The stream as it goes on, with a heartbeat at those of the allowed places that are wanted."""
    stream, passed = EventStream(), b""
    for chunk in (b"", *chunks):
        passed += stream.take(chunk)
        if stream.takes_comment and next(wanted):
            stream.interrupt()
            passed += HEARTBEAT
    return passed


def always() -> Iterator[bool]:
    while True:
        yield True


# The parser of the tests itself


@pytest.mark.parametrize("name", CASES)
def test_the_parser_of_these_tests_reads_as_the_standard_says(name: str) -> None:
    stream, expected = CASES[name]
    events = EventSource.read(stream).events
    assert [(event.type, event.data) for event in events] == [
        (kind or "message", data) for kind, data in expected
    ]


def test_an_id_stays_until_another_comes_and_one_with_a_nul_is_none() -> None:
    stream = b"id:1\ndata:a\n\ndata:b\n\nid:2\0\ndata:c\n\nid\ndata:d\n\n"
    assert [event.last_event_id for event in EventSource.read(stream).events] == ["1", "1", "1", ""]


# What goes on


@pytest.mark.parametrize("name", CASES)
def test_a_heartbeat_wherever_it_may_be_changes_no_event_of_the_standards_cases(name: str) -> None:
    stream, _ = CASES[name]
    passed = with_heartbeats(bytewise(stream), always())
    assert reported(passed) == reported(stream)


@pytest.mark.parametrize("name", CASES)
def test_pieces_of_any_size_pass_as_they_are(name: str) -> None:
    data, _ = CASES[name]
    for size in range(1, 8):
        stream = EventStream()
        chunks = [data[at : at + size] for at in range(0, len(data), size)]
        assert [stream.take(chunk) for chunk in chunks] == chunks


@given(pieces(), st.data())
def test_a_heartbeat_at_any_allowed_place_changes_no_event(
    chunks: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(chunks)
    passed = with_heartbeats(chunks, iter(lambda: data.draw(st.booleans()), None))
    assert reported(passed) == reported(stream)


@given(pieces(), st.data())
def test_a_heartbeat_makes_no_event_where_each_blank_line_makes_one(
    chunks: list[bytes], data: st.DataObject
) -> None:
    passed = with_heartbeats(chunks, iter(lambda: data.draw(st.booleans()), None))
    assert dispatched(passed) == dispatched(b"".join(chunks))


@pytest.mark.parametrize("name", CASES)
def test_no_case_of_the_standard_gets_an_empty_event_by_a_heartbeat(name: str) -> None:
    stream, _ = CASES[name]
    assert dispatched(with_heartbeats(bytewise(stream), always())) == dispatched(stream)


def test_behind_a_cr_a_heartbeat_waits_for_what_may_be_its_lf() -> None:
    stream = EventStream()
    for part, takes_comment in ((b"data: 1\r\n\r", False), (b"\n", True), (b"data: 2\r\r", False)):
        stream.take(part)
        assert (stream.is_between, stream.takes_comment) == (True, takes_comment)


@given(pieces())
def test_what_is_put_in_is_all_that_is_changed(chunks: list[bytes]) -> None:
    stream = b"".join(chunks)
    passed = with_heartbeats(chunks, always()).replace(HEARTBEAT, b"")
    # Something of ours went first: half a mark that nothing follows is still kept back.
    assert passed == stream.removeprefix(BOM) or BOM.startswith(stream)


@given(pieces())
def test_something_may_be_put_in_exactly_where_nothing_is_unfinished(chunks: list[bytes]) -> None:
    stream, came = EventStream(), b""
    assert stream.is_between
    for chunk in chunks:
        stream.take(chunk)
        came += chunk
        is_part_of_a_mark = came in {BOM[:1], BOM[:2]}
        assert stream.is_between is not (EventSource.read(came).is_unfinished or is_part_of_a_mark)


@given(pieces(), streams())
def test_a_last_word_at_an_allowed_place_is_read_whole_and_last(
    chunks: list[bytes], name: bytes
) -> None:
    stream, passed = EventStream(), b""
    for chunk in chunks:
        passed += stream.take(chunk)
    if not stream.is_between:
        return
    message = name.decode("utf-8", "replace")
    word = error_event("failed", progress=stream.progress, code="c", message=message)
    *before, last = EventSource.read(passed + word).events
    assert before == EventSource.read(passed).events
    assert (last.type, json.loads(last.data)["message"]) == ("failed", message)


@pytest.mark.parametrize("rest", [b"data: 1\n\n", b"data: 1\r\n\r\n"])
def test_a_mark_that_comes_behind_a_heartbeat_is_left_out(rest: bytes) -> None:
    for chunks in ([BOM + rest], bytewise(BOM + rest), [BOM[:2], BOM[2:] + rest], [BOM, rest]):
        assert with_heartbeats(chunks, iter([True] + [False] * 99)) == HEARTBEAT + rest


def test_what_only_begins_like_a_mark_is_passed_on_behind_a_heartbeat_too() -> None:
    passed = with_heartbeats([b"\xef", b"\xbb", b"data: 1\n\n"], iter([True] + [False] * 99))
    assert passed == HEARTBEAT + b"\xef\xbbdata: 1\n\n"


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
def test_a_stream_of_any_line_end_has_its_places(end: bytes) -> None:
    stream = EventStream()
    for part, is_between in ((b"data: 1", False), (end, False), (end, True), (b": ping", False)):
        stream.take(part)
        assert stream.is_between is is_between
    stream.take(end)
    assert stream.is_between


def test_the_second_half_of_a_line_end_is_no_blank_line() -> None:
    stream = EventStream()
    stream.take(b"data: 1\r")
    stream.take(b"\n")
    assert not stream.is_between
    stream.take(b"\r")
    assert stream.is_between
    stream.take(b"\n")
    assert stream.is_between


# The count


def eventwise(stream: bytes) -> list[bytes]:
    """Cut behind each event, as services send them."""
    return re.findall(rb"(?s).+?(?:\n\n|\Z)", stream)


@given(streams())
def test_the_count_is_that_of_a_browser_in_any_pieces(stream: bytes) -> None:
    dispatched = len(EventSource.read(stream).events)
    for pieces_ in ([stream], bytewise(stream), eventwise(stream)):
        followed = EventStream()
        for piece in pieces_:
            followed.take(piece)
        assert followed.count == dispatched


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cut", [lambda stream: [stream], bytewise, eventwise])
def test_those_events_are_counted_that_a_browser_dispatches(
    name: str, cut: Callable[[bytes], list[bytes]]
) -> None:
    stream, events = CASES[name]
    followed = EventStream()
    for piece in cut(stream):
        followed.take(piece)
    assert followed.count == len(events)


def test_an_event_that_is_too_long_to_be_kept_is_counted_all_the_same() -> None:
    followed = EventStream()
    followed.take(b"data: %b\n\ndata: 1\n\n" % bytes(2 * MAX_EVENT))
    assert followed.count == 2


# Progress


@pytest.mark.parametrize(
    ("stream", "progress"),
    [
        (b"", 0),
        (PROGRESS, 40),
        (b'data: {"progress": 40}\r\rdata: {"progress": 55.5}\r\r', 55.5),
        (b'data: {"progress":\ndata: 40\ndata: }\n\n', 40),
        (b'event: x\ndata:{"progress":7}\nid: 1\n\n', 7),
        (PROGRESS + b": ping\n\ndata: hello\n\n", 40),
        (PROGRESS + b'data: {"message": "done"}\n\n', 40),
        (PROGRESS + b'data: {"progress": 99}\n', 40),
        (PROGRESS + b'data: {"progress": 1, "x": "' + b"x" * MAX_EVENT + b'"}\n\n', 40),
        (PROGRESS + b"data: " + b'{"progress": 1}\ndata: ' * 2048 + b"\n\n", 40),
        (b'id: {"progress": 40}\n\n', 0),
        (b'data: {"progress": true}\n\n', 0),
        (b'data: {"progress": "40"}\n\n', 0),
        (b'data: {"progress": null}\n\n', 0),
        (b'data: {"progress": NaN}\n\n', 0),
        (b'data: {"progress": 1e999}\n\n', 0),
        (b'data: {"progress": 40\n\n', 0),
        (b'data: ["progress"]\n\n', 0),
        (b'data: {"progress": ' + b"[" * 9000 + b"\n\n", 0),
        (b'data: {"progress": "\xff"}\n\n', 0),
    ],
)
def test_the_progress_is_that_of_the_last_whole_event(stream: bytes, progress: float) -> None:
    for chunks in ([stream], bytewise(stream)):
        followed = EventStream()
        for chunk in chunks:
            followed.take(chunk)
        assert followed.progress == progress
        assert type(followed.progress) is type(progress)


def test_a_line_that_does_not_end_is_not_kept() -> None:
    stream = EventStream()
    stream.take(b"data: ")
    for _ in range(64):
        stream.take(b"x" * 4096)
    assert len(stream._line) <= MAX_EVENT + 1
    stream.take(b"\n\n")
    assert stream.is_between
    stream.take(PROGRESS)
    assert stream.progress == 40


# The last word


def test_the_last_word_is_in_the_progress_model_on_one_line() -> None:
    word = error_event("message", progress=40, code="draining", message="Two\nlines, “quoted”.")
    [event] = EventSource.read(word).events
    assert event.type == "message"
    assert word.count(b"\n") == 2
    assert json.loads(event.data) == {
        "status": "error",
        "progress": 40,
        "message": "Two\nlines, “quoted”.",
        "step": "gateway",
        "data": {"code": "draining"},
    }
    assert b'"progress":40,' in word


def test_the_last_word_has_the_type_and_the_pause_that_were_asked_for() -> None:
    word = error_event("gateway-error", progress=0, code="c", message="m", retry=1500)
    source = EventSource.read(word)
    assert (source.events[0].type, source.retry) == ("gateway-error", 1500)
