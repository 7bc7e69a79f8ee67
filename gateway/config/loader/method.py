"""The methods that a route or a `cors:` section names."""

import difflib

import yaml

from gateway.config.loader import schema_types
from gateway.config.loader.faults import quoted
from gateway.config.loader.field import of_node
from gateway.config.loader.section import one_or_many, parsed
from gateway.config.model import METHODS

# In any case; editors offer the names.
_METHOD: schema_types.Shape = {
    "anyOf": [{"enum": sorted(METHODS)}, {"pattern": "[a-z]", "type": "string"}]
}


def methods(node: yaml.Node) -> frozenset[str]:
    """Reads one method or a list. HEAD comes with GET. Raises ConfigError."""
    read = frozenset(one_or_many(node, lambda node: parsed(node, method)))
    return read | {"HEAD"} if "GET" in read else read


def method(text: str) -> str:
    """Checks the name of a method, in any case. Raises ValueError."""
    name = text.upper()
    if name in {"*", "ALL", "ANY"}:
        raise ValueError("remove the key to accept all methods")
    if name == "CONNECT":
        raise ValueError("CONNECT is for tunnels, which the gateway does not support")
    if name not in METHODS:
        near = difflib.get_close_matches(name[:40], METHODS, n=1)
        hint = f"did you mean {near[0]}?" if near else "name one, such as GET, or a list"
        raise ValueError(f"{quoted(text)} is not a method: {hint}")
    return name


VALUE = of_node(methods, schema_types.one_or_many(_METHOD))
