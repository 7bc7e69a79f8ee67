import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.loader.cors_section import cors, origin
from gateway.config.loader.faults import ConfigError
from gateway.config.loader.yaml_document import compose
from gateway.config.model import Cors

APP = "https://app.example.com"


def read(text: str, environ: dict[str, str] | None = None) -> Cors | None:
    return cors(compose(text), environ or {})


def refused(text: str, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, environ)
    return [fault.message for fault in caught.value.faults]


def test_origins_are_enough() -> None:
    assert read(f"origins: {APP}") == Cors((APP,))


def test_every_key_is_read() -> None:
    text = f"""
        origins: [{APP}, "https://*.example.org"]
        credentials: true
        methods: [get, PUT]
        headers: [Authorization, Content-Type]
        expose: []
        max_age: 1h
    """
    assert read(text) == Cors(
        origins=(APP, "https://*.example.org"),
        credentials=True,
        methods=("GET", "HEAD", "PUT"),
        headers=("Authorization", "Content-Type"),
        expose=(),
        max_age=3600.0,
    )


@pytest.mark.parametrize("text", ["none", "false", "'none'"])
def test_it_can_be_turned_off(text: str) -> None:
    assert read(text) is None


def test_a_variable_may_hold_several_origins() -> None:
    found = read(
        "origins: [$PAGES, https://c.example]", {"PAGES": "https://a.dev, http://b.dev:80"}
    )
    assert found == Cors(("https://a.dev", "http://b.dev", "https://c.example"))


def test_without_an_environment_a_variable_is_left_out() -> None:
    assert cors(compose("origins: $PAGES"), None) == Cors(())


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("HTTPS://App.Example.com:443", "https://app.example.com"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:443", "http://localhost:443"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ("https://*.Example.com:8443", "https://*.example.com:8443"),
        ("http://[::0:1]:8080", "http://[::1]:8080"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("*", "*"),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(text: str, written: str) -> None:
    assert origin(text) == written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("app.example.com", "is not an origin: it must be scheme://host"),
        ("", "is not an origin"),
        ("https://", "must be scheme://host"),
        ("https://app.example.com/", "leave out '/'"),
        ("https://app.example.com/login?a", "leave out '/login\\?a'"),
        ("https://u:p@app.example.com", "must be scheme://host"),
        ("https://app.example.com:0", "the port must be a number"),
        ("https://app.*.com", "may stand for subdomains"),
        ("https://*app.example.com", "may stand for subdomains"),
        ("https://*.*.com", "may stand for subdomains"),
        ("https://*", "may stand for subdomains"),
        ("*://app.example.com", "is not an origin"),
        ("https://*.10.0.0.1", "no subdomains"),
        ("https://*.[::1]", "no subdomains"),
        ("https://a b.example.com", "is not a host name"),
        ("null", "every sandboxed page"),
    ],
)
def test_what_no_browser_would_send_is_rejected_with_a_fix(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        origin(text)


@given(st.text(max_size=40) | st.from_regex(r"https?://[a-z.*:0-9@/]{0,20}", fullmatch=True))
def test_an_origin_that_is_read_is_read_as_itself_again(text: str) -> None:
    try:
        written = origin(text)
    except ValueError:
        return
    assert origin(written) == written
    assert written.isascii()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "origins is missing"),
        ("{origins: []}", "the list is empty"),
        ("{origins: '*', credentials: true}", "list the origins instead of '*'"),
        (f"{{origins: ['*', {APP}]}}", "every origin already"),
        (f"{{origins: [{APP}, 'null']}}", "sandboxed"),
        (f"{{origins: '{APP},'}}", "'' is not an origin"),
        ("{origins: $PAGES}", "PAGES is not set"),
        (f"{{origins: {APP}, methods: '*'}}", "remove the key"),
        (f"{{origins: {APP}, headers: '*'}}", "remove headers"),
        (f"{{origins: {APP}, headers: 'a b'}}", "is not a header name"),
        (f"{{origins: {APP}, expose: ['*'], credentials: true}}", "list the headers"),
        (f"{{origins: {APP}, max_age: 600}}", "such as 600s"),
        (f"{{origins: {APP}, max_age: none}}", "asking each time"),
        (f"{{origins: {APP}, allow_credentials: true}}", "did you mean 'credentials'?"),
        ("true", "must be a mapping"),
    ],
)
def test_a_section_that_could_not_work_is_refused(text: str, message: str) -> None:
    (fault,) = refused(text)
    assert message in fault


def test_every_header_may_be_exposed_where_no_credentials_go() -> None:
    found = read(f"{{origins: {APP}, expose: ['*']}}")
    assert found is not None
    assert found.expose == ("*",)


def test_all_faults_are_reported_at_once() -> None:
    text = "{origins: [null, x], credentials: 1, max_age: 5, headers: '*'}"
    assert len(refused(text)) == 5
