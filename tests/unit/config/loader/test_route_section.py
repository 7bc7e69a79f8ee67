import pytest

from gateway.config.loader import loads
from gateway.config.loader.faults import ConfigError
from gateway.config.model import (
    HeaderRules,
    HealthCheck,
    Kind,
    Route,
    Segment,
    StreamOptions,
    Timeouts,
    Upstream,
)

ENVIRON = {"GATEWAY_JWT_SECRET": "s" * 32, "JOBS": "http://jobs:81"}


def route(more: str = "", path: str = "/api/{id}", defaults: str = "{}") -> Route:
    text = f"""
defaults: {defaults}
routes:
- path: {path}
  proxy_upstream: http://jobs
{more}"""
    return loads(text, ENVIRON).routes[0]


def refused(more: str, path: str = "/api/{id}", defaults: str = "{}") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        route(more, path, defaults)
    return [fault.message for fault in caught.value.faults]


def test_a_route_needs_only_a_path_and_an_upstream() -> None:
    assert route() == Route(
        path="/api/{id}",
        segments=(Segment(Kind.LITERAL, "api"), Segment(Kind.PARAMETER, "id")),
        upstream=Upstream(url="http://jobs", host="jobs", port=80),
        line=4,
    )


def test_every_key_is_read() -> None:
    read = route(
        """
  method: [get, POST]
  rewrite: /v2/{id}
  scopes: [jobs:read]
  timeout: none
  connect_timeout: 1s
  first_byte_timeout: 2s
  idle_timeout: 60s
  send_timeout: 3s
  request_headers: {set: {X-A: b}}
  response_headers: {remove: [Server]}
  preserve_host: true
  max_body: 4096
  stream: {heartbeat: 15s}
  balance: least_streams
  retries: 0
  health_check: {path: /healthz}
  description: 2024
"""
    )
    assert read.methods == {"GET", "HEAD", "POST"}
    assert read.rewrite == ("/v2/", Segment(Kind.PARAMETER, "id"))
    assert read.scopes == ("jobs:read",)
    assert read.timeouts == Timeouts(None, 60.0, 60.0, 1.0, 2.0, 3.0)
    assert read.request_headers == HeaderRules(set=(("X-A", "b"),))
    assert read.response_headers == HeaderRules(remove=("Server",))
    assert read.preserve_host
    assert read.max_body == 4096
    assert read.stream == StreamOptions(heartbeat=15.0)
    assert (read.balance, read.retries) == ("least_streams", 0)
    assert read.health_check == HealthCheck("/healthz")
    assert read.description == "2024"


def test_a_timeout_that_is_given_holds_for_event_streams_too() -> None:
    assert route("  timeout: 5m").timeouts == Timeouts(total=300.0)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("  method: CONNECT", "tunnels"),
        ("  method: '*'", "remove the key"),
        ("  method: [GET, any]", "remove the key"),
        ("  method: 'GE T'", "is not a method"),
        ("  method: GTE", "'GTE' is not a method: did you mean GET?"),
        ("  method: [GET, 7]", "'7' is not a method: name one"),
        ("  method: 'GET,POST'", "is not a method"),
        ("  method: []", "the list is empty"),
        ("  method: {}", "must be text"),
        ("  strip_prefix: /other", "does not start with this prefix"),
        ("  rewrite: /{name}", "not in the route's path"),
        ("  rewrite: /x\n  strip_prefix: /api", "exclude each other"),
        ("  auth_required: 'yes'", "must be true or false"),
        ("  auth_required: false\n  scopes: a", "scopes need a token"),
        ("  auth_required: false\n  stream: {close_on_token_expiry: true}", "needs a token"),
        ("  stream: {heartbeat: 15}", "such as 15s"),
        ("  stream: [heartbeat]", "must be a mapping"),
        ("  scopes: a b", "give several as a list"),
        ("  scopes: [é]", "is not one scope"),
        ("  scopes: ['']", "is not one scope"),
        ("  timeout: 300", "such as 300s"),
        ("  idle_timeout: 0s", "from 1ms"),
        ("  send_timeout:", "has no value"),
        ("  max_body: 0", "from 1 byte"),
        ("  request_headers: {set: {Host: x}}", "use preserve_host"),
        ("  preserve_host: x", "must be true or false"),
        ("  description: [x]", "must be text"),
        ("  balance: random", "must be round_robin or least_streams"),
        ("  retries: -1", "must be a number from 0 to 10"),
        ("  health_check: /healthz", "must be a mapping"),
        ("  metod: GET", "did you mean 'method'?"),
        ("  path: /x", "duplicate key 'path'"),
    ],
)
def test_a_value_that_could_not_work_is_refused(more: str, message: str) -> None:
    (fault,) = refused(more)
    assert message in fault


@pytest.mark.parametrize("key", ["resume"])
def test_a_key_of_later_versions_is_refused_as_that(key: str) -> None:
    assert refused(f"  {key}: 1") == [f"this version does not support '{key}'"]


