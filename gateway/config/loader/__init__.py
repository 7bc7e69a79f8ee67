"""Loads routes.yaml: all errors of the file at once, each with its line and column.

The file is a list of routes, or a mapping with `routes:`, `defaults:`, `auth:`, `cors:`, `limits:`
and `probe:`.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import yaml

from gateway.config.loader import (
    auth_section,
    cors_section,
    limits_section,
    path_pattern,
    route_section,
    schema_types,
    yaml_document,
)
from gateway.config.loader.faults import ConfigError, Fault, fault_at, unfit
from gateway.config.loader.field import Field
from gateway.config.loader.field import expanded as of_environment
from gateway.config.loader.section import Section
from gateway.config.model import Auth, Config, Limits

__all__ = ["ConfigError", "Fault", "fetch", "load", "load_auth", "loads", "parse"]

ROUTES = {
    **schema_types.many(route_section.SHAPE, least=1),
    "description": "What is served. The most specific path wins.",
}
PROBE = Field(
    "probe",
    of_environment(auth_section.endpoint, schema_types.matching(auth_section.ABSOLUTE)),
    "the path of the test stream that `gateway probe` reads",
    "off",
)
KEYS: schema_types.Keys = {
    "routes": ROUTES,
    "defaults": route_section.DEFAULTS_SHAPE,
    "auth": auth_section.SHAPE,
    "cors": cors_section.SHAPE,
    "limits": limits_section.SHAPE,
    PROBE.key: {**PROBE.value.shape, "description": PROBE.description},
}


def load(path: str | Path, environ: Mapping[str, str] | None) -> Config:
    """Loads a file. Raises ConfigError, also if it cannot be read; see loads."""
    return parse(fetch(path), environ, str(path))


def load_auth(path: str | Path, environ: Mapping[str, str]) -> Auth:
    """Loads only the `auth` part of a file, whatever is wrong elsewhere. Raises ConfigError."""
    source = str(path)
    try:
        top = _top(yaml_document.compose(_decoded(fetch(path), source)), environ)
        return _auth(top, environ, Path(source).parent)
    except ConfigError as error:
        raise ConfigError(error.faults, source) from error


def fetch(path: str | Path) -> bytes:
    """Returns the bytes of a file, for `parse`. Raises ConfigError."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(yaml_document.MAX_SIZE + 1)
    except OSError as error:
        raise ConfigError([Fault(0, 0, f"cannot be read: {error.strerror}")], str(path)) from error
    if len(data) > yaml_document.MAX_SIZE:
        raise ConfigError([yaml_document.TOO_LARGE], str(path))
    return data


def parse(data: bytes, environ: Mapping[str, str] | None, source: str) -> Config:
    """Loads the bytes of a file. Raises ConfigError; see loads."""
    config = loads(_decoded(data, source), environ, source)
    return replace(config, digest=hashlib.sha256(data).hexdigest())


def loads(text: str, environ: Mapping[str, str] | None, source: str = "routes.yaml") -> Config:
    """Loads the text of a file. `source` is its path, and key files are in the same folder.

    Without an environment (None), values that refer to a variable are not checked and are left
    out: an upstream then has only its `url`, as written. Such a configuration can be shown but not
    served. Raises ConfigError with every fault.
    """
    try:
        return _read(yaml_document.compose(text), environ, source)
    except ConfigError as error:
        raise ConfigError(error.faults, source) from error


