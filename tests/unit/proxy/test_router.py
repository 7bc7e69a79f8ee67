"""The most specific route is found, and no spelling of a path slips past the one it means."""

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.config.model import Kind, Route, Segment, Upstream
from gateway.http import errors
from gateway.http.errors import Failure, Rejection
from gateway.proxy.router import Match, Router, target_path

UPSTREAM = Upstream(url="http://service", host="service", port=80)
BASED = Upstream(url="http://service/base", host="service", port=80, base_path="/base")


def segment(text: str) -> Segment:
    if not text.startswith("{"):
        return Segment(Kind.LITERAL, unquote_to_bytes(text).decode())
    name, _, kind = text[1:-1].partition(":")
    return Segment(Kind.TAIL if kind else Kind.PARAMETER, name)


def route(
    path: str,
    *methods: str,
    strip_prefix: str = "",
    rewrite: tuple[str | Segment, ...] = (),
    upstream: Upstream = UPSTREAM,
) -> Route:
    return Route(
        path,
        tuple(segment(text) for text in path.split("/") if text),
        upstream,
        frozenset(methods),
        strip_prefix=strip_prefix,
        rewrite=rewrite,
    )


def refusal(table: Router, method: str, path: str, failure: Failure) -> Rejection:
    with pytest.raises(Rejection) as caught:
        table.match(method, path)
    assert caught.value.failure is failure
    return caught.value


def chosen(paths: list[str], path: str) -> str | None:
    """Give the route's path that answers a GET, or None where none does."""
    try:
        return Router(map(route, paths)).match("GET", path).route.path
    except Rejection as found:
        if found.failure is not errors.ROUTE_NOT_FOUND:
            raise
        return None


# Choosing by path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/jobs/new", "/jobs/new"),
        ("/jobs/7", "/jobs/{id}"),
        ("/jobs/7/log", "/{all:path}"),
        ("/jobs/7/stream", "/jobs/{id}/stream"),
        ("/jobs/new/stream", "/jobs/{id}/stream"),
        ("/jobs/new/stream/x", "/{all:path}"),
        ("/jobs", "/{all:path}"),
        ("/jobs/", "/jobs/"),
        ("/", "/{all:path}"),
    ],
)
def test_the_most_specific_path_wins_whatever_the_order_in_the_file(
    path: str, expected: str
) -> None:
    paths = ["/{all:path}", "/jobs/{id}", "/jobs/new", "/jobs/", "/jobs/{id}/stream"]
    assert chosen(paths, path) == expected
    assert chosen(paths[::-1], path) == expected


def test_a_literal_that_leads_nowhere_gives_way_to_a_parameter() -> None:
    paths = ["/a/b/c", "/a/{x}/d", "/{y}/b/e", "/a/{rest:path}"]
    assert chosen(paths, "/a/b/d") == "/a/{x}/d"
    assert chosen(paths, "/a/b/e") == "/a/{rest:path}"
    assert chosen(paths[:3], "/a/b/e") == "/{y}/b/e"


def test_a_path_without_a_route_is_not_found() -> None:
    refusal(Router([route("/jobs")]), "GET", "/job", errors.ROUTE_NOT_FOUND)
    refusal(Router([]), "GET", "/", errors.ROUTE_NOT_FOUND)


def test_a_trailing_slash_is_part_of_the_path() -> None:
    assert chosen(["/jobs"], "/jobs/") is None
    assert chosen(["/jobs/"], "/jobs") is None
    assert chosen(["/jobs/{id}"], "/jobs/") is None
    assert chosen(["/jobs/{id}"], "/jobs/7/") is None
    assert chosen(["/jobs/{id}/"], "/jobs/7/") == "/jobs/{id}/"
    assert chosen(["/"], "/") == chosen(["/"], "//") == "/"


def test_a_trailing_slash_may_be_written_as_an_empty_segment() -> None:
    segments = (Segment(Kind.LITERAL, "jobs"), Segment(Kind.LITERAL, ""))
    table = Router([Route("/jobs/", segments, UPSTREAM)])
    assert table.match("GET", "/jobs/").route.path == "/jobs/"


def test_the_case_of_a_path_matters() -> None:
    assert chosen(["/admin"], "/Admin") is None