def test_a_rule_for_what_cors_writes_is_refused() -> None:
    rules = "  response_headers: {set: {access-control-allow-origin: '*', X-A: b}}"
    assert route(rules).response_headers.set
    (fault,) = refused(f"{rules}\n  cors: {{origins: '*'}}")
    assert fault.startswith("access-control-allow-origin is written by cors: remove it here")


def test_three_bad_keys_are_three_faults() -> None:
    assert len(refused("  timeout: 1\n  method: '*'\n  bogus: 1")) == 3


def test_a_bad_path_hides_no_other_fault() -> None:
    assert len(refused("  rewrite: []\n  timeout: 1", path="api")) == 3


@pytest.mark.parametrize("key", ["path", "proxy_upstream"])
def test_a_route_without_path_or_upstream_is_refused_where_it_starts(key: str) -> None:
    entry = {"path": "proxy_upstream: http://jobs", "proxy_upstream": "path: /a"}[key]
    with pytest.raises(ConfigError) as caught:
        loads(f"\n- {entry}\n", ENVIRON)
    assert str(caught.value) == f"routes.yaml:2:3: {key} is missing"


def test_a_list_of_upstreams_is_read_in_its_order() -> None:
    (read,) = loads("- {path: /a, proxy_upstream: [http://a, $JOBS]}", ENVIRON).routes
    assert read.upstreams == (
        Upstream("http://a", "http", "a", 80),
        Upstream("http://jobs:81", "http", "jobs", 81),
    )


def test_a_list_without_its_environment_is_shown_as_it_is_written() -> None:
    (read,) = loads("- {path: /a, proxy_upstream: [http://a, $JOBS, $MORE]}", None).routes
    assert [upstream.url for upstream in read.upstreams] == ["http://a", "$JOBS", "$MORE"]


def test_the_upstream_comes_from_the_environment() -> None:
    (read,) = loads("- {path: /a, proxy_upstream: $JOBS/v1}", ENVIRON).routes
    assert read.upstream == Upstream("http://jobs:81/v1", "http", "jobs", 81, "/v1")


def test_defaults_fill_in_what_a_route_leaves_out() -> None:
    read = route("  timeout: 1s", defaults="{timeout: 9s, idle_timeout: 8s, method: GET}")
    assert read.timeouts.total == 1.0
    assert read.timeouts.idle == 8.0
    assert read.methods == {"GET", "HEAD"}


def test_defaults_may_name_the_upstream() -> None:
    config = loads("{defaults: {proxy_upstream: $JOBS}, routes: [{path: /a}]}", ENVIRON)
    assert config.routes[0].upstream.host == "jobs"


def test_a_fault_of_the_defaults_is_reported_once_and_even_where_no_route_inherits_it() -> None:
    for more in ("  timeout: 1s", ""):
        assert len(refused(more + "\n  bogus: 1", defaults="{timeout: 5, path: /x}")) == 3


def test_a_faulty_default_is_not_also_missing() -> None:
    with pytest.raises(ConfigError) as caught:
        loads("{defaults: {proxy_upstream: jobs}, routes: [{path: /a}, {path: /b}]}", ENVIRON)
    assert len(caught.value.faults) == 1


def test_a_routes_own_path_change_goes_before_that_of_the_defaults() -> None:
    read = route("  rewrite: /x", defaults="{strip_prefix: /api}")
    assert (read.strip_prefix, read.rewrite) == ("", ("/x",))
    assert route(defaults="{strip_prefix: /api}").strip_prefix == "/api"


def test_both_path_changes_in_the_defaults_are_refused() -> None:
    assert refused("", defaults="{strip_prefix: /api, rewrite: /x}") == [
        "strip_prefix and rewrite exclude each other: keep one"
    ]


def test_scopes_of_the_defaults_are_given_up_by_an_empty_list() -> None:
    assert "scopes: []" in refused("  auth_required: false", defaults="{scopes: [a]}")[0]
    assert route("  auth_required: false\n  scopes: []", defaults="{scopes: [a]}").scopes == ()


def test_a_routes_stream_options_replace_those_of_the_defaults_as_a_whole() -> None:
    defaults = "{stream: {heartbeat: 15s, error_event: message}}"
    assert route(defaults=defaults).stream == StreamOptions(15.0, "message")
    assert route("  stream: {heartbeat: 5s}", defaults=defaults).stream == StreamOptions(5.0)
    assert route("  stream: {}", defaults=defaults).stream == StreamOptions()


def test_a_faulty_stream_of_the_defaults_is_reported_where_it_stands() -> None:
    with pytest.raises(ConfigError) as caught:
        route(defaults="{stream: {heartbeat: 15, hartbeat: 1s}}")
    assert [(fault.line, fault.column) for fault in caught.value.faults] == [(2, 32), (2, 36)]
