import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config.loader import (
    ConfigError,
    auth_section,
    limits_section,
    load,
    loads,
    route_section,
)
from gateway.config.model import Config, Cors, Timeouts, Upstream

SIX_LINES = """\
# routes.yaml
- path: /api/v1/process/stream
  method: GET
  proxy_upstream: $PROCESSOR_SERVICE_URL
  auth_required: true
  timeout: 300s # Long timeout for streaming
  description: SSE progress stream
"""
ENVIRON = {"GATEWAY_JWT_SECRET": "s" * 32, "PROCESSOR_SERVICE_URL": "http://localhost:8081"}


def refused(text: str, environ: dict[str, str] | None = ENVIRON) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loads(text, environ)
    return [line.removeprefix("routes.yaml:") for line in str(caught.value).split("\n")]


def test_the_six_line_file_works_as_it_stands() -> None:
    config = loads(SIX_LINES, ENVIRON)
    (route,) = config.routes
    assert route.path == "/api/v1/process/stream"
    assert route.upstream == Upstream("http://localhost:8081", "http", "localhost", 8081)
    assert route.methods == {"GET", "HEAD"}
    assert route.auth_required
    assert route.timeouts == Timeouts(total=300.0)
    assert route.description == "SSE progress stream"
    assert route.line == 2
    assert config.auth.secret == "s" * 32


def test_with_an_empty_environment_each_variable_that_is_missing_is_named() -> None:
    unset, no_key = refused(SIX_LINES, {})
    assert unset == (
        "4:19: the environment variable PROCESSOR_SERVICE_URL is not set: set it, "
        "or write ${PROCESSOR_SERVICE_URL:-fallback}"
    )
    assert no_key == (
        "5:18: this route needs a token, and no key can verify one: set GATEWAY_JWT_SECRET in the "
        "environment, or auth.secret here, or auth_required: false"
    )


def test_without_an_environment_references_stay_and_keys_are_not_asked_for() -> None:
    (route,) = loads(SIX_LINES, None).routes
    assert route.upstream == Upstream("$PROCESSOR_SERVICE_URL")


def test_without_an_environment_all_else_is_checked() -> None:
    text = SIX_LINES.replace("300s", "300").replace("$PROCESSOR", "$-")
    assert [line[:4] for line in refused(text, None)] == ["4:19", "6:12"]


def test_the_mapping_form_has_the_same_routes() -> None:
    indented = "routes:\n" + SIX_LINES + "auth: {issuer: me}\n"
    config = loads(indented, ENVIRON)
    assert len(config.routes) == 1
    assert config.auth.issuer == "me"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[]", "1:1: the list is empty: it needs at least one route"),
        ("routes: []", "1:9: the list is empty: it needs at least one route"),
        ("routes:", "1:8: must be a list of routes, each starting with - path:"),
        ("auth: {}", "1:1: routes is missing: the file needs at least one"),
        ("just text", "1:1: must be a list of routes, or a mapping with routes:"),
        ("", "1:1: the file is empty: it needs at least one route"),
        ("- text", "1:3: must be a mapping, such as key: value"),
    ],
)
def test_a_file_without_routes_is_refused(text: str, fault: str) -> None:
    assert refused(text) == [fault]


def test_sections_that_are_not_known_or_not_there_yet_are_refused() -> None:
    text = "{routes: [{path: /a, proxy_upstream: http://a}], rutes: 1, auth: 1}"
    assert [line.split(": ", 1)[1] for line in refused(text)] == [
        "unknown key 'rutes': did you mean 'routes'?",
        "must be a mapping, such as key: value",
    ]


CORS_ROUTES = """
routes:
- {path: /a, proxy_upstream: http://a}
- {path: /b, proxy_upstream: http://b, cors: none}
- {path: /c, proxy_upstream: http://c, cors: {origins: https://c.example}}
"""


def test_a_route_has_the_gateway_wide_cors_unless_it_has_its_own_or_none() -> None:
    config = loads(CORS_ROUTES + "cors: {origins: $PAGES}", {**ENVIRON, "PAGES": "https://a.dev"})
    assert config.cors == Cors(("https://a.dev",))
    assert [route.cors for route in config.routes] == [
        config.cors,
        None,
        Cors(("https://c.example",)),
    ]


def test_the_defaults_cors_goes_before_the_gateway_wide_one() -> None:
    text = CORS_ROUTES + "cors: {origins: https://a.dev}\ndefaults: {cors: {origins: '*'}}"
    config = loads(text, ENVIRON)
    assert config.cors == Cors(("https://a.dev",))
    assert config.routes[0].cors == Cors(("*",))


def test_a_file_is_known_by_the_digest_of_its_bytes(tmp_path: Path) -> None:
    file = tmp_path / "routes.yaml"
    file.write_bytes("\ufeff- {path: /, proxy_upstream: http://a, auth_required: false}".encode())
    assert load(file, {}).digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_without_cors_no_route_has_it() -> None:
    config = loads(SIX_LINES, ENVIRON)
    assert (config.cors, config.routes[0].cors) == (None, None)


