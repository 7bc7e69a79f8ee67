"""Of an issuer's keys those count that are fit to verify a token, and no others."""

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.auth.jwks import MAX_CANDIDATES, MAX_KEYS, KeySet
from gateway.auth.keys import KeyUnknown
from gateway.http.errors import Rejection
from tests.support.key_issuer import Key, key_set

RSA = rsa.generate_private_key(65537, 2048)
WEAK_RSA = rsa.generate_private_key(65537, 1024)
P384 = ec.generate_private_key(ec.SECP384R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
ED448 = ed448.Ed448PrivateKey.generate()


def jwk_of(private: Any, **more: object) -> dict[str, object]:
    family: dict[type, Any] = {RSAPrivateKey: RSAAlgorithm, EllipticCurvePrivateKey: ECAlgorithm}
    algorithm: Any = next(
        (own for kind, own in family.items() if isinstance(private, kind)), OKPAlgorithm
    )
    return {**algorithm.to_jwk(private.public_key(), as_dict=True), **more}


def found(text: bytes, algorithm: str, kid: str | None = None) -> list[Any]:
    return list(KeySet.parse(text, [algorithm]).find(algorithm, kid))


@pytest.mark.parametrize(
    ("private", "algorithms"),
    [
        (RSA, ["RS256", "RS512", "PS256"]),
        (P384, ["ES384"]),
        (ED25519, ["EdDSA"]),
        (ED448, ["EdDSA"]),
    ],
)
def test_a_key_serves_the_algorithms_of_its_kind(private: Any, algorithms: list[str]) -> None:
    keys = KeySet.parse(key_set(jwk_of(private, kid="a")), algorithms)
    for algorithm in algorithms:
        assert keys.find(algorithm, "a") == [private.public_key()]
    assert len(keys) == 1


@pytest.mark.parametrize(
    ("jwk", "algorithm"),
    [
        (jwk_of(RSA), "ES256"),
        (jwk_of(P384), "ES256"),
        (jwk_of(P384, crv="P-256"), "ES256"),
        (jwk_of(RSA, alg="RS512"), "RS256"),
        (jwk_of(RSA, alg=None), "RS256"),
        (jwk_of(RSA, use="enc"), "RS256"),
        (jwk_of(RSA, key_ops=["encrypt"]), "RS256"),
        (jwk_of(RSA, key_ops="verify"), "RS256"),
        (jwk_of(RSA, d="AQAB"), "RS256"),
        (jwk_of(RSA, n="!"), "RS256"),
        (jwk_of(RSA, kty="rsa"), "RS256"),
        (jwk_of(RSA, kty=["RSA"]), "RS256"),
        (jwk_of(WEAK_RSA), "RS256"),
        ({"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "a"}, "HS256"),
        ({"kty": "oct", "k": "c2VjcmV0" * 8, "alg": "RS256"}, "RS256"),
        ({}, "RS256"),
    ],
)
def test_a_key_that_is_not_fit_is_passed_over(jwk: dict[str, object], algorithm: str) -> None:
    with pytest.raises(ValueError, match=f"no key in it can verify {algorithm}"):
        KeySet.parse(key_set(jwk), [algorithm])


def test_one_bad_key_spoils_none_of_the_others() -> None:
    good = Key("good")
    text = key_set({"kty": "oct", "k": "AAAA", "kid": "good"}, {"kty": 7}, good.jwk(x="!"), good)
    assert len(found(text, "ES256", "good")) == 1


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"<html>", "not JSON"),
        (b"[]", 'no list "keys"'),
        (b'{"keys": {}}', 'no list "keys"'),
        (b'{"keys": []}', "no key in it"),
        (b'{"keys": [7, null]}', "no key in it"),
        (json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode(), f"more than {MAX_KEYS} keys"),
    ],
)
def test_what_is_no_set_of_keys_is_refused_with_the_cause(text: bytes, reported: str) -> None:
    with pytest.raises(ValueError, match=reported):
        KeySet.parse(text, ["ES256"])


def test_a_token_gets_the_key_that_it_names() -> None:
    one, other = Key("one"), Key("other")
    keys = KeySet.parse(key_set(one, other), ["ES256"])
    [key] = keys.find("ES256", "other")
    jwt.decode(other.token(), key, ["ES256"])


def test_a_name_that_no_key_has_is_unknown() -> None:
    keys = KeySet.parse(key_set(Key("one"), Key(None)), ["ES256"])
    with pytest.raises(KeyUnknown):
        keys.find("ES256", "other")


def test_an_empty_set_knows_no_key() -> None:
    with pytest.raises(KeyUnknown):
        KeySet(["ES256"], {}).find("ES256", None)


@pytest.mark.parametrize("algorithm", ["HS256", "none", "ES512"])
def test_an_algorithm_that_is_not_configured_has_no_key(algorithm: str) -> None:
    keys = KeySet.parse(key_set(Key("one")), ["ES256"])
    with pytest.raises(jwt.InvalidAlgorithmError):
        keys.find(algorithm, "one")


def test_keys_of_one_name_are_all_tried() -> None:
    assert len(found(key_set(Key("same"), Key("same")), "ES256", "same")) == 2


def test_a_token_without_a_name_is_tried_with_a_few_keys_and_no_more() -> None:
    names = [str(number) for number in range(MAX_CANDIDATES)]
    text = key_set(*map(Key, names))
    assert len(found(text, "ES256")) == MAX_CANDIDATES
    with pytest.raises(Rejection, match="kid"):
        found(key_set(*map(Key, [*names, "more"])), "ES256")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["keys", "kty", "crv", "x", "y", "n", "e", "alg", "use", "key_ops"])
                | st.text(max_size=3),
                inner | st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "AQAB"]),
                max_size=6,
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_at_all_is_a_set_or_a_fault(document: Any) -> None:
    for text in (document, {"keys": [document]}):
        try:
            KeySet.parse(json.dumps(text).encode(), ["RS256", "ES256", "EdDSA"])
        except ValueError as fault:
            assert str(fault)  # noqa: PT017 - a set, or a fault