def _decoded(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([_not_text(error)], source) from error


def _read(root: yaml.Node, environ: Mapping[str, str] | None, source: str) -> Config:
    top = _top(root, environ)
    defaults = top.read("defaults", partial(route_section.defaults, environ=environ), None)
    top.faults += defaults.faults if defaults else ()
    auth = top.attempt(partial(_auth, top, environ, Path(source).parent), None)
    cors = top.read("cors", partial(cors_section.cors, environ=environ), None)
    limits = top.read("limits", partial(limits_section.limits, environ=environ), Limits())
    sections = top.read("routes", partial(_sections, top, defaults), ())
    read = partial(route_section.route, gateway_wide=cors)
    routes = [top.attempt(partial(read, each), None) for each in sections]
    top.faults += _duplicates(sections)
    if auth and environ is not None and not auth.has_key:
        top.faults += _unverifiable(sections, auth)
    probe = PROBE.of(top)
    if probe is not None:
        top.faults += _clashes(sections, probe, "probe")
        if auth and auth.query is None and not auth.bearer:
            top.blame("probe", "its token comes in the query or a header: turn on query or bearer")
    if auth and auth.token_endpoint is not None:
        top.faults += _clashes(sections, auth.token_endpoint, "auth.token_endpoint")
        if probe == auth.token_endpoint:
            top.blame("probe", f"{probe} is the auth.token_endpoint: choose another path")
        if environ is not None and limits.redis is not None:
            top.faults += _keyless_replicas(top, auth)
    top.finish()
    routes_ = tuple(filter(None, routes))
    return Config(routes_, auth or Auth(), source, cors, limits, probe=probe)


def _top(root: yaml.Node, environ: Mapping[str, str] | None) -> Section:
    if isinstance(root, yaml.MappingNode):
        top = Section(root, KEYS, environ=environ)
        if "routes" not in top.nodes:
            top.blame("routes", "routes is missing: the file needs at least one")
        return top
    if not isinstance(root, yaml.SequenceNode):
        raise unfit(root, "must be a list of routes, or a mapping with routes:")
    top = Section(_empty_mapping(root), KEYS, environ=environ)
    top.nodes["routes"] = root
    return top


def _auth(top: Section, environ: Mapping[str, str] | None, folder: Path) -> Auth:
    node = top.nodes.get("auth") or _empty_mapping(top.node)
    return auth_section.auth(node, environ, folder)


def _sections(top: Section, defaults: Section | None, node: yaml.Node) -> tuple[Section, ...]:
    """Returns the keys of each route; the faults of other nodes go to the top section."""
    if not isinstance(node, yaml.SequenceNode):
        raise unfit(node, "must be a list of routes, each starting with - path:")
    if not node.value:
        raise unfit(node, "the list is empty: it needs at least one route")
    found = (
        top.attempt(partial(route_section.settings, each, top.environ, defaults), None)
        for each in node.value
    )
    return tuple(section for section in found if section is not None)


def _duplicates(sections: Iterable[Section]) -> Iterator[Fault]:
    """Yields routes that match the same requests: the same form of path, a common method."""
    seen: defaultdict[path_pattern.Shape, list[tuple[frozenset[str], int]]] = defaultdict(list)
    for section in sections:
        _, segments = route_section.PATH.of(section, route_section.NO_PATH)
        methods = route_section.METHOD.of(section, frozenset[str]())
        if not segments or "method" in section.unread:
            continue
        earlier = seen[path_pattern.shape(segments)]
        for others, line in earlier:
            if not methods or not others or methods & others:
                message = f"the route in line {line} has the same path and method: remove one"
                yield fault_at(section.nodes["path"], message)
                break
        earlier.append((methods, fault_at(section.node, "").line))


def _unverifiable(sections: Iterable[Section], auth: Auth) -> Iterator[Fault]:
    """Yields the first route that needs a token. One fault is enough: one key corrects all."""
    for section in sections:
        if route_section.AUTH_REQUIRED.of(section, True) and "auth_required" not in section.unread:
            place = section.nodes.get("auth_required", section.node)
            yield fault_at(place, auth_section.missing_key(auth))
            return


def _clashes(sections: Iterable[Section], endpoint: str, key: str) -> Iterator[Fault]:
    """Yields routes that an endpoint of the gateway would hide."""
    own = path_pattern.shape(path_pattern.path(endpoint))
    for section in sections:
        _, segments = route_section.PATH.of(section, route_section.NO_PATH)
        if path_pattern.shape(segments) == own:
            message = f"{endpoint} is the {key}: choose another path"
            yield fault_at(section.nodes["path"], message)


def _keyless_replicas(top: Section, auth: Auth) -> Iterator[Fault]:
    """Yields a fault if replicas share used tokens but could not read each other's."""
    if auth.secret is auth.stream_token_secret is None:
        message = (
            "with limits.redis all replicas need one key for stream tokens: set"
            " auth.stream_token_secret, the same on each"
        )
        yield fault_at(top.nodes["auth"], message)


def _empty_mapping(place: yaml.Node) -> yaml.MappingNode:
    return yaml.MappingNode("tag:yaml.org,2002:map", [], place.start_mark, place.end_mark)


def _not_text(error: UnicodeDecodeError) -> Fault:
    before = error.object[: error.start]
    column = len(before) - (before.rfind(b"\n") + 1) + 1
    return Fault(before.count(b"\n") + 1, column, "the file is not UTF-8 text: save it as UTF-8")
