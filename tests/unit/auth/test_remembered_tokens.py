"""A token that was verified once is accepted for just as long as it would be without a cache."""

from typing import Any

import jwt
import pytest
import time_machine
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.auth import authenticator as module
from gateway.auth.authenticator import Authenticator, Identity
from gateway.config.model import Auth
from gateway.http import errors
from gateway.http.errors import Failure, Rejection

SECRET = "a secret of thirty-two bytes, yes"
NOW = 1_800_000_000
AUTH = Auth(secret=SECRET, leeway=5.0, forward_claims=(("sub", "X-User-Id"),))

seconds = st.floats(-20, 20) | st.integers(-20, 20)


def signed(**claims: Any) -> bytes:
    return jwt.encode({"sub": "ada", "exp": NOW + 60} | claims, SECRET, "HS256").encode()


def verdict(authenticator: Authenticator, token: bytes, query: bytes = b"") -> Identity | Failure:
    bearer = [] if query else [b"Bearer " + token]
    try:
        return authenticator.authenticate(authorization=bearer, query=query, cookies=())
    except Rejection as refusal:
        return refusal.failure


@given(
    st.dictionaries(st.sampled_from(["exp", "nbf", "iat"]), seconds),
    st.lists(seconds, min_size=2, max_size=4),
)
@example({"exp": 0}, [-1, 4.99, 5.0, 5.01])
@example({"nbf": 0}, [-5.0, -5.01, 3])
@example({"iat": 0.9}, [-5, -5.1])
def test_at_any_time_the_verdict_is_that_of_one_who_remembers_nothing(
    offsets: dict[str, float], times: list[float]
) -> None:
    token = signed(**{name: NOW + offset for name, offset in offsets.items()})
    remembering = Authenticator(AUTH)
    for time in times:
        with time_machine.travel(NOW + time, tick=False):
            assert verdict(remembering, token) == verdict(Authenticator(AUTH), token)


@time_machine.travel(NOW, tick=False)
def test_a_token_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    authenticator, token = Authenticator(AUTH), signed()
    first = verdict(authenticator, token)
    monkeypatch.setattr(jwt.PyJWT, "decode", None)
    assert verdict(authenticator, token) is first


@time_machine.travel(NOW, tick=False)
def test_of_a_token_in_two_places_each_is_reported() -> None:
    authenticator, token = Authenticator(AUTH), signed()
    by_header, by_query = (
        verdict(authenticator, token),
        verdict(authenticator, b"", b"token=" + token),
    )
    assert isinstance(by_header, Identity)
    assert isinstance(by_query, Identity)
    assert (by_header.source, by_query.source) == ("authorization", "query")


@time_machine.travel(NOW, tick=False)
def test_a_token_that_is_like_a_known_one_but_for_its_signature_is_refused() -> None:
    authenticator, token = Authenticator(AUTH), signed()
    assert isinstance(verdict(authenticator, token), Identity)
    assert verdict(authenticator, token[:-10] + b"A" * 10) is errors.TOKEN_INVALID
    assert verdict(authenticator, token + b" ") == verdict(Authenticator(AUTH), token + b" ")


@time_machine.travel(NOW, tick=False)
def test_only_so_many_are_remembered_and_the_rest_is_verified_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 2)
    authenticator = Authenticator(AUTH)
    tokens = [signed(sub=str(number)) for number in range(5)]
    for token in [*tokens, *tokens]:
        assert isinstance(verdict(authenticator, token), Identity)
    assert len(authenticator._remembered) == 2


@time_machine.travel(NOW, tick=False)
def test_what_is_remembered_is_no_token() -> None:
    authenticator, token = Authenticator(AUTH), signed()
    verdict(authenticator, token)
    assert token.rpartition(b".")[2].decode() not in repr(vars(authenticator))
