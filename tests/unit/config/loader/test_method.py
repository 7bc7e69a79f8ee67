import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.loader.faults import ConfigError
from gateway.config.loader.method import method, methods
from gateway.config.loader.yaml_document import compose
from gateway.config.model import METHODS


@given(st.sampled_from(sorted(METHODS)))
def test_a_method_is_read_in_any_case(name: str) -> None:
    assert method(name.lower()) == method(name) == name


def test_head_comes_with_get_alone() -> None:
    assert methods(compose("[get, post]")) == {"GET", "HEAD", "POST"}
    assert methods(compose("post")) == {"POST"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("GTE", "did you mean GET?"),
        ("any", "remove the key to accept all methods"),
        ("CONNECT", "tunnels"),
    ],
)
def test_what_is_no_method_is_rejected_with_a_fix(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method(text)


def test_every_fault_of_a_list_is_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        methods(compose("[GTE, any]"))
    assert len(caught.value.faults) == 2
