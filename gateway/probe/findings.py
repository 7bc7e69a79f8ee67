"""What is wrong between client and gateway, as far as the observation shows. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.probe.observation import LAST_EVENT_ID, TRACE_ID, Arrivals, Observation

UNAUTHORIZED: Final = 401
_ERRORS: Final = 400
# Seconds. Events that were held back for longer, for half of the stream, were not merely late.
LATE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `is_fault` is False for what may be intended.

    `code` names its remedies.
    """

    code: str
    text: str
    is_fault: bool = True


def findings(seen: Observation) -> list[Finding]:
    """Returns all findings, the most important first."""
    return [
        *_buffering(seen),
        *_compression(seen),
        *_cuts(seen),
        *_framing(seen),
        *_query(seen),
        *_request_headers(seen),
        *_response_headers(seen),
        *_client(seen),
        *_trace(seen),
        *_connections(seen),
    ]


def hop(seen: Observation) -> str:
    """Returns the hop in front, as it names itself; empty if nothing shows."""
    server = seen.plain.headers.get("server", "gateway")
    via = seen.plain.headers.get("via", "") or seen.plain.saw.get("via", "")
    return ", ".join(filter(None, ["" if server == "gateway" else server, via]))


def is_held(stream: Arrivals) -> bool:
    """Whether the events came in clumps, and were not merely late."""
    return stream.held > max(LATE, stream.span / 2)


def _buffering(seen: Observation) -> Iterator[Finding]:
    plain = seen.plain
    if is_held(plain):
        text = f"A hop holds events back, for {plain.held:.1f}s, {_until(seen)}."
        yield Finding("buffers", text)
    elif seen.idle.held > max(LATE, seen.silence / 2):
        yield Finding("buffers", "A hop holds the first event back while nothing follows it.")


def _until(seen: Observation) -> str:
    """Returns until when events were held back: the first clump shows how many are enough."""
    if not _came_at_once(seen.plain):
        return "until enough of them had come together"
    if seen.heavy is None or not seen.heavy.times or _came_at_once(seen.heavy):
        return "until the stream ended"
    kilobytes = _first_clump(seen.heavy) * seen.event_size / 1000
    return f"until the stream ended or some {kilobytes:.0f} KB of them had come together"


def _came_at_once(stream: Arrivals) -> bool:
    return all(arrived - stream.times[0][1] < LATE / 2 for _, arrived in stream.times)


def _first_clump(stream: Arrivals) -> int:
    """Returns how many events came together with the first one."""
    return sum(arrived - stream.times[0][1] < LATE / 20 for _, arrived in stream.times)


def _compression(seen: Observation) -> Iterator[Finding]:
    for stream, asked in (
        (seen.plain, "although none was asked for"),
        (seen.compressible, "where the browser offers it"),
    ):
        coding = stream.headers.get("content-encoding", "identity")
        if coding != "identity":
            yield Finding(
                "compresses",
                f"A hop compresses event streams ({coding}), {asked}: a compressor holds events"
                " back, and its window is memory for each stream.",
            )
            return


def _cuts(seen: Observation) -> Iterator[Finding]:
    lively = seen.plain if seen.lively is None else seen.lively
    if lively.broke_after is not None:
        age = f"{lively.broke_after:.0f}s"
        yield Finding("cuts", f"A hop cuts streams, whatever is sent in them, after {age}.")
    elif seen.idle.is_hung:
        yield Finding(
            "cuts_idle",
            f"A hop loses a stream that was silent for {seen.silence:g}s: nothing comes any more,"
            " not even its end.",
        )
    elif seen.idle.broke_after is not None:
        age = f"{seen.idle.broke_after:.0f}s"
        yield Finding("cuts_idle", f"A hop cuts a stream that is silent, after {age}.")


def _framing(seen: Observation) -> Iterator[Finding]:
    plain = seen.plain
    if plain.hello.get("version") == "1.0":
        yield Finding(
            "http_1_0",
            "A hop asks the gateway in HTTP/1.0: no chunked bodies, and a connection for each"
            " request.",
        )
    if plain.version == "1.0":
        yield Finding(
            "http_1_0", "The response came in HTTP/1.0: its end cannot be distinguished from a cut."
        )
    elif not {"transfer-encoding", "content-length"} & plain.headers.keys():
        yield Finding(
            "unframed", "A hop takes chunked framing away: a stream's end looks like a cut."
        )


def _query(seen: Observation) -> Iterator[Finding]:
    if seen.refused is not None and seen.plain.hello.get("query") is not None:
        yield Finding(
            "strips_query",
            "A hop takes the token out of the query, which is where an EventSource has it.",
        )
    if not seen.was_silent:
        yield Finding(
            "strips_query", "A hop takes the query away; so no silence could be tried either."
        )


def _request_headers(seen: Observation) -> Iterator[Finding]:
    saw = seen.plain.saw
    if saw.get("last-event-id") != LAST_EVENT_ID:
        yield Finding(
            "drops_last_event_id",
            "A hop drops Last-Event-ID: a stream cannot go on where it broke off.",
        )
    if "text/event-stream" not in saw.get("accept", ""):
        yield Finding("strips_request_header", "A hop takes `Accept: text/event-stream` away.")
    if "origin" not in saw:
        yield Finding(
            "strips_request_header", "A hop takes Origin away: CORS and cookies depend on it."
        )
    bearer = seen.bearer
    if bearer is not None and bearer.status >= _ERRORS and seen.plain.hello.get("takes_bearer"):
        answer = "" if bearer.status == UNAUTHORIZED else f", and answers {bearer.status}"
        yield Finding(
            "strips_request_header", f"A hop takes the Authorization header away{answer}."
        )


def _response_headers(seen: Observation) -> Iterator[Finding]:
    headers = seen.plain.headers
    if not headers.get("content-type", "").startswith("text/event-stream"):
        yield Finding("rewrites_response_header", "A hop changes Content-Type: no browser listens.")
    if "no-cache" not in headers.get("cache-control", ""):
        yield Finding("rewrites_response_header", "A hop takes `Cache-Control: no-cache` away.")


def _client(seen: Observation) -> Iterator[Finding]:
    """The probe sends no address, so that the first one is its own, set by the outermost hop."""
    hello = seen.plain.hello
    addresses = hello.get("addresses", 0)
    if not addresses and hop(seen):
        yield Finding(
            "no_client_address",
            "The hop in front does not forward the client's address (X-Forwarded-For).",
        )
    elif addresses and not hello.get("is_front_trusted"):
        yield Finding(
            "untrusted_front",
            "A hop forwards the client's address, but the gateway does not trust it: in its log and"
            " for its limits all clients are that hop.",
        )
    elif addresses and not hello.get("is_first"):
        yield Finding(
            "untrusted_front",
            f"X-Forwarded-For came with {addresses} addresses, and the gateway takes a hop's for"
            " the client's: it does not trust all of those in between.",
        )


def _trace(seen: Observation) -> Iterator[Finding]:
    if TRACE_ID not in seen.plain.saw.get("traceparent", ""):
        yield Finding(
            "breaks_trace",
            "A hop takes traceparent away, or begins a trace of its own.",
            is_fault=False,
        )


def _connections(seen: Observation) -> Iterator[Finding]:
    if seen.alpn != "h2":
        over = "HTTP/2 is not offered" if seen.alpn is not None else "There is no TLS"
        yield Finding(
            "six_connections",
            f"{over}: a browser opens six connections to a host, and so six streams, in all tabs.",
            is_fault=False,
        )
