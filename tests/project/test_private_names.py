"""The gateway uses no name that a library calls private: such a name may change tomorrow."""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import gateway

ROOT = Path(gateway.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
# Modules that put private names of their own into each class that is built on theirs.
LANGUAGE = {"abc", "builtins", "enum", "typing"}
BY_THE_LANGUAGE = {"_abc_impl", "_is_protocol"}  # which a class of theirs gets
# Fields of a named tuple, whose documented methods have an underscore so that no field hides them.
NAMED_TUPLE = {"_asdict", "_replace", "_fields"}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def own_names(tree: ast.AST) -> Iterator[str]:
    """Yield the private names that a file gives to something of its own."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name) | ast.Name(id=name, ctx=ast.Store()):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                yield name


OWN = {name for path in FILES for name in own_names(ast.parse(path.read_text()))}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_private_name_in_use_is_one_of_the_gateways_own(path: Path) -> None:
    used = {
        node.attr
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and is_private(node.attr)
    }
    assert used - OWN - NAMED_TUPLE == set()


def test_no_class_gives_a_private_name_of_its_librarys_class_another_meaning() -> None:
    taken = [
        f"{own.__module__}.{own.__qualname__}.{name}: {base.__qualname__}"
        for own in own_classes()
        for base in own.__mro__
        if not base.__module__.startswith("gateway") and base.__module__ not in LANGUAGE
        for name in vars(own).keys() & vars(base).keys()
        if is_private(name) and name not in BY_THE_LANGUAGE
    ]
    assert taken == []


def own_classes() -> Iterator[type]:
    for module in pkgutil.walk_packages([str(ROOT)], "gateway."):
        if module.name.endswith("__main__"):
            continue
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if found.__module__ == module.name:
                yield found
