"""Writes the tables of keys into the reference pages: `python -m gateway.config.reference PAGE...`.

A page has the place of a table between `<!-- keys: NAME -->` and `<!-- end of keys -->`.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gateway.config.loader import (
    auth_section,
    cors_section,
    header_rules,
    limits_section,
    route_section,
    stream_section,
    upstream_section,
)
from gateway.config.loader.field import Table

TABLES: Final[dict[str, tuple[str, Table]]] = {
    "route": ("key of a route", route_section.TABLE),
    "header rules": ("key of a header rule", header_rules.TABLE),
    "health check": ("key of `health_check`", upstream_section.TABLE),
    "stream": ("key of `stream`", stream_section.TABLE),
    "auth": ("key of `auth`", auth_section.TABLE),
    "cors": ("key of `cors`", cors_section.TABLE),
    "route limits": ("key of `limits` in a route", limits_section.ROUTE_TABLE),
    "limits": ("key of `limits`", limits_section.TABLE),
}
_PLACE: Final = re.compile(r"(<!-- keys: ([\w ]+) -->\n).*?(<!-- end of keys -->)", re.DOTALL)


def filled(page: str) -> str:
    """Returns the text of a page with all tables up to date. Raises KeyError for other names."""

    def table(place: re.Match[str]) -> str:
        title, fields = TABLES[place[2]]
        return f"{place[1]}{fields.markdown(title)}\n{place[3]}"

    return _PLACE.sub(table, page)


def main(pages: Sequence[str]) -> None:
    """Writes the tables into these pages."""
    for name in pages:
        page = Path(name)
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
