import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.loader.upstream_url import upstream
from gateway.config.model import Upstream


@pytest.mark.parametrize(
    ("text", "scheme", "host", "port", "base"),
    [
        ("http://jobs", "http", "jobs", 80, ""),
        ("https://Jobs.example/", "https", "jobs.example", 443, ""),
        ("HTTP://jobs:8080/v1/", "http", "jobs", 8080, "/v1"),
        ("http://127.0.0.1:1", "http", "127.0.0.1", 1, ""),
        ("http://[::1]:65535/a%20b/c", "http", "::1", 65535, "/a%20b/c"),
        ("http://[2001:DB8::0]", "http", "2001:db8::", 80, ""),
        ("http://my_service:80", "http", "my_service", 80, ""),
        ("http://svc.cluster.local.", "http", "svc.cluster.local.", 80, ""),
        ("http://bücher.example", "http", "xn--bcher-kva.example", 80, ""),
    ],
)
def test_a_url_is_read(text: str, scheme: str, host: str, port: int, base: str) -> None:
    read = upstream(text)
    assert (read.scheme, read.host, read.port, read.base_path) == (scheme, host, port, base)
    assert read.url == text


def test_a_unix_socket_is_read() -> None:
    text = "unix:/run/jobs.sock"
    assert upstream(text) == Upstream(url=text, scheme="unix", socket_path="/run/jobs.sock")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be http"),
        ("jobs:8080", "must be http"),
        ("ftp://jobs", "must be http"),
        ("http:/jobs", "must be http"),
        ("http://", "the host is missing"),
        ("http://:80", "the host is missing"),
        ("http:///x", "the host is missing"),
        ("http://u:p@jobs", "credentials"),
        ("http://jobs?x", "query"),
        ("http://jobs/a#b", "query"),
        ("http://jobs /a", "white space"),
        ("http://jobs\n", "white space"),
        ("http://jobs:0", "from 1 to 65535"),
        ("http://jobs:65536", "from 1 to 65535"),
        ("http://jobs:", "from 1 to 65535"),
        ("http://jobs:٣", "from 1 to 65535"),
        ("http://::1", "IPv6 address needs brackets"),
        ("http://[::1", "needs brackets"),
        ("http://[jobs]", "not an IPv6 address"),
        ("http://300.1.1.1", "not an IPv4 address"),
        ("http://127.1", "not an IPv4 address"),
        ("http://-a", "not a host name"),
        ("http://a..b", "not a host name"),
        ("http://" + "a" * 64, "not a host name"),
        ("http://" + "a." * 127 + "a", "not a host name"),
        ("http://" + "é" * 64, "not a host name"),
        ("http://jobs/é", "percent-encoded"),
        ("http://jobs/%zz", "percent-encoded"),
        ("http://jobs/a/../b", r"\. or \.\. segments"),
        ("http://jobs/%2E%2e", r"\. or \.\. segments"),
        ("unix:run/x.sock", "one slash"),
        ("unix:///run/x.sock", "one slash"),
        ("unix:/" + "a" * 107, "at most 107 bytes"),
    ],
)
def test_what_no_request_could_be_sent_to_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        upstream(text)


def test_credentials_are_not_repeated_in_the_message() -> None:
    with pytest.raises(ValueError, match="credentials") as caught:
        upstream("http://user:open-sesame@jobs")
    assert "open-sesame" not in str(caught.value)


@given(st.text(max_size=40), st.sampled_from(["", "http://", "https://a/", "http://a:", "unix:/"]))
def test_any_text_is_an_address_or_is_refused(text: str, start: str) -> None:
    try:
        read = upstream(start + text)
    except ValueError as error:
        assert str(error)  # noqa: PT017 - the property is: an address, or a message
    else:
        assert read.socket_path if read.scheme == "unix" else read.host.isascii() and read.port
        assert not read.base_path.endswith("/")
