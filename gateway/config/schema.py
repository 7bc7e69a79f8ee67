"""The JSON Schema (2020-12) of routes.yaml, for editors."""

import json
from typing import Any

from gateway.config.loader import KEYS, schema_types

_NEEDED = "proxy_upstream"


def schema() -> dict[str, Any]:
    """Returns the schema of a whole file: a list of routes, or a mapping with `routes:`."""
    whole = schema_types.section(KEYS, "Routes, and the settings of the gateway.", ["routes"])
    routes = KEYS["routes"]
    needed = {"items": {"required": [_NEEDED]}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "routes.yaml of the gateway",
        # A branch for each form, so that an editor reports errors of the form that is used.
        "if": {"type": "array"},
        "then": {"allOf": [{"$ref": "#/$defs/routes"}, needed]},
        "else": {
            **whole,
            "properties": {**KEYS, "routes": {"$ref": "#/$defs/routes"}},
            "if": {"properties": {"defaults": {"required": [_NEEDED]}}, "required": ["defaults"]},
            "else": {"properties": {"routes": needed}},
        },
        "$defs": {"routes": routes},
    }


def schema_text() -> str:
    """Returns the schema as text, as `gateway schema` prints it."""
    return json.dumps(schema(), indent=2)
