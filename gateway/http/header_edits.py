"""Edits of a header list that are prepared once and applied to many messages."""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.http.headers import Headers, values

_ACCESS_CONTROL = b"access-control-"


@dataclass(frozen=True, slots=True)
class Edits:
    """The header rules of a route: names to remove and headers to set."""

    drop: frozenset[bytes]
    add: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def of(cls, put: Iterable[tuple[str, str]] = (), removed: Iterable[str] = ()) -> "Edits":
        """Returns the edits that replace each header of `put` and remove the `removed` names."""
        add = tuple((name.encode(), value.encode()) for name, value in put)
        names = [name.lower() for name, _ in add]
        return cls(frozenset([*names, *(name.lower().encode() for name in removed)]), add)

    def apply(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Returns the headers with the edits applied."""
        if self.drop:
            headers = [pair for pair in headers if pair[0].lower() not in self.drop]
        return [*headers, *self.add]


@dataclass(frozen=True, slots=True)
class Access:
    """The CORS headers of a response to one origin, or to a request without an origin.

    `varies` is whether the headers differ for another origin, which a cache has to know.
    """

    headers: tuple[tuple[bytes, bytes], ...]
    varies: bool

    def apply(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Returns a response's headers with these in place of the upstream's CORS headers."""
        kept = [pair for pair in headers if not pair[0].lower().startswith(_ACCESS_CONTROL)]
        if self.varies and not _varies_by_origin(kept):
            kept.append((b"Vary", b"Origin"))
        return [*kept, *self.headers]


def _varies_by_origin(headers: Headers) -> bool:
    return any(
        item.strip().lower() in (b"origin", b"*")
        for value in values(headers, b"vary")
        for item in value.split(b",")
    )
