"""The list of live streams: filtered, sorted and bounded as an operator asks."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self, get_args

from gateway.telemetry.report import Condition, LiveStream

LIMIT: Final = 1000  # how many are listed by default
MOST: Final = 100_000
STATES: Final = get_args(Condition)
_FILTERS: Final = ("route", "subject", "state")
_KEYS: Final = (*_FILTERS, "sort", "limit")

# Names go from A to Z, numbers from the largest down; unknown values come last.
SORTS: Final[Mapping[str, Callable[[LiveStream], tuple[object, ...]]]] = {
    "age": lambda stream: (-stream.age,),
    "bytes": lambda stream: (-stream.bytes_in - stream.bytes_out,),
    "events": lambda stream: (stream.events is None, -(stream.events or 0)),
    "silence": lambda stream: (stream.silence is None, -(stream.silence or 0.0)),
    "route": lambda stream: (stream.route,),
    "subject": lambda stream: (stream.subject,),
    "client": lambda stream: (stream.client,),
    "upstream": lambda stream: (stream.upstream,),
    "state": lambda stream: (stream.state,),
}


class QueryError(Exception):
    """A query that cannot be answered. Its text says what is allowed."""


@dataclass(frozen=True, slots=True)
class StreamList:
    """A query for streams. `wanted` are fields and the values that they must have."""

    wanted: tuple[tuple[str, str], ...] = ()
    sort: str = "age"
    limit: int = LIMIT

    @classmethod
    def of(cls, query: Iterable[tuple[str, str]]) -> Self:
        """Reads the pairs of a query. Raises QueryError."""
        pairs = list(query)
        asked = dict(pairs)
        for name in asked:
            if name not in _KEYS:
                raise QueryError(f"{name!r} is not known; there are {', '.join(_KEYS)}")
        if len(asked) < len(pairs):
            raise QueryError("each key may stand in the query once")
        if asked.get("state", STATES[0]) not in STATES:
            raise QueryError(f"state is one of {', '.join(STATES)}")
        sort = asked.get("sort", "age")
        if sort not in SORTS:
            raise QueryError(f"sort is one of {', '.join(SORTS)}")
        wanted = tuple((name, asked[name]) for name in _FILTERS if name in asked)
        return cls(wanted, sort, _limit(asked.get("limit", str(LIMIT))))

    def answer(self, streams: Iterable[LiveStream]) -> dict[str, object]:
        """Returns the streams that match, and their number, including those over the limit."""
        found = [
            stream
            for stream in streams
            if all(getattr(stream, name) == value for name, value in self.wanted)
        ]
        key = SORTS[self.sort]
        # Equal ones keep their order from one response to the next.
        found.sort(key=lambda stream: (*key(stream), stream.id, stream.worker))
        return {"count": len(found), "streams": [as_json(each) for each in found[: self.limit]]}


def as_json(stream: LiveStream) -> dict[str, object]:
    """Returns a stream for JSON. It has no token, no path and no query."""
    return {
        "id": stream.id,
        "route": stream.route,
        "method": stream.method,
        "subject": stream.subject,
        "client": stream.client,
        "upstream": stream.upstream,
        "age_seconds": round(stream.age, 3),
        "bytes_in": stream.bytes_in,
        "bytes_out": stream.bytes_out,
        "events": stream.events,
        "silent_seconds": None if stream.silence is None else round(stream.silence, 3),
        "state": stream.state,
        "worker": stream.worker,
    }


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST))):
        raise QueryError(f"limit is a number from 0 to {MOST}")
    limit = int(text)
    if limit > MOST:
        raise QueryError(f"limit is a number from 0 to {MOST}")
    return limit
