"""Finds the route of a method and a path. Pure.

The path is compared percent-decoded and with its slashes merged, see `http/paths`. The upstream
receives it as the client sent it, to the byte.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.config.model import Kind, Route, Segment
from gateway.http.errors import METHOD_NOT_ALLOWED, ROUTE_NOT_FOUND, Rejection
from gateway.http.paths import Span, as_bytes, is_plain, path_steps, step_spans

_ANY = ""  # instead of a method: all but CONNECT, which asks for a tunnel
_STANDARD_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")


class Match:
    """The route of a request, whose raw path is `path`."""

    def __init__(self, route: Route, path: str) -> None:
        self.route = route
        self.path = path

    @property
    def parameters(self) -> Mapping[str, str]:
        """The path parameters as received, percent-encoded."""
        return dict(_parameters(self.route, self.path, step_spans(self.path)))


@dataclass(slots=True)
class _Node:
    """Routes with the same start of their path; `routes`, by method, end here."""

    literals: dict[bytes, "_Node"] = field(default_factory=dict)
    parameter: "_Node | None" = None
    tail: "_Node | None" = None
    routes: dict[str, Route] = field(default_factory=dict)

    def child(self, segment: Segment) -> "_Node":
        if segment.kind is Kind.LITERAL:
            return self.literals.setdefault(as_bytes(segment.text), _Node())
        if segment.kind is Kind.PARAMETER:
            self.parameter = self.parameter or _Node()
            return self.parameter
        self.tail = self.tail or _Node()
        return self.tail


class Router:
    """The routes as a trie over the steps of their paths.

    Of two routes with the same path and method the first one counts; a valid file has none.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        self._exact: dict[str, Mapping[str, Route]] = {}
        for route in routes:
            self._add(route)

    def match(self, method: str, path: str) -> Match:
        """Returns the route for `path`: the raw path as received, without the query.

        Raises Rejection: BAD_REQUEST, ROUTE_NOT_FOUND, or METHOD_NOT_ALLOWED with Allow.
        """
        routes = self._exact.get(path)
        if routes is None:
            routes = self._find(path_steps(path))
        return Match(_choose(routes, method), path)

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in _named_segments(route):
            node = node.child(segment)
        if route.path.endswith("/"):
            node = node.child(Segment(Kind.LITERAL, ""))
        for method in route.methods or (_ANY,):
            node.routes.setdefault(method, route)
        is_literal = all(segment.kind is Kind.LITERAL for segment in route.segments)
        if is_literal and is_plain(route.path):
            self._exact[route.path] = node.routes  # because nothing is more specific

    def _find(self, steps: Sequence[bytes]) -> Mapping[str, Route]:
        """Returns the routes of the most specific path that matches.

        A literal comes before a parameter, and that before the rest, from left to right. A node has
        one depth and one parent, so that no path visits more nodes than there are.
        """
        pending = [(self._root, 0)]
        while pending:
            node, depth = pending.pop()
            if depth < len(steps):
                _go_on(pending, node, depth, steps)
            elif node.routes:
                return node.routes
        raise Rejection(ROUTE_NOT_FOUND)


def target_path(match: Match) -> str:
    """Returns the raw path for the upstream, without its base path and without the query."""
    route = match.route
    if route.rewrite:
        parameters = match.parameters
        return "".join(_filled(part, parameters) for part in route.rewrite)
    return _stripped(match.path, route.strip_prefix)


def _filled(part: str | Segment, parameters: Mapping[str, str]) -> str:
    return part if isinstance(part, str) else parameters[part.text]


def _stripped(path: str, prefix: str) -> str:
    """Removes as many segments as the prefix has: `//%61pi/x` without `/api` is `/x`."""
    if not prefix:
        return path
    count = len([step for step in prefix.split("/") if step])
    if not count:
        return path
    _, end = step_spans(path)[:count][-1]
    return path[end:] or "/"


def _go_on(
    pending: list[tuple[_Node, int]], node: _Node, depth: int, steps: Sequence[bytes]
) -> None:
    """Adds the next nodes, the most specific last, because the last is taken first."""
    step = steps[depth]
    if node.tail:
        pending.append((node.tail, len(steps)))
    if node.parameter and step:
        pending.append((node.parameter, depth + 1))
    if step in node.literals:
        pending.append((node.literals[step], depth + 1))


def _choose(routes: Mapping[str, Route], method: str) -> Route:
    if method in routes:
        return routes[method]
    if method == "HEAD" and "GET" in routes:
        return routes["GET"]
    if _ANY in routes and method != "CONNECT":
        return routes[_ANY]
    allow = ", ".join(_allowed(routes))
    detail = f"The route does not accept this method. It accepts {allow}."
    raise Rejection(METHOD_NOT_ALLOWED, detail, (("Allow", allow),))


def _allowed(routes: Mapping[str, Route]) -> list[str]:
    """Returns the methods for an Allow header (RFC 9110, 10.2.1)."""
    methods = set(routes)
    if _ANY in methods:
        methods = (methods - {_ANY}).union(_STANDARD_METHODS)
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods)


def _named_segments(route: Route) -> list[Segment]:
    """Returns the segments without empty ones, because slashes are merged in routes too."""
    return [part for part in route.segments if part.text or part.kind is not Kind.LITERAL]


def _parameters(route: Route, path: str, spans: Sequence[Span]) -> Iterator[tuple[str, str]]:
    slash = 0  # before the present segment
    for segment, (start, end) in zip(_named_segments(route), spans, strict=False):
        if segment.kind is Kind.PARAMETER:
            yield segment.text, path[start:end]
        elif segment.kind is Kind.TAIL:
            yield segment.text, path[slash + 1 :]
        slash = end
