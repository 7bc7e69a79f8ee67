"""The `cors:` section of routes.yaml, for all routes or for one."""

import re
from collections.abc import Mapping
from functools import partial
from itertools import chain

import yaml

from gateway.config import units
from gateway.config.loader import method, schema_types
from gateway.config.loader.faults import quoted
from gateway.config.loader.field import FLAG, Field, Table, Value, of_node, plain
from gateway.config.loader.header_rules import TOKEN
from gateway.config.loader.section import (
    Section,
    expanded,
    is_off,
    items,
    one_or_many,
    parsed,
)
from gateway.config.loader.upstream_url import authority
from gateway.config.model import CORS_EXPOSED, CORS_MAX_AGE, Cors

ANY = "*"

_FORM = "must be scheme://host[:port], such as https://app.example.com"
_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(\*\.)?([^/?#]*)(.*)", re.DOTALL)
_ORIGIN_SHAPE = schema_types.matching(r"://|^\*$")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def cors(node: yaml.Node, environ: Mapping[str, str] | None) -> Cors | None:
    """Reads the section; None if it is turned off. Raises ConfigError."""
    if is_off(node):
        return None
    section = Section(node, TABLE.keys, environ=environ)
    if "origins" not in section.nodes:
        section.blame("origins", "origins is missing: list the origins of pages, or say none")
    read = Cors(
        origins=ORIGINS.of(section, ()),
        credentials=CREDENTIALS.of(section, False),
        methods=tuple(sorted(METHODS.of(section, frozenset()))),
        headers=HEADERS.of(section, ()),
        expose=EXPOSE.of(section, CORS_EXPOSED),
        max_age=MAX_AGE.of(section, CORS_MAX_AGE),
    )
    if ANY in read.origins:
        _check_any(section, read)
    if ANY in read.headers:
        section.blame("headers", "remove headers to allow all that a page asks for")
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
            "list the origins instead of '*', or say credentials: false",
        )


def _origins(node: yaml.Node, environ: Mapping[str, str] | None) -> tuple[str, ...]:
    """Reads origins; a text, such as a variable's, may hold several with commas."""
    read = one_or_many(node, partial(expanded, environ=environ, parse=_several))
    return tuple(dict.fromkeys(chain.from_iterable(read)))


def _several(text: str) -> tuple[str, ...]:
    return tuple(origin(part.strip()) for part in text.split(","))


def origin(text: str) -> str:
    """Returns an origin as browsers write it (HTML standard, 7.1.1). Raises ValueError."""
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


ORIGINS = Field(
    "origins",
    Value(_origins, schema_types.one_or_many(schema_types.expanded(_ORIGIN_SHAPE))),
    "one origin or a list, whose pages may call: `https://app.example.com`,"
    ' `http://localhost:3000`, or `"*"` for all. Scheme, host and port must match. `*.` at the'
    " start of a host is one label or more, so `https://*.example.org` does not include"
    " `https://example.org`. A text may hold several with commas, such as a variable's",
    "required",
)
CREDENTIALS = Field(
    "credentials", FLAG, 'the pages may use the user\'s cookie; not with `"*"`', "`false`"
)
METHODS = Field(
    "methods", method.VALUE, "the methods that the pages may send", "those of the route"
)
HEADERS = Field(
    "headers",
    of_node(lambda node: one_or_many(node, _header), schema_types.one_or_many(schema_types.text())),
    "the request headers that the pages may send",
    "all that they ask for",
)
EXPOSE = Field(
    "expose",
    of_node(lambda node: items(node, _header), schema_types.many(schema_types.text())),
    "the response headers that the pages may read",
    "`[Retry-After, X-Request-Id]`",
)
MAX_AGE = Field(
    "max_age",
    plain(_max_age, schema_types.duration()),
    "how long a browser may remember a preflight",
    "10m",
)
TABLE = Table(ORIGINS, CREDENTIALS, METHODS, HEADERS, EXPOSE, MAX_AGE)
SHAPE = schema_types.or_off(TABLE.shape("Which pages of other origins may call."), "none")
