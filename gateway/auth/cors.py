"""CORS: which pages of other origins may read responses, and send what (Fetch standard, 3.2)."""

import re

from gateway.config.model import Cors
from gateway.http.header_edits import Access
from gateway.http.headers import Headers

_LABELS = re.compile(rb"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_PREFLIGHT_VARIES = b"Access-Control-Request-Method, Access-Control-Request-Headers"


class CorsPolicy:
    """The policy of one `cors:` section."""

    def __init__(self, cors: Cors) -> None:
        self._cors = cors
        self._is_open = "*" in cors.origins
        self._wildcards = [_ends(origin) for origin in cors.origins if "://*." in origin]
        # The headers for most responses, which are built once.
        self._known = {
            origin.encode(): self._granted(origin.encode())
            for origin in cors.origins
            if "*" not in origin
        }
        self._others = self._granted(b"*") if self._is_open else Access((), varies=True)

    def allows(self, origin: bytes) -> bool:
        """Whether pages of this origin, as the browser writes it, may call."""
        return self._is_open or origin in self._known or self._is_wildcard(origin)

    def allows_cookie(self, origin: bytes) -> bool:
        """Whether pages of this origin may use the user's cookie."""
        return self._cors.credentials and self.allows(origin)

    def access(self, origin: bytes | None) -> Access:
        """Returns the headers of every response to this origin; None is a request without one."""
        if origin is None:
            return self._others
        known = self._known.get(origin)
        if known is not None:
            return known
        return self._granted(origin) if self._is_wildcard(origin) else self._others

    def preflight(self, methods: bytes, requested: bytes) -> Headers:
        """Returns the headers of a preflight's response, beside `access` (Fetch standard, 4.8).

        `methods` are those of the route; `requested` are the headers that the page wants to send.
        """
        cors = self._cors
        allowed = ", ".join(cors.headers).encode() or requested
        headers = [
            (b"Access-Control-Allow-Methods", ", ".join(cors.methods).encode() or methods),
            (b"Access-Control-Max-Age", b"%d" % int(cors.max_age)),
            (b"Vary", _PREFLIGHT_VARIES),
        ]
        return [*headers, (b"Access-Control-Allow-Headers", allowed)] if allowed else headers

    def _is_wildcard(self, origin: bytes) -> bool:
        for start, end in self._wildcards:
            if origin.startswith(start) and origin.endswith(end):
                return _LABELS.fullmatch(origin, len(start), len(origin) - len(end)) is not None
        return False

    def _granted(self, origin: bytes) -> Access:
        headers = [(b"Access-Control-Allow-Origin", origin)]
        if self._cors.credentials:
            headers.append((b"Access-Control-Allow-Credentials", b"true"))
        if self._cors.expose:
            headers.append(
                (b"Access-Control-Expose-Headers", ", ".join(self._cors.expose).encode())
            )
        return Access(tuple(headers), varies=origin != b"*")


def _ends(origin: str) -> tuple[bytes, bytes]:
    """Returns what stands before and after the labels of a wildcard."""
    start, _, end = origin.encode().partition(b"*")
    return start, end
