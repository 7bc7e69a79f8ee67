"""Method and path to route: pure.

What chooses a route is the path percent-decoded and with its slashes merged, because that is how
many services read it: `/%61dmin` and `//admin` must not slip past a route for `/admin`. What goes
to the service is the path as received, to the byte.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.config.model import Kind, Route, Segment
from gateway.http.errors import METHOD_NOT_ALLOWED, ROUTE_NOT_FOUND, Rejection
from gateway.http.paths import Span, as_bytes, is_plain, path_steps, step_spans

_ANY = ""  # in place of a method: all of them but CONNECT, which asks for a tunnel
_STANDARD_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")


class Match:
    """The route of a request, whose raw path is `path`."""

    def __init__(self, route: Route, path: str) -> None:
        self.route = route
        self.path = path

    @property
    def parameters(self) -> Mapping[str, str]:
        """The path parameters as received: still percent-encoded."""
        return dict(_parameters(self.route, self.path, step_spans(self.path)))


@dataclass(slots=True)
class _Node:
    """Routes that share the beginning of their path; `routes`, by method, end here."""

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

    Of two routes with the same path shape and method the first one holds; a sound file has none.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        self._exact: dict[str, Mapping[str, Route]] = {}
        for route in routes:
            self._add(route)

    def match(self, method: str, path: str) -> Match:
        """Find the route for `path`: the raw path as received, without the query.

        Raises Refusal: BAD_REQUEST, ROUTE_NOT_FOUND, or METHOD_NOT_ALLOWED with the Allow header.
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
            self._exact[route.path] = node.routes  # as nothing is more specific

    def _find(self, steps: Sequence[bytes]) -> Mapping[str, Route]:
        """Return the routes of the most specific path that matches.

        Literal over parameter over tail, left to right. A node stands at one depth and has one
        parent, so that no path makes this visit more nodes than there are.
        """
        pending = [(self._root, 0)]
        while pending:
            node, depth = pending.pop()
            if depth < len(steps):
                pending.extend(_onward(node, depth, steps))
            elif node.routes:
                return node.routes
        raise Rejection(ROUTE_NOT_FOUND)


def target_path(match: Match) -> str:
    """Return the path that the upstream sees, less its base path: raw text without the query."""
    route = match.route
    if route.rewrite:
        parameters = match.parameters
        return "".join(_filled(part, parameters) for part in route.rewrite)
    return _stripped(match.path, route.strip_prefix)


def _filled(part: str | Segment, parameters: Mapping[str, str]) -> str:
    return part if isinstance(part, str) else parameters[part.text]


def _stripped(path: str, prefix: str) -> str:
    """Take off as many segments as the prefix has: `//%61pi/x` less `/api` is `/x`."""
    count = sum(1 for step in prefix.split("/") if step)
    if not count:
        return path
    _, end = step_spans(path)[:count][-1]
    return path[end:] or "/"


def _onward(node: _Node, depth: int, steps: Sequence[bytes]) -> Iterator[tuple[_Node, int]]:
    """Where to go on from here, the most specific last, as it is taken first."""
    step = steps[depth]
    if node.tail:
        yield node.tail, len(steps)
    if node.parameter and step:
        yield node.parameter, depth + 1
    if step in node.literals:
        yield node.literals[step], depth + 1


def _choose(routes: Mapping[str, Route], method: str) -> Route:
    if method in routes:
        return routes[method]
    if method == "HEAD" and "GET" in routes:
        return routes["GET"]
    if _ANY in routes and method != "CONNECT":
        return routes[_ANY]
    allow = ", ".join(_allowed(routes))
    detail = f"The route does not take this method; it takes {allow}."
    raise Rejection(METHOD_NOT_ALLOWED, detail, (("Allow", allow),))


def _allowed(routes: Mapping[str, Route]) -> list[str]:
    """List the methods for an Allow header (RFC 9110, 10.2.1)."""
    methods = set(routes)
    if _ANY in methods:
        methods = (methods - {_ANY}).union(_STANDARD_METHODS)
    if "GET" in methods:
        methods.add("HEAD")
    return sorted(methods)


def _named_segments(route: Route) -> list[Segment]:
    """List the segments less the empty ones: slashes are merged in routes as in requests."""
    return [part for part in route.segments if part.text or part.kind is not Kind.LITERAL]


def _parameters(route: Route, path: str, spans: Sequence[Span]) -> Iterator[tuple[str, str]]:
    slash = 0  # before the segment at hand
    for segment, (start, end) in zip(_named_segments(route), spans, strict=False):
        if segment.kind is Kind.PARAMETER:
            yield segment.text, path[start:end]
        elif segment.kind is Kind.TAIL:
            yield segment.text, path[slash + 1 :]
        slash = end