def test_every_fault_of_the_file_is_reported_at_once_sorted_by_place() -> None:
    text = """
routes:
- path: api
  metod: GET
  timeout: 300
- path: /b/{id}
  proxy_upstream: http://u:p@h
- text
- path: /b/{other}
  proxy_upstream: $NOWHERE
defaults: {connect_timeout: 5}
auth: {leeway: 5}
"""
    assert [line.split(" ")[0] for line in refused(text)] == [
        "3:3:",
        "3:9:",
        "4:3:",
        "5:12:",
        "7:19:",
        "8:3:",
        "9:9:",
        "10:19:",
        "11:29:",
        "12:16:",
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("path: /a", "path: /a"),
        ("path: /a, method: GET", "path: /a"),
        ("path: /a, method: GET", "path: /a, method: [POST, HEAD]"),
        ("path: '/j/{id}'", "path: '/j/{job}'"),
        ("path: /a%2Db", "path: /a-b"),
    ],
)
def test_routes_that_answer_the_same_requests_are_refused(first: str, second: str) -> None:
    text = "".join(f"- {{{each}, proxy_upstream: http://a}}\n" for each in (first, second))
    assert refused(text) == ["2:10: the route in line 1 has the same path and method: remove one"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("path: /a, method: GET", "path: /a, method: POST"),
        ("path: /a", "path: /a/"),
        ("path: '/j/{id}'", "path: /j/id"),
        ("path: '/j/{id}'", "path: '/j/{id:path}'"),
    ],
)
def test_routes_that_differ_stand_side_by_side(first: str, second: str) -> None:
    text = "".join(f"- {{{each}, proxy_upstream: http://a}}\n" for each in (first, second))
    assert len(loads(text, ENVIRON).routes) == 2


def test_a_broken_route_hides_no_duplicate() -> None:
    text = (
        "- {path: /a, proxy_upstream: http://a, bogus: 1}\n- {path: /a, proxy_upstream: http://a}"
    )
    assert len(refused(text)) == 2


def test_a_route_with_an_unreadable_method_is_no_duplicate() -> None:
    text = "- {path: /a, proxy_upstream: http://a, method: '*'}\n- {path: /a, proxy_upstream: $X}"
    assert [line[:4] for line in refused(text)] == ["1:48", "2:30"]


def test_a_missing_key_is_reported_once_at_the_first_route_that_needs_it() -> None:
    text = """
- {path: /a, proxy_upstream: http://a, auth_required: false}
- {path: /b, proxy_upstream: http://a}
- {path: /c, proxy_upstream: http://a, auth_required: true}
"""
    (fault,) = refused(text, {})
    assert fault.startswith("3:3: this route needs a token")
    assert "GATEWAY_JWT_SECRET" in fault


def test_a_missing_public_key_is_reported_as_that() -> None:
    text = "{auth: {algorithms: RS256}, routes: [{path: /b, proxy_upstream: http://a}]}"
    (fault,) = refused(text)
    assert "give auth.public_key" in fault


TOKENS = "token_endpoint: /auth/stream-token"
PUBLIC = f"algorithms: RS256, jwks_url: https://a/k, {TOKENS}"
PRIVATE_ROUTE = "routes: [{path: /a, proxy_upstream: http://a}]"


def test_the_limits_are_read() -> None:
    config = loads(f"{{limits: {{redis: $X}}, {PRIVATE_ROUTE}}}", ENVIRON | {"X": "redis://r:1/2"})
    assert config.limits.redis == "redis://r:1/2"


def test_keys_that_are_fetched_are_keys() -> None:
    config = loads(f"{{auth: {{{PUBLIC}}}, {PRIVATE_ROUTE}}}", ENVIRON)
    assert (config.auth.jwks_url, config.auth.secret) == ("https://a/k", None)
    assert config.auth.token_endpoint == "/auth/stream-token"


@pytest.mark.parametrize("path", ["/auth/stream-token", "/auth/stream%2Dtoken"])
def test_a_route_that_the_token_endpoint_would_hide_is_refused(path: str) -> None:
    routes = f"routes: [{{path: /a, proxy_upstream: http://a}}, {{path: {path}}}]"
    faults = refused(f"{{auth: {{{TOKENS}}}, defaults: {{proxy_upstream: http://a}}, {routes}}}")
    assert [fault.partition(": ")[2] for fault in faults] == [
        "/auth/stream-token is the auth.token_endpoint: choose another path"
    ]


def test_a_route_may_take_the_paths_around_the_token_endpoint() -> None:
    routes = "routes: [{path: '/{rest:path}', proxy_upstream: http://a}]"
    assert loads(f"{{auth: {{{TOKENS}}}, {routes}}}", ENVIRON).routes


