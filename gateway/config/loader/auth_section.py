"""The `auth:` section of routes.yaml."""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import yaml

from gateway.config import units
from gateway.config.loader import path_pattern, schema_types, upstream_url
from gateway.config.loader.faults import ConfigError, fault_at, quoted, unfit
from gateway.config.loader.field import FLAG, Field, Table, Value
from gateway.config.loader.field import expanded as of_environment
from gateway.config.loader.header_rules import TOKEN, header_name, repeated
from gateway.config.loader.section import (
    Section,
    expanded,
    is_false,
    items,
    one_or_many,
    pairs,
    parsed,
)
from gateway.config.loader.verification_key import (
    ALGORITHMS,
    algorithm,
    check_public_key,
    is_hmac,
    public_key_text,
    secret,
)
from gateway.config.model import JWT_SECRET_VARIABLE, Auth, Kind

ABSOLUTE = "^/"
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_KEY_SOURCES = {"secret", "public_key", "jwks_url"}
_QUERY_NAME = re.compile(r"[A-Za-z0-9._~-]+")
# What the gateway itself writes into a request, or removes from it.
_OWN_HEADERS = frozenset(
    (
        "authorization",
        "cookie",
        "traceparent",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-request-id",
    )
)


def auth(node: yaml.Node, environ: Mapping[str, str] | None, folder: Path) -> Auth:
    """Reads the section; the files of keys are looked for in the folder. Raises ConfigError."""
    section = Section(node, TABLE.keys, environ=environ)
    default = Auth()
    read = Auth(
        query=QUERY.of(section, default.query),
        cookie=COOKIE.of(section, default.cookie),
        bearer=BEARER.of(section, default.bearer),
        algorithms=ALGORITHMS_.of(section, default.algorithms),
        secret=SECRET.of(section),
        public_key=public_key(folder).of(section),
        jwks_url=JWKS_URL.of(section),
        issuer=ISSUER.of(section),
        audience=AUDIENCE.of(section, ()),
        leeway=LEEWAY.of(section, default.leeway),
        forward_claims=FORWARD_CLAIMS.of(section, ()),
        token_endpoint=TOKEN_ENDPOINT.of(section),
        stream_token_secret=STREAM_TOKEN_SECRET.of(section),
        trusted_proxies=TRUSTED_PROXIES.of(section, ()),
    )
    if not (read.query or read.cookie or read.bearer):
        section.blame("bearer", "query, cookie and bearer are all off: turn one on")
    _check_key(section, read)
    _check_endpoint(section, read)
    if environ and not _KEY_SOURCES & section.nodes.keys():
        read = _with_environment_secret(section, read, environ)
    section.finish()
    return read


def missing_key(auth: Auth) -> str:
    """Returns what to do if a route needs a token and no key can verify one."""
    if all(map(is_hmac, auth.algorithms)):
        hint = f"set {JWT_SECRET_VARIABLE} in the environment, or auth.secret here"
    else:
        hint = "give auth.public_key or auth.jwks_url"
    return f"this route needs a token, and no key can verify one: {hint}, or auth_required: false"


def _check_endpoint(section: Section, read: Auth) -> None:
    if "token_endpoint" not in section.nodes:
        if "stream_token_secret" in section.nodes:
            section.blame("stream_token_secret", "belongs to token_endpoint: give that too")
        return
    if not (read.bearer or read.cookie):
        message = "gives tokens for a cookie or a Bearer token: turn on cookie or bearer"
        section.blame("token_endpoint", message)
    if read.query is None:
        section.blame("token_endpoint", "gives tokens for the URL: turn on query")


def _check_key(section: Section, read: Auth) -> None:
    if len(_KEY_SOURCES & section.nodes.keys()) > 1:
        *_, last = (key for key in section.nodes if key in _KEY_SOURCES)
        section.blame(last, "secret, public_key and jwks_url exclude each other: keep one")
        return
    if "algorithms" in section.unread:
        return
    hmac = all(map(is_hmac, read.algorithms))
    if "secret" in section.nodes and not hmac:
        section.blame("secret", "a secret is for HS algorithms: give public_key for these")
    if "jwks_url" in section.nodes and hmac:
        section.blame("jwks_url", "HS algorithms use no public key: say algorithms: [RS256]")
    if "public_key" in section.nodes and hmac:
        section.blame("public_key", "HS algorithms use no public key: say algorithms: [RS256]")
    elif read.public_key is not None:
        for name in read.algorithms:
            _check_pair(section, read.public_key, name)


def _with_environment_secret(section: Section, read: Auth, environ: Mapping[str, str]) -> Auth:
    text = environ.get(JWT_SECRET_VARIABLE)
    if not text or not all(map(is_hmac, read.algorithms)):
        return read
    try:
        return replace(read, secret=secret(text))
    except ValueError as error:
        section.blame("secret", f"{JWT_SECRET_VARIABLE}: {error}")
        return read


def _check_pair(section: Section, pem: str, name: str) -> None:
    try:
        check_public_key(pem, name)
    except ValueError as error:
        section.blame("public_key", str(error))


def _algorithms(node: yaml.Node, environ: Mapping[str, str] | None) -> tuple[str, ...]:
    read = one_or_many(node, partial(expanded, environ=environ, parse=algorithm))
    if len({is_hmac(name) for name in read}) > 1:
        # With both, the public key could be taken for an HMAC secret: key confusion.
        raise unfit(node, "HS algorithms cannot stand beside others: keep one kind")
    return read


