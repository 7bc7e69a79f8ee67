"""What a test stream may be asked for is bounded, whatever the query says."""

import contextlib

from hypothesis import given
from hypothesis import strategies as st

from gateway.endpoints.probe_stream import LONGEST, MOST_EVENTS, MOST_PADDING, Plan
from gateway.http.errors import Rejection

NUMBERS = st.one_of(st.integers(), st.floats(), st.text(max_size=4)).map(str)
NAMES = st.sampled_from(["events", "interval", "silence", "padding", "other"])


@given(st.lists(st.tuples(NAMES, NUMBERS)))
def test_a_plan_is_within_its_bounds_or_refused(pairs: list[tuple[str, str]]) -> None:
    with contextlib.suppress(Rejection):
        plan = Plan.of("&".join(f"{name}={value}" for name, value in pairs))
        assert 1 <= plan.events <= MOST_EVENTS
        assert 0 <= plan.silence + plan.events * plan.interval <= LONGEST
        assert 0 <= plan.events * plan.padding <= MOST_PADDING


def test_a_plan_has_what_it_was_asked_for() -> None:
    assert Plan.of("") == Plan()
    asked = "events=3&interval=0.5&silence=65&padding=1000&token=x"
    assert Plan.of(asked) == Plan(3, 0.5, 65.0, 1000)
