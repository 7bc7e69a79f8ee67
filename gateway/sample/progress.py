"""The reports of a job, and how they are written as events."""

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["processing", "completed", "error"]


@dataclass(frozen=True, slots=True)
class Progress:
    """One report of a job. `progress` is 0 to 100, `data` is the result and comes at the end."""

    status: Status
    progress: int
    message: str
    step: str
    data: dict[str, Any] | None = None

    @property
    def is_last(self) -> bool:
        return self.status != "processing"

    def as_event(self) -> bytes:
        """Give one server-sent event (HTML standard, 9.2.5): a data line and a blank line.

        JSON escapes line breaks inside strings, so the data is always one line.
        """
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        return b"data: " + text.encode() + b"\n\n"
