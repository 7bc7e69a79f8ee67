"""`stream:` of a route: what the gateway may add to its event streams."""

import difflib

import yaml

from gateway.config import units
from gateway.config.loader import schema_types
from gateway.config.loader.faults import quoted
from gateway.config.loader.field import FLAG, Field, Table, plain
from gateway.config.loader.section import Section, is_off
from gateway.config.model import StreamOptions

_TRANSIENT = ("status", "retry")
# Events of the connection itself (HTML standard, 9.2.2).
_OF_THE_CONNECTION = frozenset(("open", "error"))


def stream_options(node: yaml.Node) -> StreamOptions:
    """Reads `stream:`; everything is off if it is turned off. Raises ConfigError."""
    if is_off(node):
        return StreamOptions()
    section = Section(node, TABLE.keys)
    read = StreamOptions(
        heartbeat=HEARTBEAT.of(section),
        error_event=ERROR_EVENT.of(section),
        retries_transient=TRANSIENT_ERRORS.of(section, False),
        closes_on_expiry=CLOSE_ON_TOKEN_EXPIRY.of(section, False),
    )
    section.finish()
    return read


def _event_type(text: str) -> str:
    """Checks the type of an event: what a page gives to addEventListener."""
    if not text.isprintable() or not text or text != text.strip():
        raise ValueError(
            "must be the type of an event, such as message: one line, no space around it"
        )
    if text in _OF_THE_CONNECTION:
        raise ValueError(
            f"{quoted(text)} is an event of the connection itself: "
            "name another type, such as message"
        )
    return text


def _retries(text: str) -> bool:
    if text not in _TRANSIENT:
        near = difflib.get_close_matches(text[:40].lower(), _TRANSIENT, n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        raise ValueError(f"must be status (the code as it is) or retry{hint}")
    return text == "retry"


HEARTBEAT = Field(
    "heartbeat",
    plain(units.duration, schema_types.duration()),
    "a comment line, `: keep-alive`, after each silence of this length",
    "none",
)
ERROR_EVENT = Field(
    "error_event",
    plain(_event_type, schema_types.text()),
    "the type of the event that says why the gateway ended a stream; `message` reaches"
    " `onmessage`, any other type needs `addEventListener`",
    "none: a cut",
)
TRANSIENT_ERRORS = Field(
    "transient_errors",
    plain(_retries, schema_types.one_of(_TRANSIENT)),
    "`retry`: a request that accepts `text/event-stream` gets a 200 with `retry:` instead of a"
    " 502, 503 or 504, of the gateway or of the upstream",
    "`status`",
)
CLOSE_ON_TOKEN_EXPIRY = Field(
    "close_on_token_expiry",
    FLAG,
    "`true`: a stream ends when its token expires, on routes that need a token",
    "`false`",
)
TABLE = Table(HEARTBEAT, ERROR_EVENT, TRANSIENT_ERRORS, CLOSE_ON_TOKEN_EXPIRY)
SHAPE = schema_types.or_off(TABLE.shape("What the gateway may add to an event stream."), "none")
