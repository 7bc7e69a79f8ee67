"""The schema, the loader and the pages have the same keys, and take the same values for them."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.config.loader import KEYS as TOP
from gateway.config.loader import (
    ConfigError,
    auth_section,
    cors_section,
    header_rules,
    limits_section,
    loads,
    route_section,
    schema_types,
    stream_section,
    upstream_section,
)
from gateway.config.schema import schema, schema_text

ROOT = Path(__file__).parents[3]
PAGES = "\n".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))
ENVIRON = {"GATEWAY_JWT_SECRET": "s" * 32, "SERVICE": "http://service"}
VALIDATOR = Draft202012Validator(schema())

ROUTE: Mapping[str, Any] = {"path": "/a", "proxy_upstream": "$SERVICE"}
ORIGINS = {"origins": "https://app.example"}
# Each section's keys, with a file of which that section is a part.
SECTIONS: Mapping[str, tuple[schema_types.Keys, Any]] = {
    "": (TOP, lambda top: {"routes": [ROUTE], **top}),
    "route": (route_section.TABLE.keys, lambda route: [{**ROUTE, **route}]),
    "defaults": (
        route_section.TABLE.without("path").keys,
        lambda it: {"routes": [ROUTE], "defaults": it},
    ),
    "stream": (stream_section.TABLE.keys, lambda stream: [{**ROUTE, "stream": stream}]),
    "cors": (cors_section.TABLE.keys, lambda cors: [{**ROUTE, "cors": {**ORIGINS, **cors}}]),
    "rules": (header_rules.TABLE.keys, lambda rules: [{**ROUTE, "request_headers": rules}]),
    "health_check": (
        upstream_section.TABLE.keys,
        lambda check: [{**ROUTE, "health_check": {"path": "/healthz", **check}}],
    ),
    "auth": (auth_section.TABLE.keys, lambda auth: {"routes": [ROUTE], "auth": auth}),
    "limits": (limits_section.TABLE.keys, lambda limits: {"routes": [ROUTE], "limits": limits}),
    "route_limits": (
        limits_section.ROUTE_TABLE.keys,
        lambda limits: [{**ROUTE, "limits": {"rate": "1/s", **limits}}],
    ),
}
LATER = {*route_section.LATER}


def is_taken_by_schema(text: str) -> bool:
    return bool(VALIDATOR.is_valid(yaml.safe_load(text)))


def is_taken_by_loader(text: str) -> bool:
    try:
        loads(text, ENVIRON)
    except ConfigError:
        return False
    return True


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())


def test_the_file_beside_the_readme_is_what_the_command_prints() -> None:
    committed = (ROOT / "docs" / "routes.schema.json").read_text()
    assert committed == schema_text() + "\n", "gateway schema > docs/routes.schema.json"


def test_the_sample_says_where_its_schema_is() -> None:
    first = (ROOT / "routes.yaml").read_text().splitlines()[0]
    place = first.removeprefix("# yaml-language-server: $schema=")
    assert json.loads((ROOT / place).read_text()) == schema()


# One set of keys


def table_keys(title: str) -> set[str]:
    """The keys in the first column of the pages' table of that title."""
    table = re.search(rf"^\| {re.escape(title)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGES, re.MULTILINE)
    assert table, f"docs/ has no table '| {title} | meaning | default |'"
    cells = (row.split("|")[1] for row in table[1].splitlines())
    return {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}


def example_keys(name: str) -> set[str]:
    """The keys of a section that a page shows in an example, also those commented out."""
    example = re.search(rf"^```yaml\n{name}:\n(.*?)^```", PAGES, re.MULTILINE | re.DOTALL)
    assert example
    return set(re.findall(r"^  (?:# )?(\w+): ", example[1], re.MULTILINE))


@pytest.mark.parametrize(
    ("keys", "reported"),
    [
        (route_section.TABLE.keys, table_keys("key of a route")),
        (stream_section.TABLE.keys, table_keys("key of `stream`")),
        (cors_section.TABLE.keys, table_keys("key of `cors`")),
        (upstream_section.TABLE.keys, table_keys("key of `health_check`")),
        (limits_section.TABLE.keys, table_keys("key of `limits`")),
        (limits_section.ROUTE_TABLE.keys, table_keys("key of `limits` in a route")),
        (auth_section.TABLE.keys, example_keys("auth")),
        (auth_section.TABLE.keys, table_keys("key of `auth`")),
        (header_rules.TABLE.keys, table_keys("key of a header rule")),
    ],
    ids=[
        "route",
        "stream",
        "cors",
        "health_check",
        "limits",
        "route_limits",
        "auth example",
        "auth",
        "header_rules",
    ],
)
def test_the_pages_have_each_key_and_no_other(keys: schema_types.Keys, reported: set[str]) -> None:
    assert reported == set(keys)


def test_the_pages_name_the_sections_of_a_file() -> None:
    assert {name for name in TOP if f"`{name}:`" in PAGES} == set(TOP)


def properties(node: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every key that the schema knows anywhere, with its shape."""
    if isinstance(node, list):
        for item in node:
            yield from properties(item)
    elif isinstance(node, dict):
        yield from node.get("properties", {}).items()
        for item in node.values():
            yield from properties(item)


def test_the_schema_has_the_keys_of_the_loader_and_of_no_later_version() -> None:
    known = {key for keys, _ in SECTIONS.values() for key in keys}
    reported = {key for key, _ in properties(schema())}
    assert reported == known
    assert not LATER & {*table_keys("key of a route"), *table_keys("key of `limits`")}
    assert not LATER - {"limits"} & reported  # a route's `limits` is not the gateway's


def test_each_key_is_described() -> None:
    bare = {
        key for keys, _ in SECTIONS.values() for key, of in keys.items() if "description" not in of
    }
    assert bare == set()


# One set of values


@pytest.mark.parametrize(
    "file", ["routes.yaml", "gateway/sample/routes.yaml", "deploy/welcome.yaml"]
)
def test_our_own_files_are_taken(file: str) -> None:
    assert is_taken_by_schema((ROOT / file).read_text())


def examples() -> list[str]:
    """What the pages show of a routes.yaml: whole files, and sections of one."""
    shown = re.findall(r"^```yaml\n(.*?)^```", PAGES, re.MULTILINE | re.DOTALL)
    routes = "routes: [{path: /a, proxy_upstream: $SERVICE}]\n"
    return [
        text if text.startswith(("#", "-")) else routes + text for text in shown if text[0] != " "
    ]


@pytest.mark.parametrize("text", examples())
def test_the_examples_of_the_pages_are_taken(text: str) -> None:
    VALIDATOR.validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    ("text", "is_good"),
    [
        ("- {path: /a}", False),
        ("{routes: [{path: /a}]}", False),
        ("{routes: [{path: /a}], defaults: {}}", False),
        ("{routes: [{path: /a}], defaults: {proxy_upstream: $SERVICE}}", True),
        ("- {proxy_upstream: $SERVICE}", False),
        ("{routes: []}", False),
        ("[]", False),
        ("{}", False),
        ("text", False),
        ("- {path: /a, proxy_upstream: $SERVICE, cors: none}", True),
        ("- {path: /a, proxy_upstream: $SERVICE, cors: {}}", False),
        ("- {path: /a, proxy_upstream: $SERVICE, stream: false}", True),
        ("- {path: /a, proxy_upstream: $SERVICE, timeout: 1h30m}", True),
        ("- {path: /a, proxy_upstream: $SERVICE, timeout: '300'}", False),
        ("- {path: /a, proxy_upstream: $SERVICE, timeout: $SERVICE}", False),
        ("- {path: /a, proxy_upstream: $SERVICE, max_body: 10MiB}", True),
        ("- {path: /a, proxy_upstream: $SERVICE, max_body: 10 MiB}", False),
        ("- {path: /a, proxy_upstream: $SERVICE, method: [get, POST]}", True),
        ("- {path: /a, proxy_upstream: service:80}", False),
        ("- {path: /a, proxy_upstream: [$SERVICE, 'unix:/service.sock']}", True),
        ("- {path: /a, proxy_upstream: 'http://one, http://two'}", True),
        ("- {path: /a, proxy_upstream: []}", False),
        ("- {path: /a, proxy_upstream: [$SERVICE, service:80]}", False),
        ("- {path: /a, proxy_upstream: $SERVICE, balance: least_streams}", True),
        ("- {path: /a, proxy_upstream: $SERVICE, balance: random}", False),
        ("- {path: /a, proxy_upstream: $SERVICE, retries: 0}", True),
        ("- {path: /a, proxy_upstream: $SERVICE, retries: '10'}", True),
        ("- {path: /a, proxy_upstream: $SERVICE, retries: 11}", False),
        ("- {path: /a, proxy_upstream: $SERVICE, health_check: none}", True),
        ("- {path: /a, proxy_upstream: $SERVICE, health_check: {interval: 1s}}", False),
        ("- {path: /a, proxy_upstream: $SERVICE, health_check: {path: healthz}}", False),
    ],
)
def test_schema_and_loader_agree(text: str, is_good: bool) -> None:
    assert (is_taken_by_schema(text), is_taken_by_loader(text)) == (is_good, is_good)


PLACES = [(name, key) for name, (keys, _) in SECTIONS.items() for key in keys]
KEY = st.sampled_from(PLACES)
WRONG: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    7,
    1.5,
    [],
    [None],
    [7],
    [[]],
    {},
    {"x-a": 7},
    {"x-a": None},
)
NOT_TEXT = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.just(1.5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.just("x-a"), inner, max_size=1),
    max_leaves=3,
)


@pytest.mark.parametrize(("name", "key"), PLACES)
def test_they_agree_on_what_is_no_text(name: str, key: str) -> None:
    texts = [yaml.safe_dump(SECTIONS[name][1]({key: value})) for value in WRONG]
    schemas = [is_taken_by_schema(text) for text in texts]
    assert schemas == [is_taken_by_loader(text) for text in texts], texts


@given(KEY, NOT_TEXT)
def test_they_agree_on_the_type_of_each_key(place: tuple[str, str], value: Any) -> None:
    name, key = place
    text = yaml.safe_dump(SECTIONS[name][1]({key: value}))
    assert is_taken_by_schema(text) == is_taken_by_loader(text), text


@given(KEY, st.sampled_from(["s", "_", "x"]) | st.sampled_from(sorted(LATER)))
def test_they_agree_on_keys_that_are_unknown(place: tuple[str, str], change: str) -> None:
    name, key = place
    keys, file = SECTIONS[name]
    unknown = change if change in LATER else key + change
    if unknown not in keys:
        text = yaml.safe_dump(file({unknown: "x"}))
        assert not is_taken_by_schema(text), text
        assert not is_taken_by_loader(text), text
