from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import yaml

from gateway.config.loader import section
from gateway.config.loader.faults import ConfigError, Unresolved
from gateway.config.loader.section import Section
from gateway.config.loader.yaml_document import compose


def faults(read: Callable[[yaml.Node], Any], text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(compose(text))
    return [f"{fault.line}:{fault.column} {fault.message}" for fault in caught.value.faults]


@pytest.mark.parametrize(("text", "value"), [("true", True), ("no", False), ("On", True)])
def test_a_boolean_is_what_yaml_calls_one(text: str, value: bool) -> None:
    assert section.boolean(compose(text)) is value


@pytest.mark.parametrize("text", ['"yes"', "1", "[true]", "{}", "null"])
def test_anything_else_is_no_boolean(text: str) -> None:
    assert faults(section.boolean, text) == ["1:1 must be true or false"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("a", "a"), ("'true'", "true"), ("007", "007"), ("2024-01-01", "2024-01-01")],
)
def test_text_is_taken_as_it_is_written(text: str, value: str) -> None:
    assert section.text(compose(text)) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a]", "must be text"),
        ("{a: b}", "must be text"),
        ("true", "not true or"),
        ("~", "no value"),
    ],
)
def test_what_could_be_mistaken_for_text_is_refused(text: str, message: str) -> None:
    assert message in faults(section.text, text)[0]


def test_a_fault_in_a_filled_in_value_names_the_variable() -> None:
    read = partial(section.expanded, environ={"N": "x"}, parse=int)
    (fault,) = faults(read, "$N")
    assert fault.endswith("($N filled in)")
    assert section.expanded(compose("$N"), {"N": "12"}, int) == 12


def test_a_list_reports_every_fault_in_it() -> None:
    read = partial(section.items, read=section.boolean)
    assert [fault[:4] for fault in faults(read, "[1, true, 2]")] == ["1:2 ", "1:11"]
    assert faults(read, "a") == ["1:1 must be a list, such as [a, b]"]
    assert read(compose("[]")) == ()


def test_a_list_with_something_unresolved_is_unresolved() -> None:
    read = partial(section.expanded, environ=None, parse=str)
    with pytest.raises(Unresolved):
        section.items(compose("[a, $N]"), read)
    with pytest.raises(Unresolved):
        section.pairs(compose("{a: $N}"), section.text, read)


def test_one_value_may_stand_for_a_list_that_may_not_be_empty() -> None:
    read = partial(section.one_or_many, read=section.text)
    assert read(compose("a")) == ("a",)
    assert read(compose("[a, b]")) == ("a", "b")
    assert "the list is empty" in faults(read, "[]")[0]


def test_pairs_keep_their_order_and_report_every_fault() -> None:
    read = partial(section.pairs, read_key=section.text, read_value=section.text)
    assert read(compose("{b: x, a: y}")) == (("b", "x"), ("a", "y"))
    assert len(faults(read, "{a: [], b: ~, c: d, c: e}")) == 3
    assert "must be a mapping" in faults(read, "[a]")[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("metod: x", "1:1 unknown key 'metod': did you mean 'method'?"),
        ("Method: x", "1:1 unknown key 'Method': did you mean 'method'?"),
        ("zzz: x", "1:1 unknown key 'zzz': known are method, path"),
        ("cors: x", "1:1 this version does not support 'cors'"),
        ("path: a\npath: b", "2:1 duplicate key 'path': first given in line 1"),
        ("<<: {path: x}", "1:1 merge keys are not supported, use defaults:"),
        ("1: x", "1:1 a key must be text: put it in quotes if you mean it so"),
        ("? [a]\n: x", "1:3 a key must be text: put it in quotes if you mean it so"),
        ("[a]", "1:1 must be a mapping, such as key: value"),
    ],
)
def test_a_key_that_is_not_known_is_a_fault_with_a_fix(text: str, fault: str) -> None:
    def read(node: yaml.Node) -> None:
        Section(node, ("path", "method"), ("cors",)).finish()

    assert faults(read, text) == [fault]


def test_a_section_gives_defaults_for_what_is_absent_or_faulty_and_knows_which() -> None:
    read = Section(compose("{a: true, b: x, c: $N}"), "abcd")
    assert read.read("a", section.boolean, None) is True
    assert read.read("b", section.boolean, None) is None
    assert read.read("c", partial(section.expanded, environ=None, parse=str), 3) == 3
    assert read.read("d", section.boolean, 5) == 5
    assert read.unread == {"b", "c"}
    read.blame("a", "at its value")
    read.blame("d", "at the section")
    with pytest.raises(ConfigError) as caught:
        read.finish()
    assert [(fault.column, fault.message) for fault in caught.value.faults] == [
        (1, "at the section"),
        (5, "at its value"),
        (14, "must be true or false"),
    ]
