"""The `auth:` section of routes.yaml."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import yaml

from gateway.config import units
from gateway.config.loader import path_pattern, schema_types, upstream_url
from gateway.config.loader.faults import ConfigError, fault_at, quoted, unfit
from gateway.config.loader.header_rules import TOKEN, header_name, repeated
from gateway.config.loader.section import (
    Section,
    boolean,
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
KEYS: schema_types.Keys = {
    "query": schema_types.or_off(schema_types.text("The token's query parameter. Default: token")),
    "cookie": schema_types.or_off(schema_types.text("The token's cookie. Default: gateway_token")),
    "bearer": schema_types.flag("Authorization: Bearer. Default: true"),
    "algorithms": schema_types.one_or_many(
        {
            "anyOf": [
                schema_types.one_of(ALGORITHMS),
                schema_types.expanded(schema_types.matching("^$")),
            ]
        },
        "HS*, or RS*, PS*, ES* and EdDSA with a public key. Default: HS256",
    ),
    "secret": schema_types.expanded(
        schema_types.matching("^.{8}", "An HMAC secret of 32 bytes or more.")
    ),
    "public_key": schema_types.expanded(
        schema_types.matching(".", "A PEM file, or the PEM text itself.")
    ),
    "jwks_url": schema_types.expanded(
        schema_types.matching("://", "Where the issuer's keys are fetched.")
    ),
    "issuer": schema_types.text("What iss must be."),
    "audience": schema_types.one_or_many(schema_types.text(), "What aud must hold one of."),
    "leeway": schema_types.expanded(
        schema_types.duration("How far clocks may be apart. Default: 10s")
    ),
    "forward_claims": schema_types.pairs(
        schema_types.text(), "The header that the service gets a claim in."
    ),
    "token_endpoint": schema_types.expanded(
        schema_types.matching(ABSOLUTE, "The path that gives tokens of one use.")
    ),
    "stream_token_secret": schema_types.expanded(
        schema_types.matching("^.{8}", "What signs those where there is no secret.")
    ),
    "trusted_proxies": schema_types.many(
        schema_types.expanded(schema_types.matching(r"[.:]")),
        "Networks whose X-Forwarded headers are believed.",
    ),
}
SHAPE = schema_types.section(KEYS, "How a token is found and verified.")

_KEY_SOURCES = {"secret", "public_key", "jwks_url"}
_QUERY_NAME = re.compile(r"[A-Za-z0-9._~-]+")
# What the gateway writes into a request itself, or takes out of it.
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
    """Read the section; a key's file is looked for in the folder. Raises ConfigError."""
    section = Section(node, KEYS)
    one = partial(expanded, environ=environ)
    default = Auth()
    read = Auth(
        query=section.read("query", partial(_name_or_false, environ, _QUERY_NAME), default.query),
        cookie=section.read("cookie", partial(_name_or_false, environ, TOKEN), default.cookie),
        bearer=section.read("bearer", boolean, default.bearer),
        algorithms=section.read("algorithms", partial(_algorithms, environ), default.algorithms),
        secret=section.read("secret", partial(one, parse=secret), None),
        public_key=section.read(
            "public_key", partial(one, parse=partial(public_key_text, folder=folder)), None
        ),
        jwks_url=section.read("jwks_url", partial(one, parse=upstream_url.key_set), None),
        issuer=section.read("issuer", partial(one, parse=_filled), None),
        audience=section.read("audience", partial(_audience, environ), ()),
        leeway=section.read("leeway", partial(one, parse=_leeway), default.leeway),
        forward_claims=section.read("forward_claims", partial(_claims, environ), ()),
        token_endpoint=section.read("token_endpoint", partial(one, parse=endpoint), None),
        stream_token_secret=section.read("stream_token_secret", partial(one, parse=secret), None),
        trusted_proxies=section.read(
            "trusted_proxies",
            lambda node: items(node, partial(one, parse=_network)),
            (),
        ),
    )
    if not (read.query or read.cookie or read.bearer):
        section.blame("bearer", "query, cookie and bearer are all off: no token could ever come")
    _check_key(section, read)
    _check_endpoint(section, read)
    if environ and not _KEY_SOURCES & section.nodes.keys():
        read = _with_environment_secret(section, read, environ)
    section.finish()
    return read


def missing_key(auth: Auth) -> str:
    """Say what to do where a token is needed and nothing could verify it."""
    if all(map(is_hmac, auth.algorithms)):
        mend = f"set {JWT_SECRET_VARIABLE} in the environment, or auth.secret here"
    else:
        mend = "give auth.public_key or auth.jwks_url"
    return f"this route needs a token, and no key can verify one: {mend}, or auth_required: false"


def _check_endpoint(section: Section, read: Auth) -> None:
    if "token_endpoint" not in section.nodes:
        if "stream_token_secret" in section.nodes:
            section.blame("stream_token_secret", "is for token_endpoint alone: give that too")
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


def _algorithms(environ: Mapping[str, str] | None, node: yaml.Node) -> tuple[str, ...]:
    read = one_or_many(node, partial(expanded, environ=environ, parse=algorithm))
    if len({is_hmac(name) for name in read}) > 1:
        # With both, the public key could be taken for an HMAC secret: key confusion.
        raise unfit(node, "HS algorithms cannot stand beside others: keep one kind")
    return read


def _name_or_false(
    environ: Mapping[str, str] | None, form: re.Pattern[str], node: yaml.Node
) -> str | None:
    if is_false(node):
        return None

    def name(text: str) -> str:
        if not form.fullmatch(text):
            raise ValueError("must be a plain name such as token, or false to turn it off")
        return text

    return expanded(node, environ, name)


def endpoint(text: str) -> str:
    """A path that the gateway answers itself. Raises ValueError."""
    if any(segment.kind is not Kind.LITERAL for segment in path_pattern.path(text)):
        raise ValueError("must be a path without parameters, such as /auth/stream-token")
    return text


def _audience(environ: Mapping[str, str] | None, node: yaml.Node) -> tuple[str, ...]:
    return one_or_many(node, partial(expanded, environ=environ, parse=_filled))


def _filled(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _leeway(text: str) -> float:
    seconds = units.duration(text, zero_allowed=True)
    if seconds is None:
        raise ValueError("must be a duration such as 10s, or 0s for no leeway")
    return seconds


def _claims(environ: Mapping[str, str] | None, node: yaml.Node) -> tuple[tuple[str, str], ...]:
    value = partial(expanded, environ=environ, parse=_claim_header)
    claims = pairs(node, partial(parsed, parse=_filled), value)
    faults = [
        fault_at(node, f"{name} stands for two claims: give each its own header")
        for name in repeated(header for _, header in claims)
    ]
    if faults:
        raise ConfigError(faults)
    return claims


def _claim_header(text: str) -> str:
    if text.lower() in _OWN_HEADERS:
        raise ValueError(f"{quoted(text)} is the gateway's own: choose another header")
    return header_name(text)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise ValueError("must be an address or a network such as 10.0.0.0/8") from error
    if ipaddress.ip_interface(text).ip != network.network_address:
        raise ValueError(f"has host bits set: did you mean {network}?")
    return network
