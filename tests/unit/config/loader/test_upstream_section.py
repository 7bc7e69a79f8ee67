from typing import get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.loader import upstream_section
from gateway.config.loader.faults import ConfigError
from gateway.config.loader.upstream_section import health_check, upstreams
from gateway.config.model import Balance, HealthCheck, Upstream

ENVIRON = {"ONE": "http://one", "SOME": "http://one, https://two/v2,unix:/three.sock"}


def node(text: str) -> yaml.Node:
    composed = yaml.compose(text, Loader=yaml.SafeLoader)
    assert composed is not None
    return composed


def urls(text: str) -> list[str]:
    return [upstream.url for upstream in upstreams(node(text), ENVIRON)]


def refused(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        upstreams(node(text), ENVIRON)
    return [fault.message for fault in caught.value.faults]


def test_one_upstream_needs_no_list() -> None:
    assert upstreams(node("$ONE"), ENVIRON) == (Upstream("http://one", "http", "one", 80),)


def test_a_list_may_mix_schemes_and_variables() -> None:
    assert urls("[$ONE, 'https://two:8443/v2', 'unix:/three.sock']") == [
        "http://one",
        "https://two:8443/v2",
        "unix:/three.sock",
    ]


def test_a_variable_may_hold_several_with_commas_between() -> None:
    several = ["http://one", "https://two/v2", "unix:/three.sock"]
    assert urls("$SOME") == several
    assert urls("['http://zero', $SOME]") == ["http://zero", *several]


def test_a_comma_in_a_base_path_divides_nothing() -> None:
    assert urls("http://one/a,b,/c") == ["http://one/a,b,/c"]


@given(st.lists(st.sampled_from(["http://a", "https://b/x,y", "unix:/c,d", "http://[::1]:8"])))
def test_commas_join_what_they_divide(some: list[str]) -> None:
    once = list(dict.fromkeys(some)) or ["http://a"]
    assert urls(f"'{','.join(once)}'") == once


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "the list is empty"),
        ("[http://a, ftp://b]", "must be http(s)://"),
        ("[http://a, [http://b]]", "must be text"),
        ("http://a,", "is not a host name"),
        ("[$ONE, $SOME]", "'http://one' is listed twice: remove one"),
        ("[http://a, http://b, 'http://A:80/']", "'http://A:80/' is listed twice: remove one"),
        ("['unix:/a', 'unix:/a']", "'unix:/a' is listed twice"),
        ("['http://a', $NONE]", "NONE is not set"),
    ],
)
def test_a_list_that_could_not_work_is_refused(text: str, message: str) -> None:
    (fault,) = refused(text)
    assert message in fault


def test_every_fault_of_a_list_is_reported() -> None:
    assert len(refused("[ftp://a, http://u@b, http://c, '']")) == 3


def test_two_that_differ_in_anything_are_two() -> None:
    several = "[http://a, https://a, http://a:81, http://a/b, 'unix:/a', 'unix:/b']"
    assert len(urls(several)) == 6


def test_without_an_environment_what_refers_to_it_is_left_as_it_is() -> None:
    read = upstreams(node("[http://a, $ONE, $TWO]"), None)
    assert [upstream.url for upstream in read] == ["http://a", "$ONE", "$TWO"]


# How they share


def test_the_ways_to_balance_are_known() -> None:
    for known in get_args(Balance):
        assert upstream_section.balance(known) == known
    with pytest.raises(ValueError, match="did you mean round_robin"):
        upstream_section.balance("roundrobin")


@pytest.mark.parametrize(("text", "count"), [("0", 0), ("10", 10), ("03", 3)])
def test_a_number_of_retries_is_read(text: str, count: int) -> None:
    assert upstream_section.retries(text) == count


@pytest.mark.parametrize("text", ["11", "-1", "1.5", "many", "", "٣"])
def test_a_number_of_retries_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a number from 0 to 10"):
        upstream_section.retries(text)


# How they are checked


def test_a_check_needs_only_a_path() -> None:
    assert health_check(node("{path: /healthz}")) == HealthCheck("/healthz", 10.0, 3.0, 3, 2)


def test_every_key_of_a_check_is_read() -> None:
    text = "{path: '/h?a=%20', interval: 1s, timeout: 500ms, unhealthy_after: 4, healthy_after: 5}"
    assert health_check(node(text)) == HealthCheck("/h?a=%20", 1.0, 0.5, 4, 5)


@pytest.mark.parametrize("text", ["none", "false"])
def test_a_check_can_be_turned_off(text: str) -> None:
    assert health_check(node(text)) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{interval: 1s}", "path is missing"),
        ("{path: healthz}", "must be a path"),
        ("{path: '/a b'}", "must be a path"),
        ("{path: '/a#b'}", "must be a path"),
        ("{path: /, interval: none}", "to check nothing: health_check: none"),
        ("{path: /, timeout: 3}", "such as 3s"),
        ("{path: /, unhealthy_after: 0}", "from 1 to 100"),
        ("{path: /, healthy_after: 1000}", "from 1 to 100"),
        ("{path: /, intervall: 1s}", "did you mean 'interval'?"),
    ],
)
def test_a_check_that_could_not_work_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        health_check(node(text))
    (fault,) = caught.value.faults
    assert message in fault.message