def _name_or_false(
    form: re.Pattern[str], node: yaml.Node, environ: Mapping[str, str] | None
) -> str | None:
    if is_false(node):
        return None

    def name(text: str) -> str:
        if not form.fullmatch(text):
            raise ValueError("must be a plain name such as token, or false to turn it off")
        return text

    return expanded(node, environ, name)


def endpoint(text: str) -> str:
    """Checks a path that the gateway answers itself. Raises ValueError."""
    if any(segment.kind is not Kind.LITERAL for segment in path_pattern.path(text)):
        raise ValueError("must be a path without parameters, such as /auth/stream-token")
    return text


def _audience(node: yaml.Node, environ: Mapping[str, str] | None) -> tuple[str, ...]:
    return one_or_many(node, partial(expanded, environ=environ, parse=_filled))


def _text(parse: Callable[[str], str], node: yaml.Node, environ: Mapping[str, str] | None) -> str:
    return expanded(node, environ, parse)


def _filled(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _leeway(text: str) -> float:
    seconds = units.duration(text, zero_allowed=True)
    if seconds is None:
        raise ValueError("must be a duration such as 10s, or 0s for no leeway")
    return seconds


def _claims(node: yaml.Node, environ: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    value = partial(expanded, environ=environ, parse=_claim_header)
    claims = pairs(node, partial(parsed, parse=_filled), value)
    faults = [
        fault_at(node, f"{name} is the header of two claims: give each its own header")
        for name in repeated(header for _, header in claims)
    ]
    if faults:
        raise ConfigError(faults)
    return claims


def _claim_header(text: str) -> str:
    if text.lower() in _OWN_HEADERS:
        raise ValueError(f"{quoted(text)} is written by the gateway: choose another header")
    return header_name(text)


def _network(text: str) -> _Network:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError("must be an address or a network such as 10.0.0.0/8") from error
    if ipaddress.ip_interface(text).ip != network.network_address:
        raise ValueError(f"has host bits set: did you mean {network}?")
    return network


def _networks(node: yaml.Node, environ: Mapping[str, str] | None) -> tuple[_Network, ...]:
    return items(node, partial(expanded, environ=environ, parse=_network))


_NAME = schema_types.or_off(schema_types.text())
_SECRET = of_environment(secret, schema_types.matching("^.{8}"))

QUERY = Field(
    "query",
    Value(partial(_name_or_false, _QUERY_NAME), _NAME),
    "the query parameter with the token; `false` for none",
    "`token`",
)
COOKIE = Field(
    "cookie",
    Value(partial(_name_or_false, TOKEN), _NAME),
    "the cookie with the token; `false` for none",
    "`gateway_token`",
)
BEARER = Field("bearer", FLAG, "accept a token in `Authorization: Bearer`", "`true`")
ALGORITHMS_ = Field(
    "algorithms",
    Value(
        _algorithms,
        schema_types.one_or_many(
            {
                "anyOf": [
                    schema_types.one_of(ALGORITHMS),
                    schema_types.expanded(schema_types.matching("^$")),
                ]
            }
        ),
    ),
    "one algorithm or a list: `HS*` with a secret, or `RS*`, `PS*`, `ES*` and `EdDSA` with a public"
    " key; never taken from the token",
    "`HS256`",
)
SECRET = Field(
    "secret", _SECRET, "an HMAC secret of 32 bytes or more", f"`${JWT_SECRET_VARIABLE}`, if set"
)


def public_key(folder: Path) -> Field[str]:
    """Returns the field of the public key, whose file is looked for in the folder."""
    return Field(
        "public_key",
        of_environment(partial(public_key_text, folder=folder), schema_types.matching(".")),
        "a PEM file, or the PEM text itself",
    )


JWKS_URL = Field(
    "jwks_url",
    of_environment(upstream_url.key_set, schema_types.matching("://")),
    "the URL of the [keys of the issuer](#keys-from-the-issuer)",
)
ISSUER = Field(
    "issuer", Value(partial(_text, _filled), schema_types.text()), "the value that `iss` must have"
)
AUDIENCE = Field(
    "audience",
    Value(_audience, schema_types.one_or_many(schema_types.text())),
    "one value or a list, of which `aud` must have one",
)
LEEWAY = Field(
    "leeway",
    of_environment(_leeway, schema_types.duration()),
    "how far the clocks of login and gateway may differ",
    "10s",
)
FORWARD_CLAIMS = Field(
    "forward_claims",
    Value(_claims, schema_types.pairs(schema_types.text())),
    "claims of the token, each with the header in which the upstream receives it",
    "none",
)
TOKEN_ENDPOINT = Field(
    "token_endpoint",
    of_environment(endpoint, schema_types.matching(ABSOLUTE)),
    "the path that issues [one-use tokens](#tokens-for-a-url)",
    "off",
)
STREAM_TOKEN_SECRET = Field(
    "stream_token_secret",
    _SECRET,
    "signs one-use tokens where there is no `secret`; the same on each replica",
    "derived from `secret`",
)
TRUSTED_PROXIES = Field(
    "trusted_proxies",
    Value(_networks, schema_types.many(schema_types.expanded(schema_types.matching(r"[.:]")))),
    "networks whose `X-Forwarded-*` headers are believed",
    "none",
)
TABLE = Table(
    QUERY,
    COOKIE,
    BEARER,
    ALGORITHMS_,
    SECRET,
    public_key(Path()),
    JWKS_URL,
    ISSUER,
    AUDIENCE,
    LEEWAY,
    FORWARD_CLAIMS,
    TOKEN_ENDPOINT,
    STREAM_TOKEN_SECRET,
    TRUSTED_PROXIES,
)
SHAPE = TABLE.shape("How a token is found and verified.")
