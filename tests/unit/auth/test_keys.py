"""Each algorithm has its own key, and what could not verify anything is a fault at the start."""

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.auth.keys import FixedKeys, KeyUnknown
from gateway.config.model import Auth
from gateway.http import errors

SECRET = "a secret of thirty-two bytes, yes"
PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    .decode()
)


@pytest.mark.parametrize("kid", [None, "any"])
def test_a_configured_key_serves_whatever_a_token_calls_it(kid: str | None) -> None:
    assert FixedKeys(Auth(secret=SECRET)).find("HS256", kid) == (SECRET.encode(),)
    [key] = FixedKeys(Auth(algorithms=("ES256",), public_key=PEM)).find("ES256", kid)
    assert isinstance(key, ec.EllipticCurvePublicKey)


@pytest.mark.parametrize(
    ("auth", "algorithm"),
    [
        (Auth(secret=SECRET), "HS512"),
        (Auth(secret=SECRET), "none"),
        (Auth(algorithms=("ES256",), public_key=PEM), "HS256"),
        (Auth(), "HS256"),
    ],
)
def test_another_algorithm_has_no_key(auth: Auth, algorithm: str) -> None:
    with pytest.raises(jwt.InvalidAlgorithmError):
        FixedKeys(auth).find(algorithm, None)


def test_a_key_that_serves_no_algorithm_is_a_fault() -> None:
    with pytest.raises(ValueError, match=r"auth\.public_key does not serve RS256"):
        FixedKeys(Auth(algorithms=("RS256",), public_key=PEM))


def test_an_unknown_key_is_a_401_unless_somebody_knows_better() -> None:
    assert KeyUnknown().failure is errors.TOKEN_INVALID
