import pytest

from gateway.config.loader.faults import ConfigError, Fault, Gathering, Unresolved, quoted


def test_faults_are_printed_one_a_line_sorted_by_place_and_each_once() -> None:
    late, early = Fault(10, 1, "late"), Fault(2, 7, "early")
    error = ConfigError([late, early, late], "conf/routes.yaml")
    assert error.faults == (early, late)
    assert str(error) == "conf/routes.yaml:2:7: early\nconf/routes.yaml:10:1: late"


def test_a_fault_of_the_whole_file_has_no_line() -> None:
    assert str(ConfigError([Fault(0, 0, "cannot be read")])) == "routes.yaml: cannot be read"


def test_a_quoted_text_is_short_and_on_one_line() -> None:
    text = quoted("a\nb\x1b" * 100)
    assert text.isprintable()
    assert len(text) < 200


def test_gathering_goes_on_after_a_fault_and_raises_all_of_them() -> None:
    def fail(line: int) -> int:
        raise ConfigError([Fault(line, 1, "bad")])

    gathering = Gathering()
    assert gathering.attempt(lambda: fail(1), "default") == "default"
    assert gathering.attempt(lambda: 5, 0) == 5
    gathering.attempt(lambda: fail(2), None)
    with pytest.raises(ConfigError) as caught:
        gathering.finish()
    assert [fault.line for fault in caught.value.faults] == [1, 2]


def test_something_unresolved_is_no_fault_but_is_remembered() -> None:
    def leave() -> int:
        raise Unresolved

    gathering = Gathering()
    assert gathering.is_resolved
    assert gathering.attempt(leave, 7) == 7
    assert not gathering.is_resolved
    gathering.finish()
