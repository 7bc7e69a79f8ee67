"""The pages of the documentation, as the tests read them."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("docs/*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
        *(ROOT / name for name in ("bench/README.md", "deploy/README.md", "frontend/README.md")),
    ]
)
TEXT = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Give the page and the text of each fenced block of this language."""
    for name, text in TEXT.items():
        for found, block in _FENCE.findall(text):
            if found == language:
                yield name, block


def prose(name: str) -> str:
    """Give a page without its blocks of code."""
    return _FENCE.sub("", TEXT[name])


def rows(name: str) -> list[list[str]]:
    """Give the cells of all tables of a page, row by row."""
    lines = [line for line in TEXT[name].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def sentences(text: str) -> Iterator[str]:
    """Give the sentences of prose: of paragraphs and of the items of lists, without tables."""
    text = re.sub(r"^(\||#|<).*$", "", text, flags=re.MULTILINE)
    for part in re.split(r"\n\s*\n|\n\s*(?:[-*]|\d+\.)\s", text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", " ".join(part.split()))
        yield from re.split(r"(?<=[.!?:;])\s+", plain)