@pytest.mark.parametrize(
    "path", ["/admin", "/%61dmin", "//admin", "///%61%64min", "/%61%64%6D%69%6e"]
)
def test_no_spelling_of_a_path_slips_past_its_route(path: str) -> None:
    assert chosen(["/admin", "/{public:path}"], path) == "/admin"


@pytest.mark.parametrize("path", ["/a//b", "//a/b", "/a///%62", "/%61/b"])
def test_merged_slashes_choose_the_same_route(path: str) -> None:
    assert chosen(["/a/b", "/a/{x}", "/{all:path}"], path) == "/a/b"


def test_an_encoded_slash_stays_inside_its_segment() -> None:
    assert chosen(["/a/b", "/{one}"], "/a%2Fb") == "/{one}"
    assert chosen(["/a%2Fb", "/{one}"], "/a%2fb") == "/a%2Fb"


def test_a_path_beyond_ascii_is_the_same_raw_and_encoded() -> None:
    assert chosen(["/caf%C3%A9", "/{one}"], "/café") == "/caf%C3%A9"
    assert chosen(["/café", "/{one}"], "/caf%c3%a9") == "/café"
    assert chosen(["/\N{REPLACEMENT CHARACTER}", "/{one}"], "/%ff") == "/{one}"
    assert chosen(["/a", "/{one}"], b"/\xff".decode("utf-8", "surrogateescape")) == "/{one}"


# Parameters


def parameters(pattern: str, path: str) -> dict[str, str]:
    return dict(Router([route(pattern)]).match("GET", path).parameters)


def test_parameters_are_the_raw_text_of_their_segments() -> None:
    assert parameters("/jobs/{id}/{step}", "/jobs/a%2Fb/%C3%A9+") == {
        "id": "a%2Fb",
        "step": "%C3%A9+",
    }
    assert parameters("/{a}/x/{b}", "//1//x///2") == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("path", "rest"),
    [
        ("/files/", ""),
        ("/files/a", "a"),
        ("/files/a/", "a/"),
        ("/files/a//b%2F/", "a//b%2F/"),
        ("/files//a", "/a"),
        ("//%66iles/a", "a"),
    ],
)
def test_a_tail_is_all_that_is_left_as_received(path: str, rest: str) -> None:
    assert parameters("/files/{rest:path}", path) == {"rest": rest}


def test_a_tail_needs_the_slash_before_it() -> None:
    assert chosen(["/files/{rest:path}"], "/files") is None


def test_a_tail_at_the_root_takes_everything() -> None:
    assert parameters("/{rest:path}", "/") == {"rest": ""}
    assert parameters("/{rest:path}", "//a/") == {"rest": "/a/"}


def test_a_literal_trailing_slash_is_more_specific_than_an_empty_tail() -> None:
    assert chosen(["/files/{rest:path}", "/files/"], "/files/") == "/files/"


def test_routes_of_one_shape_keep_their_own_parameter_names() -> None:
    table = Router([route("/jobs/{id}", "GET"), route("/jobs/{name}", "PUT")])
    assert table.match("GET", "/jobs/7").parameters == {"id": "7"}
    assert table.match("PUT", "/jobs/7").parameters == {"name": "7"}


# Choosing by method


def test_routes_of_one_shape_answer_their_own_methods() -> None:
    get, post, others = route("/jobs", "GET"), route("/jobs", "POST"), route("/jobs")
    assert Router([get, post]).match("POST", "/jobs").route is post
    table = Router([others, get, post])
    assert [table.match(method, "/jobs").route for method in ("GET", "POST", "PUT")] == [
        get,
        post,
        others,
    ]


def test_a_method_that_the_path_does_not_take_never_falls_to_a_wider_path() -> None:
    table = Router([route("/{public:path}"), route("/admin", "POST", "GET")])
    found = refusal(table, "DELETE", "/admin", errors.METHOD_NOT_ALLOWED)
    assert found.headers == (("Allow", "GET, HEAD, POST"),)
    assert "GET, HEAD, POST" in found.detail


def test_head_comes_with_get_unless_it_has_a_route_of_its_own() -> None:
    get, head = route("/jobs", "GET"), route("/jobs", "HEAD")
    assert Router([get, route("/jobs")]).match("HEAD", "/jobs").route is get
    assert Router([get, head]).match("HEAD", "/jobs").route is head
    refusal(Router([route("/jobs", "POST")]), "HEAD", "/jobs", errors.METHOD_NOT_ALLOWED)


