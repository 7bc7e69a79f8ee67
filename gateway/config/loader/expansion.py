"""References to environment variables in values: `$NAME`, `${NAME}`, `${NAME:-fallback}`.

A dollar sign by itself is written `$$`. The value of a variable is never expanded again.
"""

import re
from collections.abc import Mapping

from gateway.config.loader.faults import Unresolved

_REFERENCE = re.compile(
    r"""\$(?:
        (?P<dollar>\$)
      | (?P<plain>[A-Za-z_][A-Za-z0-9_]*)
      | \{(?P<braced>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-(?P<fallback>[^${}]*))?\}
    )?""",
    re.VERBOSE,
)


def expand(text: str, environ: Mapping[str, str] | None) -> str:
    """Returns the text with its references filled in.

    Raises ValueError for a malformed reference, and for a variable that is unset or empty without a
    fallback. Raises Unresolved for a reference without an environment (None).
    """
    return _REFERENCE.sub(lambda reference: _value(reference, environ), text)


def names(text: str) -> tuple[str, ...]:
    """Returns the variables that the text refers to, in order, each once."""
    found = (match["plain"] or match["braced"] for match in _REFERENCE.finditer(text))
    return tuple(dict.fromkeys(name for name in found if name))


def _value(reference: re.Match[str], environ: Mapping[str, str] | None) -> str:
    if reference["dollar"]:
        return "$"
    name = reference["plain"] or reference["braced"]
    if not name:
        raise ValueError(
            "a reference is $NAME, ${NAME} or ${NAME:-fallback}; write $$ for a dollar sign"
        )
    if environ is None:
        raise Unresolved(name)
    if value := environ.get(name):
        return value
    if reference["default"]:
        return reference["fallback"]
    state = "empty" if name in environ else "not set"
    raise ValueError(
        f"the environment variable {name} is {state}: set it, or write ${{{name}:-fallback}}"
    )
