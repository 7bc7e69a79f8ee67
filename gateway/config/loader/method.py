"""The methods that a file names."""

import difflib

import yaml

from gateway.config.loader import schema_types
from gateway.config.loader.faults import quoted
from gateway.config.loader.section import one_or_many, parsed
from gateway.config.model import METHODS

# In any case; editors offer the names.
METHOD: schema_types.Shape = {
    "anyOf": [{"enum": sorted(METHODS)}, {"pattern": "[a-z]", "type": "string"}]
}


def methods(node: yaml.Node) -> frozenset[str]:
    """Read one method or a list of them. HEAD comes with GET. Raises ConfigError."""
    read = frozenset(one_or_many(node, lambda node: parsed(node, method)))
    return read | {"HEAD"} if "GET" in read else read


def method(text: str) -> str:
    """Check the name of a method, in any case. Raises ValueError."""
    name = text.upper()
    if name in {"*", "ALL", "ANY"}:
        raise ValueError("leave the key out for all of them")
    if name == "CONNECT":
        raise ValueError("CONNECT is for tunnels, which this gateway does not make")
    if name not in METHODS:
        near = difflib.get_close_matches(name[:40], METHODS, n=1)
        mend = f"did you mean {near[0]}?" if near else "name one, such as GET, or a list"
        raise ValueError(f"{quoted(text)} is not a method: {mend}")
    return name
