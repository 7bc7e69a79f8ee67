"""Rooms import lower floors only, modules without circles, and none with a warning."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import gateway

PACKAGE = Path(gateway.__file__).parent

# The rooms of each floor, the lowest first. Rooms of one floor do not import one another.
FLOORS = [
    {"config", "http"},
    {"auth", "limits", "upstream", "telemetry"},
    {"server"},
    {"proxy"},
    {"endpoints"},
    {"runtime"},
]
ROOMS = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# Modules of the package root that rooms may import, because several rooms share them.
SHARED = {"background", "dns", "open_files", "redis_client"}
PROGRAMS = {"cli", "demo", "__main__"}
STAND_ALONE = {"healthcheck", "probe", "sample"}
# The rooms that import aiohttp: fetched keys, the ops port, the wiring.
USES_AIOHTTP = {"auth", "endpoints", "runtime"}

SAMPLE = "sample"  # a model for service authors to lift out: it imports nothing of the rest
USERS_OF_SAMPLE = {"cli", "demo"}
APART = {"__init__", "healthcheck"}  # these import nothing of the package, nor does it need them


def module_name(file: Path) -> str:
    """Give the dotted name inside the package: `cli`, `proxy` or `proxy.handler`."""
    name = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix(".__init__")


FILES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def top(name: str) -> str:
    return name.partition(".")[0]


def imports(name: str) -> Iterator[str]:
    """Give what this module imports of the package anywhere, also inside a function."""
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


def libraries_of(name: str) -> Iterator[str]:
    """Give the top-level packages that a module imports from elsewhere."""
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def module_of(target: str) -> str:
    """Give the module that an imported name is, or is in."""
    return target if target in FILES else target.rpartition(".")[0]


USED = {name: {module_of(target) for target in imports(name)} for name in FILES}


def without_circles() -> list[str]:
    """Give the modules, each after those that it imports."""
    return list(TopologicalSorter(USED).static_order())


def test_no_module_imports_itself_by_way_of_others() -> None:
    try:
        without_circles()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("name", sorted(APART))
def test_a_module_that_stands_apart_imports_nothing_of_the_package(name: str) -> None:
    assert not USED[name]


@pytest.mark.parametrize("name", [name for name in FILES if top(name) == SAMPLE])
def test_the_sample_imports_nothing_of_the_rest(name: str) -> None:
    assert {top(module) for module in USED[name]} <= {SAMPLE}


@pytest.mark.parametrize(
    "name", [name for name in FILES if top(name) not in {SAMPLE, *USERS_OF_SAMPLE}]
)
def test_the_rest_does_not_import_the_sample(name: str) -> None:
    assert SAMPLE not in {top(module) for module in USED[name]}


@pytest.mark.parametrize("name", FILES)
def test_every_module_is_in_a_room_or_has_its_place_at_the_root(name: str) -> None:
    assert top(name) in {"__init__", *ROOMS, *SHARED, *PROGRAMS, *STAND_ALONE}


@pytest.mark.parametrize("name", [name for name in FILES if top(name) in ROOMS])
def test_a_room_imports_itself_and_lower_floors_only(name: str) -> None:
    room = top(name)
    lower = {other for other, floor in ROOMS.items() if floor < ROOMS[room]}
    shared = SHARED if room not in FLOORS[0] else set()
    assert {top(module) for module in USED[name]} <= {room, *lower, *shared}


@pytest.mark.parametrize("name", sorted(SHARED))
def test_what_rooms_share_imports_no_room(name: str) -> None:
    assert {top(module) for module in USED[name]} <= SHARED


@pytest.mark.parametrize("name", [name for name in FILES if top(name) in ROOMS])
def test_aiohttp_and_asyncio_stay_where_they_belong(name: str) -> None:
    libraries = set(libraries_of(name))
    assert "aiohttp" not in libraries or top(name) in USES_AIOHTTP
    assert "asyncio" not in libraries or top(name) != "http"


def test_the_imports_of_a_module_are_found() -> None:
    assert USED["__main__"] == {"cli"}
    assert "sample.login" in USED["sample.backend"]


# Each after those that it may import alone, so that none leans on what another one brings.
IMPORT_IN_ORDER = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
"""


def test_modules_can_be_imported_without_a_warning() -> None:
    names = [
        f"gateway.{name}" for name in without_circles() if name not in {"__init__", "__main__"}
    ]
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_IN_ORDER, *names],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