def test_the_case_of_a_method_matters() -> None:
    refusal(Router([route("/jobs", "GET")]), "get", "/jobs", errors.METHOD_NOT_ALLOWED)


def test_a_route_without_methods_takes_all_but_connect() -> None:
    table = Router([route("/jobs")])
    for method in ("GET", "HEAD", "POST", "OPTIONS", "PROPFIND"):
        assert table.match(method, "/jobs").route.path == "/jobs"
    found = refusal(table, "CONNECT", "/jobs", errors.METHOD_NOT_ALLOWED)
    allow = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT, TRACE"
    assert found.headers == (("Allow", allow),)
    refusal(table, "", "/job", errors.ROUTE_NOT_FOUND)


# Refusing


@pytest.mark.parametrize(
    "path",
    [
        *("/.", "/..", "/a/./b", "/a/../b", "/a/..", "//..", "/%2e", "/.%2E/b", "/%2e%2e/b"),
        *("/a%2F..", "/..%2fb", "/a%2f.%2fb", "/a\\..", "/..\\b", "/a%5C%2e%2e%5cb", "/%2F.."),
        *("/..;/b", "/.;x=1/b", "/a%2F..%3Bx"),
    ],
)
def test_a_dot_segment_in_any_spelling_is_refused(path: str) -> None:
    table = Router([route("/{all:path}")])
    assert "'..'" in refusal(table, "GET", path, errors.BAD_REQUEST).detail


@pytest.mark.parametrize("path", ["/...", "/.a", "/a.", "/a..b", "/..a", "/a%2F...", "/%252e%252e"])
def test_dots_that_are_part_of_a_name_pass(path: str) -> None:
    assert chosen(["/{all:path}"], path) == "/{all:path}"


@pytest.mark.parametrize(
    "path",
    [
        *("", "*", "a/b", "http://host/", "host:443", "/a#b", "/a b", "/a\n", "/\0", "/\x7f"),
        *("/a%00", "/%00/b", "/\ud800", "/\udfff"),
    ],
)
def test_a_target_that_is_no_plain_path_is_refused(path: str) -> None:
    refusal(Router([route("/{all:path}")]), "GET", path, errors.BAD_REQUEST)


def test_a_malformed_path_is_refused_before_a_route_is_looked_for() -> None:
    refusal(Router([]), "GET", "/../x", errors.BAD_REQUEST)


# The path for the upstream


def target(wanted: Route, path: str) -> str:
    return target_path(Router([wanted]).match("GET", path))


RAW = "//a//%2f%27/%c3%A9/é/+;=@,/"


@pytest.mark.parametrize("upstream", [UPSTREAM, BASED])
def test_the_path_goes_on_byte_for_byte(upstream: Upstream) -> None:
    assert target(route("/{all:path}", upstream=upstream), RAW) == RAW


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/jobs", "/jobs"),
        ("/api/v1//jobs%2F/", "//jobs%2F/"),
        ("/api/v1/", "/"),
        ("/%61pi/v1/jobs", "/jobs"),
        ("//api///v1//jobs", "//jobs"),
        ("/api/v1/api/v1", "/api/v1"),
    ],
)
@pytest.mark.parametrize("prefix", ["/api/v1", "/api/v1/"])
def test_a_prefix_is_stripped_however_it_is_spelt(prefix: str, path: str, expected: str) -> None:
    wanted = route("/api/v1/{rest:path}", strip_prefix=prefix, upstream=BASED)
    assert target(wanted, path) == expected


def test_a_path_that_is_all_prefix_becomes_the_root() -> None:
    assert target(route("/api/v1", strip_prefix="/api/v1"), "/api/v1") == "/"
    assert target(route("/api/v1", strip_prefix="/"), "/api/v1") == "/api/v1"


def test_a_rewrite_is_filled_with_the_parameters_as_received() -> None:
    rewrite = ("/v2/", segment("{rest:path}"), "/of/", segment("{id}"))
    wanted = route("/jobs/{id}/{rest:path}", rewrite=rewrite, upstream=BASED)
    assert target(wanted, "//jobs/a%2Fb/x//%27/") == "/v2/x//%27//of/a%2Fb"


# Against a slow, obvious table

