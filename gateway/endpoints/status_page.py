"""The files of the status page, which are part of the package."""

from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.http.headers import SERVER_NAME

_FOLDER: Final = Path(__file__).parent / "status"
_FILES: Final = {
    "/": ("index.html", "text/html"),
    "/style.css": ("style.css", "text/css"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    **{
        f"/{name}.js": (f"{name}.js", "text/javascript")
        for name in ("page", "chart", "history", "table", "words")
    },
}
PATHS: Final = tuple(_FILES)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Server": SERVER_NAME,
    "X-Content-Type-Options": "nosniff",
}


def page(path: str) -> web.Response:
    """Returns one of `PATHS`. The files are small, and few clients ask for them."""
    name, content_type = _FILES[path]
    body = (_FOLDER / name).read_bytes()
    return web.Response(body=body, content_type=content_type, charset="utf-8", headers=_HEADERS)
