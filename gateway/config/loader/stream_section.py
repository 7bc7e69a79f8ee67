"""`stream:` of a route: what the gateway itself may say and do in its event streams."""

import difflib
from functools import partial

import yaml

from gateway.config import units
from gateway.config.loader import schema_types
from gateway.config.loader.faults import quoted
from gateway.config.loader.section import Section, boolean, is_off, parsed
from gateway.config.model import StreamOptions

_TRANSIENT = ("status", "retry")
KEYS: schema_types.Keys = {
    "heartbeat": schema_types.duration(
        "A comment after each silence of this length. Default: none"
    ),
    "error_event": schema_types.text(
        "The type of the event that says why the gateway ended a stream."
    ),
    "transient_errors": schema_types.one_of(
        _TRANSIENT, "retry: a browser is told to come again where it would get a 502, 503 or 504."
    ),
    "close_on_token_expiry": schema_types.flag("A stream ends when its token does. Default: false"),
}
SHAPE = schema_types.or_off(
    schema_types.section(KEYS, "What the gateway may say in an event stream. Default: nothing"),
    "none",
)

# What an EventSource tells of the connection itself (HTML standard, 9.2.2).
_OF_THE_CONNECTION = frozenset(("open", "error"))


def stream_options(node: yaml.Node) -> StreamOptions:
    """Read `stream:`; all of it is off where it is turned off. Raises ConfigError."""
    if is_off(node):
        return StreamOptions()
    section = Section(node, KEYS)
    read = StreamOptions(
        heartbeat=section.read("heartbeat", partial(parsed, parse=units.duration), None),
        error_event=section.read("error_event", partial(parsed, parse=_event_type), None),
        retries_transient=section.read("transient_errors", partial(parsed, parse=_retries), False),
        closes_on_expiry=section.read("close_on_token_expiry", boolean, False),
    )
    section.finish()
    return read


def _event_type(text: str) -> str:
    """Check the type of an event: what a page gives to addEventListener."""
    if not text.isprintable() or not text or text != text.strip():
        raise ValueError(
            "must be the type of an event, such as message: one line, no space around it"
        )
    if text in _OF_THE_CONNECTION:
        raise ValueError(
            f"{quoted(text)} is what an EventSource says of its own connection: "
            "name another type, such as message"
        )
    return text


def _retries(text: str) -> bool:
    if text not in _TRANSIENT:
        near = difflib.get_close_matches(text[:40].lower(), _TRANSIENT, n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        raise ValueError(f"must be status (the code as it is) or retry{hint}")
    return text == "retry"
