"""What is wrong with the way in, as far as it shows: pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.probe.observation import LAST_EVENT_ID, Observation

UNAUTHORIZED: Final = 401
# Seconds. What was held back for longer, and for half of the stream, was not merely late.
LATE: Final = 0.5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found. `is_fault` is False for what may be as it should.

    `code` names the mends of it.
    """

    code: str
    text: str
    is_fault: bool = True


def findings(seen: Observation) -> list[Finding]:
    """All that was found, what matters most first."""
    return [
        *_buffering(seen),
        *_compression(seen),
        *_cuts(seen),
        *_version(seen),
        *_request_headers(seen),
        *_response_headers(seen),
        *_client(seen),
        *_connections(seen),
    ]


def hop(seen: Observation) -> str:
    """What stands in front, as it names itself; empty where nothing shows."""
    server = seen.plain.headers.get("server", "gateway")
    via = seen.plain.headers.get("via", "") or str(seen.plain.hello.get("saw", {}).get("via", ""))
    return ", ".join(filter(None, ["" if server == "gateway" else server, via]))


def _buffering(seen: Observation) -> Iterator[Finding]:
    plain = seen.plain
    if plain.held <= max(LATE, plain.span / 2):
        return
    first_at = plain.times[0][1]
    is_at_end = all(arrived - first_at < LATE / 2 for _, arrived in plain.times)
    when = "until the stream ended" if is_at_end else "until enough of them had come together"
    yield Finding("buffers", f"A hop holds events back, for {plain.held:.1f}s, {when}.")


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
    after, at_work = seen.idle.broke_after, seen.plain.broke_after
    if at_work is not None:
        yield Finding("cuts", f"A hop cuts a stream while events come, after {at_work:.1f}s.")
    elif after is not None:
        yield Finding("cuts_idle", f"A hop cuts a stream that is silent, after {after:.0f}s.")
    elif seen.idle.held > max(LATE, seen.silence / 2):
        yield Finding("buffers", "A hop holds the first event back while nothing follows it.")


def _version(seen: Observation) -> Iterator[Finding]:
    if seen.plain.hello.get("version") == "1.0":
        yield Finding(
            "http_1_0",
            "A hop asks the gateway in HTTP/1.0: no chunked bodies, and a connection for each"
            " request.",
        )
    if seen.plain.version == "1.0":
        yield Finding(
            "http_1_0", "The response came in HTTP/1.0: its end cannot be told from a cut."
        )


def _request_headers(seen: Observation) -> Iterator[Finding]:
    saw = seen.plain.hello.get("saw", {})
    if saw.get("last-event-id") != LAST_EVENT_ID:
        yield Finding(
            "drops_last_event_id",
            "A hop drops Last-Event-ID: a stream cannot go on where it broke off.",
        )
    if "text/event-stream" not in saw.get("accept", ""):
        yield Finding("strips_request_header", "A hop takes `Accept: text/event-stream` away.")
    if seen.bearer is not None and seen.bearer.status == UNAUTHORIZED:
        yield Finding("strips_request_header", "A hop takes the Authorization header away.")


def _response_headers(seen: Observation) -> Iterator[Finding]:
    headers = seen.plain.headers
    if not headers.get("content-type", "").startswith("text/event-stream"):
        yield Finding("rewrites_response_header", "A hop changes Content-Type: no browser listens.")
    if "no-cache" not in headers.get("cache-control", ""):
        yield Finding("rewrites_response_header", "A hop takes `Cache-Control: no-cache` away.")


def _client(seen: Observation) -> Iterator[Finding]:
    hello = seen.plain.hello
    if hello.get("is_forwarded") and not hello.get("is_front_trusted"):
        yield Finding(
            "untrusted_front",
            "A hop tells the client's address, but the gateway does not believe it: in its log and"
            " for its limits all clients are that hop.",
        )
    elif hop(seen) and not hello.get("is_forwarded"):
        yield Finding(
            "no_client_address",
            "The hop in front does not tell the client's address (X-Forwarded-For).",
        )


def _connections(seen: Observation) -> Iterator[Finding]:
    if seen.alpn != "h2":
        over = "HTTP/2 is not offered" if seen.alpn is not None else "There is no TLS"
        yield Finding(
            "six_connections",
            f"{over}: a browser opens six connections to a host, and so six streams, in all tabs.",
            is_fault=False,
        )
