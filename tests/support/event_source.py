"""What a browser reads from an event stream: the HTML standard, 9.2.6, character by character.

It shares nothing with the gateway, and knows nothing of pieces: it gets the stream whole.
"""

from dataclasses import dataclass, field
from typing import NamedTuple


class Event(NamedTuple):
    """One event as a page gets it."""

    type: str
    data: str
    last_event_id: str


@dataclass(slots=True)
class EventSource:
    """The events of a stream, and what it left behind."""

    events: list[Event] = field(default_factory=list)
    retry: int | None = None
    is_unfinished: bool = False  # a line, or an event of which a field came
    _data: str = ""
    _type: str = ""
    _last_id: str = ""

    @classmethod
    def read(cls, stream: bytes) -> "EventSource":
        source = cls()
        text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
        line = ""
        before = ""
        for char in text:
            if char == "\n" and before == "\r":
                pass  # the second half of a line end
            elif char in "\r\n":
                source._line(line)
                line = ""
            else:
                line += char
            before = char
        source.is_unfinished = source.is_unfinished or line != ""
        return source

    def _line(self, line: str) -> None:
        if line == "":
            self._dispatch()
        elif line[0] == ":":
            pass
        else:
            self.is_unfinished = True
            name, colon, value = line.partition(":")
            self._field(name, value[1:] if colon and value[:1] == " " else value)

    def _field(self, name: str, value: str) -> None:
        if name == "data":
            self._data += value + "\n"
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._last_id = value
        elif name == "retry" and value != "" and all("0" <= char <= "9" for char in value):
            self.retry = int(value)

    def _dispatch(self) -> None:
        self.is_unfinished = False
        if self._data != "":
            data = self._data[:-1]
            self.events.append(Event(self._type or "message", data, self._last_id))
        self._data = self._type = ""