@pytest.mark.parametrize(
    ("sections", "cause"),
    [
        ("probe: p", "must start with a slash"),
        ("probe: '/{x}'", "a path without parameters"),
        ("probe: /readyz", "the gateway's own"),
        ("probe: /a", "/a is the probe: choose another path"),
        (f"probe: /auth/stream-token, auth: {{{TOKENS}}}", "is the auth.token_endpoint"),
        ("probe: /p, auth: {query: false, bearer: false}", "turn on query or bearer"),
    ],
)
def test_a_path_that_the_probe_cannot_have_is_refused(sections: str, cause: str) -> None:
    (fault,) = refused(f"{{{sections}, {PRIVATE_ROUTE}}}")
    assert cause in fault


def test_the_path_of_the_probe_is_read() -> None:
    assert loads(f"{{probe: /p, {PRIVATE_ROUTE}}}", ENVIRON).probe == "/p"
    assert loads(f"{{{PRIVATE_ROUTE}}}", ENVIRON).probe is None


def test_replicas_that_share_used_tokens_need_a_key_in_common() -> None:
    def text(auth: str) -> str:
        return f"{{limits: {{redis: redis://r}}, auth: {{{auth}}}, {PRIVATE_ROUTE}}}"

    (fault,) = refused(text(PUBLIC))
    assert "set auth.stream_token_secret, the same on each" in fault
    assert loads(text(PUBLIC + ", stream_token_secret: " + "s" * 32), ENVIRON)
    assert loads(text(TOKENS), ENVIRON)
    assert loads(text(PUBLIC), None)


def test_open_routes_need_no_key() -> None:
    text = "- {path: /a, proxy_upstream: http://a, auth_required: false}"
    assert loads(text, {}).auth.secret is None


def test_a_file_is_loaded_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("\ufeff" + SIX_LINES, encoding="utf-8")
    config = load(path, ENVIRON)
    assert config.source == str(path)
    path.write_text("- 1\n")
    with pytest.raises(ConfigError, match=r"my\.yaml:1:3: must be a mapping"):
        load(path, ENVIRON)


def test_a_key_file_is_looked_for_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text("{auth: {algorithms: RS256, public_key: k.pem}, routes: [{path: /}]}")
    (tmp_path / "k.pem").write_text("-----BEGIN CERTIFICATE-----")
    with pytest.raises(ConfigError, match="this is a certificate"):
        load(path, ENVIRON)


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(ConfigError) as caught:
            load(path, ENVIRON)
        assert str(caught.value).startswith(f"{path}: cannot be read: ")


def test_a_file_that_is_no_text_is_refused_where_it_breaks(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_bytes(b"- a\n- b\xff")
    with pytest.raises(ConfigError, match=r"routes\.yaml:2:4: the file is not UTF-8 text"):
        load(path, ENVIRON)


def test_too_large_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "routes.yaml"
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigError, match=r"routes\.yaml: the file is over 1 MiB"):
        load(path, ENVIRON)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(
        [
            *(
                "/a",
                "/a/{id}",
                "/{rest:path}",
                "GET",
                "http://a",
                "http://[",
                "unix:/s",
                "$X",
                "${",
            ),
            *("300s", "none", "10MiB", "HS256", "RS256", "key.pem", "-----BEGIN PUBLIC KEY-----"),
            *("10.0.0.0/8", "https://a/k", "redis://a", "X-A", "Host", "a b", "s" * 32),
        ]
    )
)
KEYS = st.sampled_from(
    [
        *("routes", "defaults", "auth", "cors", "set", "remove", "sub", "<<"),
        *route_section.TABLE.keys,
        *route_section.LATER,
        *auth_section.TABLE.keys,
        *limits_section.TABLE.keys,
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | SCALARS, inner, max_size=4),
    max_leaves=8,
)


def section(keys: Collection[str]) -> st.SearchStrategy[Any]:
    return VALUES | st.dictionaries(st.sampled_from(tuple(keys)), VALUES, max_size=6)


DOCUMENTS = st.fixed_dictionaries(
    {"routes": st.lists(section(route_section.TABLE.keys), max_size=3)},
    optional={
        "defaults": section(route_section.TABLE.keys),
        "auth": section(auth_section.TABLE.keys),
        "limits": section(limits_section.TABLE.keys),
    },
)


def check_outcome(text: str, environ: dict[str, str] | None) -> None:
    try:
        config = loads(text, environ)
    except ConfigError as error:
        lines = str(error).split("\n")
        assert 0 < len(lines) == len(error.faults)  # noqa: PT017 - a config, or faults
    else:
        assert isinstance(config, Config)
        assert config.routes


@given(st.text(), st.sampled_from([None, {}, ENVIRON]))
def test_any_text_is_a_config_or_has_faults(text: str, environ: dict[str, str] | None) -> None:
    check_outcome(text, environ)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(DOCUMENTS, st.sampled_from([None, {"X": "http://a"}, ENVIRON]))
def test_any_structure_is_a_config_or_has_faults(
    document: dict[str, Any], environ: dict[str, str] | None
) -> None:
    check_outcome(yaml.safe_dump(document), environ)
