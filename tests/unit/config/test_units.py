import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import units


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300s", 300.0),
        ("5m", 300.0),
        ("1d", 86_400),
        ("1d12h", 129_600),
        ("1h30m", 5400.0),
        ("250ms", 0.25),
        ("1.5s", 1.5),
        ("1m250ms", 60.25),
        ("1h1m1s1ms", 3661.001),
        ("8760h", 31_536_000.0),
        ("none", None),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float | None) -> None:
    assert units.duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "s", "-5s", "+5s", "5 s", "5S", "5D", "1h1d", "1w", "5sm"),
        *("5s1h", "1s1s", "1e3s", ".5s", "٣s", "None"),
    ],
)
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="such as 300s, 5m, 1h30m, 1d or 250ms, or none"):
        units.duration(text)


@pytest.mark.parametrize("text", ["300", "0", "1.5"])
def test_a_bare_number_is_refused_with_its_unit_added(text: str) -> None:
    with pytest.raises(ValueError, match=f"such as {text}s$"):
        units.duration(text)


@pytest.mark.parametrize("text", ["0s", "0h0ms", "0.1ms", "8761h", "366d", "999999999h"])
def test_a_duration_that_could_not_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from 1ms to 365d"):
        units.duration(text)


def test_zero_is_a_duration_only_where_it_is_allowed() -> None:
    assert units.duration("0s", zero_allowed=True) == 0.0
    with pytest.raises(ValueError, match="from 1ms"):
        units.duration("0.1ms", zero_allowed=True)


@given(
    st.integers(0, 30),
    st.integers(0, 8000),
    st.integers(0, 59),
    st.integers(0, 59),
    st.integers(1, 999),
)
def test_the_parts_of_a_duration_add_up(d: int, h: int, m: int, s: int, ms: int) -> None:
    expected = (d * 86_400_000 + h * 3_600_000 + m * 60_000 + s * 1000 + ms) / 1000
    assert units.duration(f"{d}d{h}h{m}m{s}s{ms}ms") == expected


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4096", 4096),
        ("1B", 1),
        ("10MiB", 10 * 1024**2),
        ("512KiB", 512 * 1024),
        ("1GB", 10**9),
        ("2kB", 2000),
        ("1024GiB", 1024**4),
    ],
)
def test_a_size_is_read_in_bytes(text: str, count: int) -> None:
    assert units.size(text) == count


@pytest.mark.parametrize("text", ["", "MiB", "10 MiB", "-1", "1.5MiB", "10mb", "010", "1_000", "٣"])
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="such as 10MiB"):
        units.size(text)


@pytest.mark.parametrize("text", ["0", "0GiB", "1025GiB"])
def test_a_size_that_could_not_be_meant_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="from 1 byte"):
        units.size(text)


@given(st.integers(1, 1024), st.sampled_from(["B", "KiB", "MiB", "GiB"]))
def test_a_size_is_its_number_times_its_unit(number: int, unit: str) -> None:
    power = ["B", "KiB", "MiB", "GiB"].index(unit)
    assert units.size(f"{number}{unit}") == number * 1024**power


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused_with_a_message(text: str) -> None:
    for parse in (units.duration, units.size):
        try:
            value = parse(text)
        except ValueError as error:
            assert str(error)  # noqa: PT017 - the property is: a value, or a message
        else:
            assert value is None or value > 0


@given(st.integers(1, units.MOST))
def test_a_count_is_a_whole_number(number: int) -> None:
    assert units.count(str(number)) == number


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "+1", "1.0", "1_0", "1e3", "1000001", "\u0661", "9" * 99]
)
def test_what_is_no_count_is_refused_with_its_bounds(text: str) -> None:
    with pytest.raises(ValueError, match="a whole number from 1 to 1000000"):
        units.count(text)


@given(st.integers(1, units.MOST), st.sampled_from([("s", 1), ("m", 60), ("h", 3600)]))
def test_a_rate_is_a_count_in_so_many_seconds(number: int, period: tuple[str, int]) -> None:
    unit, seconds = period
    assert units.rate(f"{number}/{unit}") == (number, seconds)


@pytest.mark.parametrize(
    "text", ["", "10", "/s", "1.5/s", "10/d", "10/ s", "10/S", "1/s/s", "-1/s"]
)
def test_what_is_no_rate_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="such as 10/s, 100/m or 1000/h"):
        units.rate(text)


@pytest.mark.parametrize("text", ["0/s", "1000001/h"])
def test_a_rate_out_of_bounds_is_refused_with_them(text: str) -> None:
    with pytest.raises(ValueError, match="from 1 to 1000000"):
        units.rate(text)
