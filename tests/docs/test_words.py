"""Pages, docstrings, comments and messages use plain words and short sentences."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, TEXT, prose, sentences

LONGEST = 25  # words of a sentence
BANNED = re.compile(
    r"\b(tells?|told|let be|mends?|mended|whoever|thereof|hereof|meets|bury|buried|muster|"
    r"died? young|in vain|besides|upon which|is dear|let in|lets? nobody|heeds?)\b",
    re.IGNORECASE,
)
# `frontend/README.md` and `bench/README.md` are the pages of other packages.
PAGES = sorted(name for name in TEXT if not name.startswith(("frontend/", "bench/")))
PACKAGE = ROOT / "gateway"
FILES = sorted(PACKAGE.rglob("*.py"))
OTHERS = sorted(each for name in ("tests", "bench") for each in (ROOT / name).rglob("*.py"))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_banned_word(name: str) -> None:
    assert BANNED.findall(prose(name)) == []


@pytest.mark.parametrize("name", PAGES)
def test_the_sentences_of_a_page_are_short(name: str) -> None:
    assert [each for each in sentences(prose(name)) if len(each.split()) > LONGEST] == []


def comments(source: str) -> Iterator[str]:
    """Give the comments of a module."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def texts(file: Path) -> Iterator[str]:
    """Give the comments, docstrings and other strings of a module."""
    source = file.read_text(encoding="utf-8")
    yield from comments(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_a_module_has_no_banned_word(file: Path) -> None:
    assert [text for text in texts(file) if BANNED.search(text)] == []


def test_comments_docstrings_and_names_of_tests_have_no_banned_word() -> None:
    found = [(file, text) for file in OTHERS for text in _written(file) if BANNED.search(text)]
    assert found == []


def _written(file: Path) -> Iterator[str]:
    """Give the comments, docstrings and function names of a module, but not its data."""
    source = file.read_text(encoding="utf-8")
    yield from comments(source)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name.replace("_", " ")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_a_module_begins_with_a_sentence(file: Path) -> None:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert docstring is not None
    assert docstring.splitlines()[0].endswith(".")
