"""The `cors:` section of routes.yaml, for all routes or for one."""

import re
from collections.abc import Mapping
from functools import partial
from itertools import chain

import yaml

from gateway.config import units
from gateway.config.loader import schema_types
from gateway.config.loader.faults import quoted
from gateway.config.loader.header_rules import TOKEN
from gateway.config.loader.method import METHOD, methods
from gateway.config.loader.section import (
    Section,
    boolean,
    expanded,
    is_off,
    items,
    one_or_many,
    parsed,
)
from gateway.config.loader.upstream_url import authority
from gateway.config.model import CORS_EXPOSED, CORS_MAX_AGE, Cors

KEYS: schema_types.Keys = {
    "origins": schema_types.one_or_many(
        schema_types.expanded(schema_types.matching(r"://|^\*$")),
        "Those whose pages may call: https://app.example.com",
    ),
    "credentials": schema_types.flag("They may use the user's cookie. Default: false"),
    "methods": schema_types.one_or_many(METHOD, "What they may send. Default: those of the route"),
    "headers": schema_types.one_or_many(
        schema_types.text(), "Request headers that they may send. Default: all that they ask for"
    ),
    "expose": schema_types.many(schema_types.text(), "Response headers that they may read."),
    "max_age": schema_types.duration("How long a browser may remember the answer. Default: 10m"),
}
SHAPE = schema_types.or_off(
    schema_types.section(KEYS, "Which other origins' pages may call.", ["origins"]), "none"
)
ANY = "*"

_FORM = "must be scheme://host[:port], such as https://app.example.com"
_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(\*\.)?([^/?#]*)(.*)", re.DOTALL)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def cors(node: yaml.Node, environ: Mapping[str, str] | None) -> Cors | None:
    """Read the section; None where it is turned off. Raises ConfigError."""
    if is_off(node):
        return None
    section = Section(node, KEYS)
    if "origins" not in section.nodes:
        section.blame("origins", "origins is missing: list those whose pages may call, or say none")
    read = Cors(
        origins=section.read("origins", partial(_origins, environ=environ), ()),
        credentials=section.read("credentials", boolean, False),
        methods=tuple(sorted(section.read("methods", methods, frozenset()))),
        headers=section.read("headers", lambda node: one_or_many(node, _header), ()),
        expose=section.read("expose", lambda node: items(node, _header), CORS_EXPOSED),
        max_age=section.read("max_age", partial(parsed, parse=_max_age), CORS_MAX_AGE),
    )
    if ANY in read.origins:
        _check_any(section, read)
    if ANY in read.headers:
        section.blame("headers", "leave headers out to take all that a page asks for")
    if read.credentials and ANY in read.expose:
        section.blame("expose", "with credentials, browsers take * for a name: list the headers")
    section.finish()
    return read


def _check_any(section: Section, read: Cors) -> None:
    if len(read.origins) > 1:
        section.blame("origins", "'*' is every origin already: list origins, or '*' alone")
    if read.credentials:
        section.blame(
            "credentials",
            "browsers send no credentials where every origin may call: "
            "list the origins in place of '*', or say credentials: false",
        )


def _origins(node: yaml.Node, environ: Mapping[str, str] | None) -> tuple[str, ...]:
    """Read origins; a text, such as a variable's, may hold several with commas between."""
    read = one_or_many(node, partial(expanded, environ=environ, parse=_several))
    return tuple(dict.fromkeys(chain.from_iterable(read)))


def _several(text: str) -> tuple[str, ...]:
    return tuple(origin(part.strip()) for part in text.split(","))


def origin(text: str) -> str:
    """Write an origin as browsers do (HTML standard, 7.1.1). Raises ValueError, with the mend."""
    if text == ANY:
        return text
    if text.lower() == "null":
        raise ValueError("'null' is every sandboxed page and local file: list a real origin")
    parts = _ORIGIN.fullmatch(text)
    if parts is None:
        raise ValueError(f"{quoted(text)} is not an origin: it {_FORM}")
    scheme, wildcard, rest = parts[1].lower(), parts[2] or "", parts[3]
    if parts[4]:
        raise ValueError(f"an origin ends with its host or port: leave out {quoted(parts[4])}")
    if not rest or "@" in rest or ANY in rest:
        raise ValueError(f"{_FORM}, where a * may stand for subdomains: https://*.example.com")
    host, port = authority(rest)
    is_address = ":" in host or host.replace(".", "").isdigit()
    if wildcard and is_address:
        raise ValueError("an address has no subdomains: leave out the *")
    host = f"[{host}]" if ":" in host else host
    is_default = port in {0, _DEFAULT_PORTS.get(scheme)}
    return f"{scheme}://{wildcard}{host}" + ("" if is_default else f":{port}")


def _header(node: yaml.Node) -> str:
    return parsed(node, _header_name)


def _header_name(text: str) -> str:
    if not TOKEN.fullmatch(text):
        raise ValueError(f"{quoted(text)} is not a header name")
    return text


def _max_age(text: str) -> float:
    seconds = units.duration(text, zero_allowed=True)
    if seconds is None:
        raise ValueError("must be a duration such as 10m, or 0s for asking each time")
    return seconds
