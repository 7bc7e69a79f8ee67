"""A shape takes what the loader reads for such a key, and says what it is for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.config import units
from gateway.config.loader import schema_types


def takes(of: schema_types.Shape, value: object) -> bool:
    return bool(Draft202012Validator(of).is_valid(value))


@pytest.mark.parametrize(
    ("of", "good", "bad"),
    [
        (schema_types.flag("d"), [True, False], ["true", 0, None]),
        (schema_types.text("d"), ["", "a", 7, 1.5], [True, None, [], {}]),
        (schema_types.matching("^/", "d"), ["/", "/a"], ["a", "$A", 7]),
        (
            schema_types.expanded(schema_types.matching("^/", "d")),
            ["/a", "$A", "${A:-/b}"],
            ["a", 7],
        ),
        (schema_types.duration("d"), ["300s", "1h30m", "250ms", "none"], ["300", "", "$A", 300]),
        (schema_types.size("d"), ["10MiB", "4096", 4096], ["10 MiB", 0, 1.5, None]),
        (
            schema_types.count("d", 1, 10),
            [1, 10, "3", "03"],
            [0, 11, 1.5, "-1", "a", "", True, None],
        ),
        (schema_types.one_of(("a", "b"), "d"), ["a"], ["c", True]),
        (schema_types.one_or_many(schema_types.text(), "d"), ["a", ["a", "b"]], [[], [None], {}]),
        (schema_types.one_or_many(schema_types.text(), "d", least=0), [[]], [None]),
        (schema_types.many(schema_types.text(), "d"), [[], ["a"]], ["a", [None]]),
        (schema_types.pairs(schema_types.text(), "d"), [{}, {"any": "a"}], [{"any": None}, []]),
        (
            schema_types.section({"a": schema_types.text()}, "d"),
            [{}, {"a": "x"}],
            [{"b": "x"}, None],
        ),
        (schema_types.section({"a": schema_types.text()}, "d", ["a"]), [{"a": "x"}], [{}]),
        (schema_types.or_off(schema_types.text("d"), "none"), ["a", "none", False], [True, None]),
    ],
)
def test_a_shape_takes_its_values_and_no_others(
    of: schema_types.Shape, good: list[Any], bad: list[Any]
) -> None:
    assert of["description"] == "d"
    assert [value for value in good if not takes(of, value)] == []
    assert [value for value in bad if takes(of, value)] == []


@given(st.text("0123456789.hms", max_size=8) | st.just("none"))
def test_what_is_read_as_a_duration_has_the_shape_of_one(text: str) -> None:
    try:
        units.duration(text, zero_allowed=True)
    except ValueError:
        return
    assert takes(schema_types.duration(""), text)


@given(st.text("0123456789.BKMGki", max_size=6))
def test_what_is_read_as_a_size_has_the_shape_of_one(text: str) -> None:
    try:
        units.size(text)
    except ValueError:
        return
    assert takes(schema_types.size(""), text)
