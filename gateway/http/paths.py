"""Request paths: decoded, with merged slashes, and without dot segments.

Many upstreams decode a path and merge its slashes before they read it. The gateway compares paths
in the same form, so that `/%61dmin` and `//admin` cannot pass as other paths than `/admin`.
"""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from gateway.http.errors import BAD_REQUEST, Rejection

# A path in which every character stands for itself.
_PLAIN = re.compile(r"(?:/[!$&-\-0-;=@-Z_a-z~][!$&-.0-;=@-Z_a-z~]*)*/?")
# A step is a segment that is not empty, or the empty end after a trailing slash.
_STEP = re.compile(r"[^/]+|(?<=/)\Z")
# Surrogates are allowed only where they stand for a received byte (PEP 383).
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f#\ud800-\udc7f\udd00-\udfff]")
# Some upstreams read a decoded %2F or a backslash as a separator. Java ones drop `;` and what
# follows.
_DOT_SEGMENT = re.compile(rb"(?:\A|[/\\])\.\.?(?=[;/\\]|\Z)")

Span = tuple[int, int]


def is_plain(path: str) -> bool:
    """Whether a path is its own normal form: nothing in it is encoded, empty or a dot segment."""
    return bool(path) and _PLAIN.fullmatch(path) is not None


def path_steps(path: str) -> list[bytes]:
    """Returns the decoded segments of a raw path. Raises Rejection BAD_REQUEST.

    Empty segments are left out, but a trailing slash is a last, empty step.
    """
    if is_plain(path):
        return path.encode().split(b"/")[1:]
    _require_path(path)
    steps = [unquote_to_bytes(as_bytes(path[start:end])) for start, end in step_spans(path)]
    _require_no_dot_segments(steps)
    return steps


def step_spans(path: str) -> list[Span]:
    """Returns where each step of a raw path begins and ends."""
    return [found.span() for found in _STEP.finditer(path)]


def is_same_path(one: str, other: str) -> bool:
    """Whether two raw paths have the same normal form. Raises Rejection BAD_REQUEST."""
    return one == other or path_steps(one) == path_steps(other)


def as_bytes(text: str) -> bytes:
    """Returns the bytes that a parsed text was received as (PEP 383)."""
    return text.encode("utf-8", "surrogateescape")


def _require_path(path: str) -> None:
    if not path.startswith("/"):
        raise Rejection(BAD_REQUEST, "The request target must be a path that starts with a slash.")
    if _FORBIDDEN.search(path):
        raise Rejection(
            BAD_REQUEST,
            "The path holds a space, a control character or a '#'; percent-encode it.",
        )


def _require_no_dot_segments(steps: Iterable[bytes]) -> None:
    for step in steps:
        if b"\0" in step:
            raise Rejection(BAD_REQUEST, "The path holds a NUL (%00); remove it.")
        if _DOT_SEGMENT.search(step):
            raise Rejection(
                BAD_REQUEST,
                "The path holds a '.' or '..' segment, plain or encoded; send the path it means.",
            )
