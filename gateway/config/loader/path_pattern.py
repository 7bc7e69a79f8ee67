"""Path patterns of routes: `/jobs/{id}/stream`, `/files/{rest:path}`, and their rewrites.

Each parser raises ValueError with a hint.
"""

import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from gateway.config.loader.faults import quoted
from gateway.config.model import RESERVED_PATHS, Kind, Segment

_PARAMETER = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# RFC 3986, section 3.3, allows none of these in a path; the rest of Unicode is accepted here.
_OUTSIDE_PATH = re.compile(r"[\s\x00-\x1f\x7f\"<>\\^`|]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

LONGEST = 4096  # characters; request lines are limited too

Shape = tuple[tuple[Kind, str], ...]


def path(text: str) -> tuple[Segment, ...]:
    """Parses a route's path: `/a/b` is (a, b), and `/a/b/` is (a, b, "")."""
    segments = _segments(text)
    if text in RESERVED_PATHS:
        raise ValueError(f"{text} is the gateway's own: choose another path")
    if any(segment.kind is Kind.TAIL for segment in segments[:-1]):
        raise ValueError("a {name:path} tail takes all that is left: it may only come last")
    names = [segment.text for segment in segments if segment.kind is not Kind.LITERAL]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the parameter {{{name}}} stands twice: give each its own name")
    return segments


def shape(segments: Sequence[Segment]) -> Shape:
    """Returns what a path matches: the same for two paths that differ only in parameter names."""
    return tuple(
        (segment.kind, segment.text if segment.kind is Kind.LITERAL else "") for segment in segments
    )


def prefix(text: str, of: Sequence[Segment]) -> str:
    """Checks a prefix to strip: literal, whole segments, the start of the route's path."""
    if text == "/" or text.endswith("/"):
        raise ValueError("must not end with a slash: leave it out")
    segments = _segments(text)
    if any(segment.kind is not Kind.LITERAL for segment in segments):
        raise ValueError("must be literal text; use rewrite for a path with parameters")
    if tuple(of[: len(segments)]) != segments:
        raise ValueError("the route's path does not start with this prefix, segment by segment")
    return text


def template(text: str, of: Sequence[Segment]) -> tuple[str | Segment, ...]:
    """Parses a rewrite: literal text, as it is sent, and the parameters of the route's path."""
    _check_text(text)
    if not text.isascii():
        raise ValueError("only ASCII is sent in a path: write the rest percent-encoded")
    _check_dots(text)
    parameters = {segment.text: segment for segment in of if segment.kind is not Kind.LITERAL}
    parts: list[str | Segment] = []
    end = 0
    for match in _PARAMETER.finditer(text):
        parts += [text[end : match.start()], _parameter(match, parameters)]
        end = match.end()
    parts.append(text[end:])
    if any(isinstance(part, str) and re.search(r"[{}]", part) for part in parts):
        raise ValueError("a brace without its partner: a parameter is {name}")
    return tuple(part for part in parts if part != "")


def _parameter(match: re.Match[str], parameters: dict[str, Segment]) -> Segment:
    name, kind = match.groups()
    segment = parameters.get(name)
    if segment is None or (kind is not None and (kind, segment.kind) != ("path", Kind.TAIL)):
        known = ", ".join(f"{{{name}}}" for name in parameters) or "no parameter"
        raise ValueError(f"{quoted(match[0])} is not in the route's path, which has {known}")
    return segment


def _segments(text: str) -> tuple[Segment, ...]:
    _check_text(text)
    steps = text[1:].split("/")
    if "" in steps[:-1]:
        raise ValueError("an empty segment (//): leave one slash")
    if "*" in text:
        raise ValueError(f"a star is not a wildcard here: {_instead_of_star(steps)}")
    return tuple(_segment(step) for step in steps)


def _instead_of_star(steps: Sequence[str]) -> str:
    """Returns what the first star was probably meant as, and how to write a star itself."""
    at = next(number for number, step in enumerate(steps) if "*" in step)
    before = "".join(f"/{step}" for step in steps[:at])
    name, _, rest = steps[at].partition("*")
    if at < len(steps) - 1:
        after = "".join(f"/{step}" for step in steps[at + 1 :])
        meant = f"for one segment write {quoted(f'{before}/{{name}}{after}')}"
    elif rest.strip("*"):
        meant = f"a parameter is a whole segment, such as {quoted(f'{before}/{{name}}')}"
    else:
        whole = f"{before}/{name}" if name else before
        meant = f"for all below it write {quoted(f'{whole}/{{rest:path}}')}"
    return f"{meant}; for a star itself write %2A"


def _segment(step: str) -> Segment:
    if "{" not in step and "}" not in step:
        return Segment(Kind.LITERAL, _literal(step))
    match = _PARAMETER.fullmatch(step)
    if match is None:
        raise ValueError(f"{quoted(step)}: a parameter is a whole segment, such as /{{name}}/")
    name, kind = match.groups()
    if not _NAME.fullmatch(name):
        raise ValueError(f"{quoted(name)} is no parameter name: use letters, digits and _")
    if kind not in {None, "path"}:
        raise ValueError(f"{quoted(step)}: a parameter is {{name}}, or {{name:path}} for the tail")
    return Segment(Kind.TAIL if kind else Kind.PARAMETER, name)


def _literal(step: str) -> str:
    try:
        text = unquote_to_bytes(step).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{quoted(step)} is not percent-encoded UTF-8") from error
    if text in {".", ".."}:
        raise ValueError(f"{quoted(step)} segments are not allowed: write the path they lead to")
    if "\0" in text:
        raise ValueError("a path cannot hold %00")
    return text


def _check_text(text: str) -> None:
    if not text.startswith("/"):
        raise ValueError("must start with a slash")
    if len(text) > LONGEST:
        raise ValueError(f"is longer than {LONGEST} characters: shorten it")
    if "?" in text or "#" in text:
        raise ValueError("must be a path alone, with no query (?) or fragment (#)")
    if bad := _OUTSIDE_PATH.search(text):
        raise ValueError(f"{quoted(bad[0])} cannot stand in a path: percent-encode it")
    if _BAD_ESCAPE.search(text):
        raise ValueError("a % must start an escape such as %2F; a percent sign is %25")


def _check_dots(text: str) -> None:
    for step in text.split("/"):
        _literal(step)