PIECES = st.sampled_from(["a", "b", "{x}", "{y}"])
PATTERNS = st.builds(
    lambda pieces, ending: "/" + "/".join(pieces) + ending if pieces else ending or "/",
    st.lists(PIECES, max_size=3),
    st.sampled_from(["", "/", "/{t:path}"]),
)
ROUTES = st.builds(
    lambda path, methods: route(path, *methods),
    PATTERNS,
    st.sets(st.sampled_from(["GET", "POST", "HEAD"]), max_size=2),
)
PATHS = st.lists(st.sampled_from(["a", "b", "c", "%61", "/", "/", "%2F"]), max_size=7).map(
    lambda pieces: "/" + "/".join(pieces).replace("///", "/")
)


def specificity(pattern: str, path: str) -> tuple[int, ...] | None:
    """Rank each step: 0 literal, 1 parameter, 2 tail. None where the pattern does not match."""
    wanted = [piece for piece in pattern.split("/") if piece] + [""] * pattern.endswith("/")
    given = [piece for piece in path.split("/") if piece] + [""] * path.endswith("/")
    ranks: list[int] = []
    for index, piece in enumerate(wanted):
        if index >= len(given):
            return None
        if piece.endswith(":path}"):
            return (*ranks, 2)
        if piece.startswith("{") and given[index]:
            ranks.append(1)
        elif piece == unquote_to_bytes(given[index]).decode():
            ranks.append(0)
        else:
            return None
    return tuple(ranks) if len(wanted) == len(given) else None


def takes(candidate: Route, method: str) -> int | None:
    """Rank how a route takes a method: 0 by name, 1 HEAD by GET, 2 by naming none."""
    if method in candidate.methods:
        return 0
    if method == "HEAD" and "GET" in candidate.methods:
        return 1
    return None if candidate.methods else 2


def expected(routes: list[Route], method: str, path: str) -> Route | Failure:
    ranked = [(rank, one) for one in routes if (rank := specificity(one.path, path)) is not None]
    if not ranked:
        return errors.ROUTE_NOT_FOUND
    best = min(rank for rank, _ in ranked)
    takers = [(takes(one, method), one) for rank, one in ranked if rank == best]
    able = [(rank, one) for rank, one in takers if rank is not None]
    return min(able, key=lambda pair: pair[0])[1] if able else errors.METHOD_NOT_ALLOWED


def found(table: Router, method: str, path: str) -> Match | Failure:
    try:
        return table.match(method, path)
    except Rejection as refused:
        return refused.failure


@given(st.lists(ROUTES, max_size=8), st.sampled_from(["GET", "POST", "HEAD", "PUT"]), PATHS)
@example([route("/a/b/{t:path}", "GET"), route("/{x}/b/")], "PUT", "/a/b/")
def test_the_table_agrees_with_a_slow_and_obvious_one(
    routes: list[Route], method: str, path: str
) -> None:
    result = found(Router(routes), method, path)
    answer = result.route if isinstance(result, Match) else result
    assert answer is expected(routes, method, path)


@given(st.lists(ROUTES, max_size=8), st.text())
def test_any_text_at_all_is_matched_or_refused(routes: list[Route], text: str) -> None:
    result = found(Router(routes), "GET", "/" + text)
    if isinstance(result, Match):
        raw = "/" + text
        assert all(value in raw for value in result.parameters.values())
        assert target_path(result) == raw


VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="%/#")


@given(st.lists(st.text(VISIBLE, min_size=1), min_size=1))
@example(["a;b", "c..d", "e\\f"])
@example(["..;"])
@example(["a\\.."])
def test_a_path_means_what_it_means_percent_encoded(pieces: list[str]) -> None:
    table = Router([route("/" + "/{x}" * len(pieces[:9])), route("/{t:path}")])
    encoded = ["".join(f"%{ord(each):02x}" for each in piece) for piece in pieces]
    plain = found(table, "GET", "/" + "/".join(pieces))
    twin = found(table, "GET", "/" + "/".join(encoded))
    if isinstance(plain, Match) and isinstance(twin, Match):
        assert plain.route is twin.route
    else:
        assert plain == twin


def test_a_path_may_be_as_deep_as_it_is_long() -> None:
    depth = 3000
    literal, parameter = route("/a" * depth + "/x"), route("/{b}" + "/a" * (depth - 1) + "/y")
    table = Router([literal, parameter])
    assert table.match("GET", "/a" * depth + "/x").route is literal
    assert table.match("GET", "/a" * depth + "/y").route is parameter
    refusal(table, "GET", "/a" * depth + "/z", errors.ROUTE_NOT_FOUND)
