"""What was seen of the way in: plain data, which findings are drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LAST_EVENT_ID = "gateway-probe"  # what the probe sends as the ID of an event that it saw
TRACE_ID = "67617465776179207761732068657265"  # of the trace that it sends


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A test stream as it came: for each event when it was sent and when it was here, in seconds.

    The clocks are two, so that only differences mean anything. `broke_after` is the age at which it
    was cut before its end, also where the cut looked like an end; where it `is_hung` nothing told
    of that, and the probe gave up. `hello` is what the gateway told first, or the problem with
    which it refused.
    """

    status: int = 200
    version: str = "1.1"
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    hello: Mapping[str, Any] = field(default_factory=dict)
    times: tuple[tuple[float, float], ...] = ()
    broke_after: float | None = None
    is_hung: bool = False

    @property
    def saw(self) -> Mapping[str, str]:
        """The headers of the request as they came to the gateway, names in lower case."""
        saw: Mapping[str, str] = self.hello.get("saw", {})
        return saw

    @property
    def span(self) -> float:
        """From when the first event was sent to the last."""
        return self.times[-1][0] - self.times[0][0] if self.times else 0.0

    @property
    def held(self) -> float:
        """The longest that an event was held back, compared to the one that came fastest."""
        lags = [arrived - sent for sent, arrived in self.times]
        return max(lags) - min(lags) if lags else 0.0


@dataclass(frozen=True, slots=True)
class Observation:
    """All streams of one probe: `plain` as an EventSource asks, and those that ask for more.

    `compressible` offers gzip. `bearer` has its token in a header, and is None without a token.
    `refused` asked as `plain` does, with the token in the query, where only the header let it in.
    `idle` was silent for `silence` seconds; `lively` was never, for longer than `idle` lasted, and
    is None where that was not cut. `heavy` has large events, and is None where none were held back.
    `alpn` is what TLS settled on, None without TLS.
    """

    plain: Arrivals
    compressible: Arrivals
    bearer: Arrivals | None
    idle: Arrivals
    silence: float
    alpn: str | None
    refused: Arrivals | None = None
    lively: Arrivals | None = None
    heavy: Arrivals | None = None
    event_size: int = 0  # bytes of each event of `heavy`

    @property
    def was_silent(self) -> bool:
        """Whether the gateway was told of the silence that it was asked for."""
        silence: float = self.idle.hello.get("silence", self.silence)
        return silence == self.silence
