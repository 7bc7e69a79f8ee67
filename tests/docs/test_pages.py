"""All keys, codes, events, metrics and options are in the pages, and what the pages show works."""

import argparse
import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from gateway import cli
from gateway.config import reference
from gateway.config.loader import loads
from gateway.http import errors
from gateway.telemetry.counters import Counters
from gateway.telemetry.exchange import EndReason, Exchange
from gateway.telemetry.prometheus import Snapshot
from tests.docs.pages import ROOT, TEXT, blocks, rows

PACKAGE = ROOT / "gateway"
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
ENVIRON = {
    "GATEWAY_JWT_SECRET": "s" * 32,
    "JOBS": "http://jobs:8081",
    "PROCESSOR_SERVICE_URL": "http://processor:8081",
    "REDIS_URL": "redis://redis:6379",
    "STREAM_TOKEN_SECRET": "t" * 32,
}
ROUTE = "routes: [{path: /a, proxy_upstream: 'http://service'}]\n"


def first_cells(name: str) -> set[str]:
    """Give the code words in the first cells of a page's tables."""
    return {word for row in rows(name) for word in re.findall(r"`([\w-]+)`", row[0])}


# Errors


def test_each_error_code_is_described_with_its_status() -> None:
    described = {tuple(row[:3]) for row in rows("docs/errors.md")}
    table = {each for each in vars(errors).values() if isinstance(each, errors.Failure)}
    assert {
        (str(int(each.status)), f"`{each.code}`", each.source.value) for each in table
    } <= described


def test_each_end_reason_is_described() -> None:
    assert {str(reason) for reason in EndReason} <= first_cells("docs/errors.md")


# Log events


def calls() -> Iterator[tuple[str, set[str]]]:
    """Give the event and the fields of each line that the gateway can log."""
    for file in PACKAGE.rglob("*.py"):
        if "sample" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log"), attr=level), args=arguments
                ) if level in LEVELS:
                    names = [each.value for each in arguments if isinstance(each, ast.Constant)]
                    fields = {each.arg for each in node.keywords if each.arg}
                    yield from ((str(name), fields - {"exc_info"}) for name in names)


@pytest.mark.parametrize(("event", "fields"), sorted(calls(), key=str))
def test_each_log_event_is_described_with_its_fields(event: str, fields: set[str]) -> None:
    if event == "request":
        return  # its fields are in a paragraph, and tested below
    [row] = [row for row in rows("docs/errors.md") if row[0] == f"`{event}`" and len(row) == 4]
    assert fields <= set(re.findall(r"`(\w+)`", row[2]))


def test_each_field_of_a_request_line_is_described() -> None:
    tree = ast.parse((PACKAGE / "telemetry" / "exchange.py").read_text(encoding="utf-8"))
    [method] = [
        each
        for each in ast.walk(tree)
        if isinstance(each, ast.FunctionDef) and each.name == "fields"
    ]
    fields = {
        each.value
        for node in ast.walk(method)
        if isinstance(node, ast.Dict | ast.Subscript)
        for each in (node.keys if isinstance(node, ast.Dict) else [node.slice])
        if isinstance(each, ast.Constant)
    }
    assert {"request_id", "code"} <= fields
    assert fields <= set(re.findall(r"`(\w+)`", TEXT["docs/errors.md"]))


# Metrics


def test_each_metric_is_described_and_no_other() -> None:
    counters = Counters()
    exchange = Exchange("GET", "/", "id-1", "", "")
    exchange.is_stream, exchange.events = True, 1
    counters.add(exchange, exchange.started + 1)
    snapshot = Snapshot(
        {"/": counters}, {}, {}, {}, "", 0, True, 1, {"exited": 0, "hung": 0}, 0, {}
    )
    body, _ = snapshot.encode("")
    served = set(re.findall(r"^# TYPE (gateway_\w+) ", body.decode(), re.MULTILINE))
    described = {name for name in first_cells("docs/metrics.md") if name.startswith("gateway_")}
    assert {name for name in served if not name.endswith("_created")} == described


# Commands and options


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in cli.parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


@pytest.mark.parametrize(("name", "parser"), list(commands()))
def test_each_command_and_its_options_are_described(
    name: str, parser: argparse.ArgumentParser
) -> None:
    everything = "\n".join(TEXT.values())
    assert re.search(rf"^\| `{name}\b", TEXT["README.md"], re.MULTILINE)
    options = [
        option
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--") and option != "--help"
    ]
    assert [option for option in options if option not in everything] == []


# Examples


@pytest.mark.parametrize(
    ("page", "text"),
    [(page, text) for page, text in blocks("yaml") if page != "frontend/README.md"],
)
def test_each_example_of_routes_yaml_is_taken_by_the_loader(page: str, text: str) -> None:
    read = yaml.safe_load(text)
    if isinstance(read, dict) and "routes" not in read:
        text = ROUTE + text
    assert loads(text, ENVIRON, page).routes


# Reference tables


@pytest.mark.parametrize("page", [name for name in TEXT if name.startswith("docs/")])
def test_the_tables_of_keys_are_up_to_date(page: str) -> None:
    assert TEXT[page] == reference.filled(TEXT[page]), (
        "python -m gateway.config.reference docs/*.md"
    )


def test_each_section_has_its_table_in_one_page() -> None:
    placed = [name for text in TEXT.values() for name in re.findall("<!-- keys: (.*?) -->", text)]
    assert sorted(placed) == sorted(reference.TABLES)


# Links


def anchors(text: str) -> set[str]:
    """Give the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links() -> Iterator[tuple[str, str]]:
    for name, text in TEXT.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not target.startswith(("http:", "https:")):
                yield name, target


@pytest.mark.parametrize(("page", "target"), sorted(set(links())))
def test_each_link_leads_somewhere(page: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    place = (ROOT / page).parent / path if path else ROOT / page
    assert place.exists()
    if anchor:
        assert anchor in anchors(Path(place).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_each_file_that_a_page_names_exists(name: str) -> None:
    named = re.findall(r"`((?:gateway|tests|docs|scripts|bench|frontend)/[\w./-]*)`", TEXT[name])
    assert named
    assert [each for each in named if not (ROOT / each).exists()] == []


def test_the_readme_is_short() -> None:
    assert len(TEXT["README.md"].splitlines()) <= 200
