import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.loader.expansion import expand, names
from gateway.config.loader.faults import Unresolved

ENVIRON = {"HOST": "jobs", "PORT": "81", "EMPTY": "", "MONEY": "$HOST"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("$HOST", "jobs"),
        ("http://${HOST}:$PORT/x", "http://jobs:81/x"),
        ("${ABSENT:-http://localhost:80}", "http://localhost:80"),
        ("${EMPTY:-full}", "full"),
        ("${HOST:-other}", "jobs"),
        ("${ABSENT:-}", ""),
        ("$$HOST", "$HOST"),
        ("$$$HOST", "$jobs"),
        ("$HOST-a", "jobs-a"),
    ],
)
def test_references_are_filled_in(text: str, value: str) -> None:
    assert expand(text, ENVIRON) == value


def test_the_value_of_a_variable_is_not_expanded_again() -> None:
    assert expand("$MONEY", ENVIRON) == "$HOST"


@pytest.mark.parametrize(
    ("text", "state"),
    [("$ABSENT", "ABSENT is not set"), ("${ABSENT}", "ABSENT is not set"), ("$EMPTY", "is empty")],
)
def test_a_variable_without_a_value_is_rejected_by_name_with_a_fix(text: str, state: str) -> None:
    with pytest.raises(ValueError, match=state + r": set it, or write \$\{\w+:-fallback\}"):
        expand(text, ENVIRON)


@pytest.mark.parametrize(
    "text", ["$", "a$", "$1", "${", "${}", "${HOST", "${HOST-x}", "${HOST:-$PORT}", "${1}", "$-"]
)
@pytest.mark.parametrize("environ", [ENVIRON, None])
def test_a_malformed_reference_is_refused(text: str, environ: dict[str, str] | None) -> None:
    with pytest.raises(ValueError, match=r"write \$\$ for a dollar sign"):
        expand(text, environ)


def test_without_an_environment_only_text_without_references_has_a_value() -> None:
    assert expand("costs 5$$", None) == "costs 5$"
    with pytest.raises(Unresolved):
        expand("${HOST:-fallback}", None)


def test_the_variables_of_a_text_are_named_once_each() -> None:
    assert names("$B ${A} $$C ${B:-x} $") == ("B", "A")


@given(st.text())
def test_any_text_comes_through_when_its_dollars_are_doubled(text: str) -> None:
    assert expand(text.replace("$", "$$"), {}) == text
