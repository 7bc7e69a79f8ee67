"""Modules import downwards only, and can be imported without a warning."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway

PACKAGE = Path(gateway.__file__).parent

# A module imports only those above it.
ORDER = [
    "background",
    "dns",
    "dial",
    "errors",
    "config",
    "units",
    "loader.faults",
    "loader.document",
    "loader.environment",
    "loader.section",
    "loader.shape",
    "loader.header_rules",
    "loader.address",
    "loader.method",
    "loader.cors_section",
    "loader.pattern",
    "loader.verification_key",
    "loader.auth_section",
    "loader.stream_section",
    "loader.limits_section",
    "loader.route_limits",
    "loader.upstream_section",
    "loader.route_section",
    "loader",
    "headers",
    "cors",
    "client",
    "matching",
    "credentials",
    "keys",
    "jwks",
    "stream_tokens",
    "auth",
    "origin",
    "log_writer",
    "logs",
    "open_files",
    "redis_client",
    "used_tokens",
    "redis_tokens",
    "channel",
    "meter",
    "quota",
    "redis_ledger",
    "quotas",
    "asking",
    "account",
    "tally",
    "reconnect",
    "answer",
    "health",
    "alarm",
    "issuer",
    "gate",
    "claims",
    "outlet",
    "streams",
    "exposition",
    "hangup",
    "turned_away",
    "switched",
    "headcount",
    "admission",
    "head_bound",
    "accept",
    "server",
    "incoming",
    "otel",
    "tracing",
    "token_endpoint",
    "chunked",
    "response",
    "http1",  # what upstream and pipe speak with
    "heads",
    "standing",
    "upstream_check",
    "upstream",
    "metrics",
    "report",
    "listing",
    "pulse",
    "status_page",
    "ops",
    "balancer",
    "deadlines",
    "pipe",
    "events",
    "heartbeat",
    "event_pipe",
    "frames",
    "tunnel",
    "relay",
    "preflight",
    "prepared",
    "probe_endpoint",
    "handler",
    "source",
    "reload",
    "doors",
    "app",
    "worker",
    "member",
    "muster",
    "liveness",
    "supervisor",
    "cores",
    "schema",
    "probe",
    "probe.observation",
    "probe.findings",
    "probe.mends",
    "probe.streams",
    "probe.report",
    "demo",
    "cli",
    "__main__",
]

SAMPLE = "sample"  # a model for service authors to lift out: it imports nothing of the rest
USERS_OF_SAMPLE = {"cli", "demo"}
APART = {"__init__", "healthcheck"}  # these import nothing of the package, nor does it need them


def module_name(file: Path) -> str:
    """Give the dotted name inside the package: `pipe`, `loader` or `loader.document`."""
    name = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix(".__init__")


FILES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def top(name: str) -> str:
    return name.partition(".")[0]


ORDERED = sorted(name for name in FILES if name not in APART and top(name) != SAMPLE)


def imports(name: str) -> Iterator[str]:
    """Give the modules of the package that this one imports anywhere, also inside a function."""
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=aliases):
                targets = [alias.name for alias in aliases]
            case ast.ImportFrom(module=module, names=aliases, level=level):
                here = [
                    "gateway",
                    *name.split("."),
                    *["__init__"] * (FILES[name].stem == "__init__"),
                ]
                origin = [*(here[:-level] if level else []), *([module] if module else [])]
                targets = [".".join([*origin, alias.name]) for alias in aliases]
            case _:
                continue
        for target in targets:
            package, _, inside = target.partition(".")
            if package == "gateway" and inside:
                yield inside


def module_of(target: str) -> str:
    """Give the module that an imported name is, or is in."""
    return target if target in FILES else target.rpartition(".")[0]


@pytest.mark.parametrize("name", ORDERED)
def test_a_module_has_its_place_in_the_order(name: str) -> None:
    assert name in ORDER, f"add {name!r} to ORDER in {__file__}, below all that it imports"


def test_the_order_names_no_module_that_is_gone() -> None:
    assert set(ORDER) <= set(ORDERED)


@pytest.mark.parametrize("name", ORDERED)
def test_a_module_imports_only_those_above_it(name: str) -> None:
    used = {module_of(target) for target in imports(name)}
    if name in USERS_OF_SAMPLE:
        used = {module for module in used if top(module) != SAMPLE}
    assert used <= set(ORDER[: ORDER.index(name)])


@pytest.mark.parametrize("name", sorted(APART))
def test_a_module_that_stands_apart_imports_nothing_of_the_package(name: str) -> None:
    assert not list(imports(name))


@pytest.mark.parametrize("name", [name for name in FILES if top(name) == SAMPLE])
def test_the_sample_imports_nothing_of_the_rest(name: str) -> None:
    assert {top(target) for target in imports(name)} <= {SAMPLE}


def test_the_imports_of_a_module_are_found() -> None:
    assert set(imports("__main__")) == {"cli.main"}
    assert any(target.startswith("sample.login") for target in imports("sample.backend"))


# Each after those that it may import alone, so that none leans on what another one brings.
IMPORT_IN_ORDER = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
"""


def test_modules_can_be_imported_without_a_warning() -> None:
    names = [f"gateway.{name}" for name in [*ORDER, *APART - {"__init__"}] if name != "__main__"]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_IN_ORDER, *names],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
