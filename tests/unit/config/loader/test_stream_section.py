import pytest
import yaml

from gateway.config.loader.faults import ConfigError
from gateway.config.loader.stream_section import stream_options
from gateway.config.model import StreamOptions


def read(text: str) -> StreamOptions:
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    assert node is not None
    return stream_options(node)


def test_every_option_is_off_unless_it_is_given() -> None:
    assert read("{}") == StreamOptions(None, None, False, False)


def test_every_option_is_read() -> None:
    assert read(
        "{heartbeat: 15s, error_event: message, transient_errors: retry,"
        " close_on_token_expiry: true}"
    ) == StreamOptions(15.0, "message", True, True)


@pytest.mark.parametrize(
    "text",
    ["{heartbeat: none}", "{transient_errors: status}", "{close_on_token_expiry: false}"],
)
def test_an_option_can_be_said_to_be_off(text: str) -> None:
    assert read(text) == StreamOptions()


@pytest.mark.parametrize("text", ["none", "false", "{}"])
def test_all_of_it_can_be_said_to_be_off(text: str) -> None:
    assert read(text) == StreamOptions()


@pytest.mark.parametrize("name", ["message", "gateway-error", "job/failed", "é", "a b"])
def test_an_event_may_have_any_type_that_is_one_line(name: str) -> None:
    assert read(f"{{error_event: '{name}'}}").error_event == name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{heartbeat: 15}", "a duration needs a unit, such as 15s"),
        ("{heartbeat: 0s}", "must be from 1ms"),
        ("{heartbeat: true}", "must be text"),
        ("{error_event: ''}", "must be the type of an event"),
        ("{error_event: ' a'}", "must be the type of an event"),
        ('{error_event: "a\\nb"}', "must be the type of an event"),
        ('{error_event: "a\\0b"}', "must be the type of an event"),
        ("{error_event: error}", "'error' is an event of the connection itself"),
        ("{error_event: open}", "'open' is an event of the connection itself"),
        ("{error_event: true}", "must be text"),
        ("{error_event:}", "has no value"),
        ("{transient_errors: reply}", "must be status (the code as it is) or retry: did you mean"),
        ("{transient_errors: 200}", "must be status (the code as it is) or retry"),
        ("{transient_errors: true}", "must be text"),
        ("{close_on_token_expiry: 1}", "must be true or false"),
        ("{error_events: message}", "unknown key 'error_events': did you mean 'error_event'?"),
        ("message", "must be a mapping"),
    ],
)
def test_a_value_that_could_not_work_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    (fault,) = caught.value.faults
    assert message in fault.message
    assert fault.line == 1


def test_every_fault_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read("{heartbeat: 1, error_event: error, transient_errors: x, close_on_token_expiry: x}")
    assert len(caught.value.faults) == 4
