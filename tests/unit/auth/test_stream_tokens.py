"""A stream token stands for a login token on one path, and each is never taken for the other."""

import base64
import json
from typing import Any

import jwt
import pytest
import time_machine
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.authenticator import Authenticator
from gateway.auth.credentials import TokenSource
from gateway.auth.stream_tokens import AUDIENCE, TYPE, OneUseToken, StreamTokens
from gateway.config.model import Auth
from gateway.http import errors
from gateway.http.errors import Failure, Rejection

SECRET = "a secret of thirty-two bytes, yes"
NOW = 1_800_000_000
AUTH = Auth(secret=SECRET, token_endpoint="/t", leeway=5.0, forward_claims=(("email", "X-Email"),))
PATH = "/jobs/7/stream"


@pytest.fixture(autouse=True)
def _now() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


def login(**claims: Any) -> dict[str, Any]:
    return {"sub": "ada", "exp": NOW + 300} | claims


def signed(claims: dict[str, Any] | None = None, secret: str = SECRET, **header: Any) -> bytes:
    return jwt.encode(claims or login(), secret, "HS256", header).encode()


def issued(auth: Auth = AUTH, **claims: Any) -> bytes:
    return Authenticator(auth).issue(login(**claims), PATH)[0].encode()


def verdict(token: bytes, auth: Auth = AUTH) -> Any:
    try:
        return Authenticator(auth).authenticate(
            authorization=(), query=b"token=" + token, cookies=()
        )
    except Rejection as refusal:
        return refusal.failure


def failure(call: Any) -> Failure:
    with pytest.raises(Rejection) as caught:
        call()
    return caught.value.failure


def test_it_stands_for_the_login_token_as_long_as_that_lives() -> None:
    token = issued(email="ada@example", scope="a b", scp=["c"], secret_of_mine="x")
    identity = verdict(token)
    assert (identity.subject, identity.source) == ("ada", TokenSource.QUERY)
    assert identity.scopes == {"a", "b", "c"}
    assert identity.headers == ((b"X-Email", b"ada@example"),)
    assert identity.expires_at == NOW + 300
    assert (identity.one_use_token.path, identity.one_use_token.expires) == (PATH, NOW + 60)
    payload = token.split(b".")[1]
    assert b"secret_of_mine" not in base64.urlsafe_b64decode(payload + b"==")


def test_each_has_an_id_of_its_own() -> None:
    assert verdict(issued()).one_use_token.id != verdict(issued()).one_use_token.id


@pytest.mark.parametrize(("left", "life"), [(300, 60), (60, 60), (40, 45), (0.5, 5), (-4, 1)])
def test_it_lives_a_minute_or_what_is_left_of_the_login_token(left: float, life: int) -> None:
    token, reported = StreamTokens(AUTH, ()).issue(login(exp=NOW + left), PATH)
    assert reported == life
    with time_machine.travel(NOW + life - 0.01, tick=False):
        assert verdict(token.encode()).one_use_token
    with time_machine.travel(NOW + life, tick=False):
        assert verdict(token.encode()) is errors.TOKEN_EXPIRED


def test_a_login_token_that_just_ran_out_gets_none() -> None:
    assert failure(lambda: issued(exp=NOW - 4.5)) is errors.TOKEN_EXPIRED


def test_claims_that_fit_into_no_url_are_refused() -> None:
    assert failure(lambda: issued(email="a" * 8000)) is errors.TOKEN_INVALID


def test_a_login_token_is_no_stream_token_whatever_it_says_of_itself() -> None:
    claims = {**login(), "aud": AUDIENCE, "jti": "1", "path": PATH, "login": login()}
    assert verdict(signed(claims, typ=TYPE)) is errors.TOKEN_INVALID
    assert verdict(signed(claims)).one_use_token is None


def test_a_stream_token_is_no_login_token_whatever_it_says_of_itself() -> None:
    head, payload, _ = issued().split(b".")
    for kind in (b'"JWT"', b"null"):
        changed = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":%b}' % kind).rstrip(b"=")
        forged = b".".join([changed, payload, issued().split(b".")[2]])
        assert verdict(forged) is errors.TOKEN_INVALID
    assert json.loads(base64.urlsafe_b64decode(head + b"=="))["typ"] == TYPE


def test_a_stream_token_gets_no_other() -> None:
    bearer, cookie = [b"Bearer " + issued()], [b"gateway_token=" + issued()]
    login = Authenticator(AUTH).login
    assert failure(lambda: login(authorization=bearer, cookies=())) is errors.TOKEN_INVALID
    assert failure(lambda: login(authorization=(), cookies=cookie)) is errors.TOKEN_INVALID


def test_without_the_endpoint_nothing_is_a_stream_token() -> None:
    assert verdict(issued(), Auth(secret=SECRET)) is errors.TOKEN_INVALID
    assert failure(lambda: Authenticator(Auth(secret=SECRET)).issue(login(), PATH))


def test_it_is_never_remembered() -> None:
    authenticator = Authenticator(AUTH)
    token = issued()
    for _ in range(2):
        authenticator.authenticate(authorization=(), query=b"token=" + token, cookies=())
    assert not authenticator._remembered


@pytest.mark.parametrize(
    ("issuer", "reader", "is_read"),
    [
        (AUTH, AUTH, True),
        (AUTH, Auth(secret=SECRET[::-1], token_endpoint="/t"), False),
        (
            Auth(algorithms=("ES256",), token_endpoint="/t", stream_token_secret=SECRET),
            Auth(algorithms=("RS256",), token_endpoint="/t", stream_token_secret=SECRET),
            True,
        ),
        (AUTH, Auth(secret=SECRET, token_endpoint="/t", stream_token_secret=SECRET[::-1]), False),
        (
            Auth(algorithms=("ES256",), token_endpoint="/t"),
            Auth(algorithms=("ES256",), token_endpoint="/t"),
            False,
        ),
    ],
)
def test_another_process_reads_it_where_it_has_the_same_secret(
    issuer: Auth, reader: Auth, is_read: bool
) -> None:
    result = verdict(issued(issuer), reader)
    assert (result is errors.TOKEN_INVALID) is not is_read


TICKET = OneUseToken("1", PATH, NOW + 60)


@pytest.mark.parametrize("path", [PATH, "//jobs/7/stream", "/%6aobs/7//stream"])
def test_it_is_good_for_its_path_however_that_is_spelt(path: str) -> None:
    TICKET.require("GET", path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("HEAD", PATH),
        ("OPTIONS", PATH),
        ("POST", PATH),
        ("GET", "/jobs/8/stream"),
        ("GET", PATH + "/"),
        ("GET", PATH.upper()),
        ("GET", "/jobs%2F7/stream"),
    ],
)
def test_it_is_good_for_no_other_request(method: str, path: str) -> None:
    assert failure(lambda: TICKET.require(method, path)) is errors.TOKEN_INVALID


@given(st.text() | st.text(st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF)))
def test_any_path_comes_back_as_it_was_bound(path: str) -> None:
    tokens = StreamTokens(AUTH, ())
    try:
        token, _ = tokens.issue(login(), path)
    except Rejection:
        assert len(path) > 500
    else:
        assert tokens.read(token.encode())[1].path == path
