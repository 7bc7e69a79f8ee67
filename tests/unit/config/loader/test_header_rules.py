import pytest

from gateway.config.loader.faults import ConfigError
from gateway.config.loader.header_rules import header_rules
from gateway.config.loader.yaml_document import compose
from gateway.config.model import HeaderRules


def refused(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        header_rules(compose(text), {"BREAK": "a\r\nX-Evil: 1"})
    return [fault.message for fault in caught.value.faults]


def test_rules_are_read_in_order_with_references_filled_in() -> None:
    rules = header_rules(
        compose(
            "set: {X-Key: 'k-$KEY', X-Version: 2, X-Empty: ''}\nremove: [Server, X-Powered-By]"
        ),
        {"KEY": "7"},
    )
    assert rules == HeaderRules(
        set=(("X-Key", "k-7"), ("X-Version", "2"), ("X-Empty", "")),
        remove=("Server", "X-Powered-By"),
    )


def test_one_header_to_remove_needs_no_list() -> None:
    assert header_rules(compose("remove: Server"), {}) == HeaderRules(remove=("Server",))


def test_values_that_wait_for_an_environment_are_left_out() -> None:
    assert header_rules(compose("set: {X-Key: $KEY}"), None) == HeaderRules()


@pytest.mark.parametrize(
    "name",
    [
        "Connection",
        "keep-alive",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Content-Length",
        "Proxy-Connection",
    ],
)
def test_headers_of_the_connection_are_refused(name: str) -> None:
    assert "belongs to the connection" in refused(f"set: {{{name}: x}}")[0]
    assert "belongs to the connection" in refused(f"remove: [{name}]")[0]


def test_host_is_refused_with_the_key_that_is_for_it() -> None:
    assert refused("set: {host: x}") == ["Host is not set by a rule: use preserve_host"]


@pytest.mark.parametrize("name", ["''", "'X Y'", "'X:'", "'Ü'", '"X\\r\\nY"'])
def test_what_is_no_header_name_is_refused(name: str) -> None:
    assert "is not a header name" in refused(f"set: {{{name}: x}}")[0]


@pytest.mark.parametrize("value", ['"a\\r\\nb"', '"a\\nb"', '"\\x7f"', "'é'", "$BREAK"])
def test_a_value_that_could_break_out_of_its_line_is_refused(value: str) -> None:
    assert "one line of ASCII" in refused(f"set: {{X-A: {value}}}")[0]


def test_a_name_in_two_cases_or_two_rules_is_refused() -> None:
    assert "x-a is set twice" in refused("set: {X-A: 1, x-a: 2}")[0]
    assert "x-a is also in set" in refused("set: {X-A: 1}\nremove: [x-A]")[0]


def test_every_fault_of_the_rules_is_reported() -> None:
    assert len(refused("set: {Host: x, X-A: [1], X-B: ok}\nremove: [TE, 'a b']\nadd: {}")) == 5
