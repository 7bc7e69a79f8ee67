import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.loader import path_pattern
from gateway.config.model import Kind, Segment


def literals(*texts: str) -> tuple[Segment, ...]:
    return tuple(Segment(Kind.LITERAL, text) for text in texts)


ID = Segment(Kind.PARAMETER, "id")
REST = Segment(Kind.TAIL, "rest")


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("/", literals("")),
        ("/a/b", literals("a", "b")),
        ("/a/b/", literals("a", "b", "")),
        ("/a%2Fb/%C3%A9", literals("a/b", "é")),
        ("/größe", literals("größe")),
        ("/jobs/{id}/stream", (*literals("jobs"), ID, *literals("stream"))),
        ("/files/{rest:path}", (*literals("files"), REST)),
        ("/{rest:path}", (REST,)),
        ("/healthz/", literals("healthz", "")),
        ("/%2A/a%2ab", literals("*", "a*b")),
        ("/{id}", (ID,)),
    ],
)
def test_a_path_is_read_in_segments(text: str, segments: tuple[Segment, ...]) -> None:
    assert path_pattern.path(text) == segments


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "start with a slash"),
        ("a/b", "start with a slash"),
        ("/a" * 2049, "longer than 4096"),
        ("/a?b=c", "no query"),
        ("/a#b", "no query"),
        ("/a b", "percent-encode it"),
        ("/a\x85", "percent-encode it"),
        ("/a\\b", "percent-encode it"),
        ("/50%", "a percent sign is %25"),
        ("/%zz", "a percent sign is %25"),
        ("/%FF", "not percent-encoded UTF-8"),
        ("/%00", "cannot hold %00"),
        ("/a/../b", "segments are not allowed"),
        ("/a/%2e%2E", "segments are not allowed"),
        ("/.", "segments are not allowed"),
        ("/a//b", "empty segment"),
        ("//", "empty segment"),
        ("/a{id}", "a whole segment"),
        ("/{id", "a whole segment"),
        ("/id}", "a whole segment"),
        ("/{id}{x}", "a whole segment"),
        ("/{}", "no parameter name"),
        ("/{1a}", "no parameter name"),
        ("/{id:int}", "or {name:path} for the tail"),
        ("/{rest:path}/x", "may only come last"),
        ("/{rest:path}/", "may only come last"),
        ("/{id}/x/{id}", "stands twice"),
        ("/healthz", "the gateway's own"),
        ("/files/*", "write '/files/{rest:path}'; for a star itself write %2A"),
        ("/files/**", "write '/files/{rest:path}'"),
        ("/files*", "write '/files/{rest:path}'"),
        ("/*", "write '/{rest:path}'"),
        ("/jobs/*/stream", "write '/jobs/{name}/stream'"),
        ("/jobs/*.json", "a parameter is a whole segment, such as '/jobs/{name}'"),
        ("/readyz", "the gateway's own"),
    ],
)
def test_a_path_that_could_not_work_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        path_pattern.path(text)


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_path_has_a_segment_for_each_slash_or_is_refused(text: str) -> None:
    try:
        segments = path_pattern.path("/" + text)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - the property is: segments, or a message
    else:
        assert len(segments) == text.count("/") + 1


def test_paths_that_differ_only_in_parameter_names_have_one_shape() -> None:
    assert path_pattern.shape(path_pattern.path("/a/{x}")) == path_pattern.shape(
        path_pattern.path("/%61/{y}")
    )
    assert path_pattern.shape(path_pattern.path("/a/{x}")) != path_pattern.shape(
        path_pattern.path("/a/{x:path}")
    )
    assert path_pattern.shape(path_pattern.path("/a/x")) != path_pattern.shape(
        path_pattern.path("/a/{x}")
    )


@pytest.mark.parametrize("path", ["/api", "/api/", "/api/v1", "/api/{id}", "/%61pi/{rest:path}"])
def test_a_prefix_of_whole_segments_can_be_stripped(path: str) -> None:
    assert path_pattern.prefix("/api", path_pattern.path(path)) == "/api"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("api", "start with a slash"),
        ("/", "must not end with a slash"),
        ("/api/", "must not end with a slash"),
        ("/ap", "does not start with this prefix"),
        ("/api/v1/x/y", "does not start with this prefix"),
        ("/api/{id}", "must be literal"),
    ],
)
def test_a_prefix_that_is_not_one_of_the_path_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        path_pattern.prefix(text, path_pattern.path("/api/v1/x"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("/v2/{id}/x", ("/v2/", ID, "/x")),
        ("/{id}", ("/", ID)),
        ("/{id}-{id}/{rest}", ("/", ID, "-", ID, "/", REST)),
        ("/x/{rest:path}", ("/x/", REST)),
        ("/a%20b", ("/a%20b",)),
    ],
)
def test_a_rewrite_is_read_in_text_and_parameters(
    text: str, parts: tuple[str | Segment, ...]
) -> None:
    assert path_pattern.template(text, (ID, REST)) == parts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v2", "start with a slash"),
        ("/v2?x=1", "no query"),
        ("/v2/{other}", r"not in the route's path, which has \{id\}, \{rest\}"),
        ("/v2/{id:path}", "not in the route's path"),
        ("/v2/{id", "brace without its partner"),
        ("/v2/é", "percent-encoded"),
        ("/v2/../x", "segments are not allowed"),
    ],
)
def test_a_rewrite_that_could_not_work_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        path_pattern.template(text, (ID, REST))
