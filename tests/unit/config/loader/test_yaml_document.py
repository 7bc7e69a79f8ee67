import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.loader.faults import ConfigError
from gateway.config.loader.yaml_document import MAX_SIZE, compose


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        compose(text)
    return str(caught.value).replace("routes.yaml:", "")


def test_nodes_know_their_place() -> None:
    root = compose("a:\n  b: 1\n")
    assert isinstance(root, yaml.MappingNode)
    (_, inner), *_ = root.value
    assert (inner.start_mark.line, inner.start_mark.column) == (1, 2)


@pytest.mark.parametrize("text", ["", "  \n", "# only a comment\n"])
def test_a_file_without_content_is_refused(text: str) -> None:
    assert refused(text).startswith("1:1: the file is empty")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: b: c", "1:5: a key is not allowed here"),
        ("a:\n\t- b", "2:1: a tab cannot be used here: indent with spaces"),
        ("- a\nb: c", "2:1: the indentation does not fit"),
        ("a: @b", "1:4: found character '@' that cannot start any token: put the value in quotes"),
        ("a: [1", "1:6: while parsing a flow sequence expected ',' or ']'"),
        ("a\n---\nb", "2:1: only one document is allowed"),
        ("- &a 1\n- &a 2", "2:3: the name of this anchor (&) is taken"),
        ("*x", "1:1: found undefined alias 'x'"),
        ("!foo!bar x", "1:1: while parsing a node found undefined tag handle"),
        ("a\n b\x01c", "2:3: a control character is not allowed"),
        ("x\ud800", "1:2: a control character is not allowed"),
        ('"\\UFFFFFFFF"', "1:4: a number out of range"),
        ("%YAML " + "9" * 5000 + ".1\n---\na", "1:7: a number out of range"),
        ('["\\ud800", "\\0"]', "1:2: holds a character that text cannot have"),
    ],
)
def test_text_that_is_not_sound_yaml_is_refused_where_it_breaks(text: str, fault: str) -> None:
    assert refused(text).startswith(fault)


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!custom", "!!str", "!"])
def test_a_tag_is_refused(tag: str) -> None:
    assert refused(f"a: {tag} [b]").startswith("1:4: tags are not supported: remove it")


def test_each_tag_is_reported_even_where_the_file_breaks_further_down() -> None:
    assert [line[:4] for line in refused("a: !x 1\nb: !y [2]\nc: d: e").split("\n")] == [
        "1:4:",
        "2:4:",
        "3:5:",
    ]


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 1000, "? " * 500, "{a: " * 100])
def test_deep_nesting_is_refused(text: str) -> None:
    assert "nested more than 20 levels deep" in refused(text)


def test_an_alias_inside_what_it_stands_for_is_refused() -> None:
    assert refused("- &a [b, *a]") == "1:10: the alias *a stands inside what it stands for"


def test_aliases_that_multiply_are_refused() -> None:
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert "more than 50000 values" in refused("\n".join(lines))


def test_an_alias_that_is_used_soberly_is_followed() -> None:
    root = compose("- &a {b: c}\n- *a\n")
    assert root.value[0] is root.value[1]


def test_too_large_a_text_is_refused() -> None:
    assert "over 1 MiB" in refused("#" * (MAX_SIZE + 1))


YAML_LIKE = st.lists(
    st.sampled_from(
        [*"-?:,[]{}#&*!|>'\"%@`\n\t \\$<", "---", "...", "%YAML", "<<", "a", "\\U0", "&a ", "*a "]
    )
).map("".join)


@given(st.text() | YAML_LIKE)
def test_any_text_is_composed_or_refused(text: str) -> None:
    try:
        root = compose(text)
    except ConfigError as error:
        assert error.faults  # noqa: PT017 - the property is: a node, or faults
    else:
        assert isinstance(root, yaml.Node)
