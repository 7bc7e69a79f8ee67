"""JSON Web Key Sets (RFC 7517): which of their keys may verify which tokens. Pure.

An issuer publishes keys for many purposes. Keys that cannot verify a signature with a configured
algorithm are skipped, as section 5 says. A set without any usable key is an error.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.auth.keys import KEY_FAULTS, KeyUnknown
from gateway.http.errors import TOKEN_INVALID, Rejection

MAX_KEYS = 64
# How many keys one token is tried with: those of one name, or of none.
MAX_CANDIDATES = 4
MIN_RSA_BITS = 2048  # RFC 7518, section 3.3
# The algorithms of a kind of key, by `kty` and `crv`: RFC 7518 (6.1) and RFC 8037 (2). A symmetric
# key (`oct`) has none, because a reader of the set could sign with it.
_ALGORITHMS: Mapping[tuple[object, object], tuple[str, ...]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}

_Named = tuple[str | None, Any]


class KeySet:
    """The keys of an issuer, by algorithm. They are the `Keys` for the tokens that it signs."""

    def __init__(self, algorithms: Sequence[str], keys: Mapping[str, Sequence[_Named]]) -> None:
        self._keys = {name: tuple(keys.get(name, ())) for name in algorithms}

    def __len__(self) -> int:
        return len({id(key) for named in self._keys.values() for _, key in named})

    @classmethod
    def parse(cls, text: bytes, algorithms: Sequence[str]) -> "KeySet":
        """Reads a set. Raises ValueError, with a text for the operator, if no key is usable."""
        keys: dict[str, list[_Named]] = {}
        for jwk in _jwks(text):
            names = [name for name in _served(jwk) if name in algorithms]
            key = _key(jwk, names[0]) if names else None
            if key is not None:
                for name in names:
                    keys.setdefault(name, []).append((_kid(jwk), key))
        if not keys:
            raise ValueError(f"no key in it can verify {', '.join(algorithms)}")
        return cls(algorithms, keys)

    def find(self, algorithm: str, kid: str | None) -> Sequence[Any]:
        """Returns the keys of that name, or all for the algorithm if the token names none.

        Raises `KeyUnknown`, jwt.InvalidAlgorithmError, or Rejection for an ambiguous token.
        """
        if algorithm not in self._keys:
            raise jwt.InvalidAlgorithmError
        keys = [key for name, key in self._keys[algorithm] if kid in (None, name)]
        if not keys:
            raise KeyUnknown
        if len(keys) > MAX_CANDIDATES:
            raise Rejection(
                TOKEN_INVALID, 'The token does not say which key it is signed with: "kid".'
            )
        return keys


def _jwks(text: bytes) -> Sequence[Mapping[str, Any]]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    keys = read.get("keys") if isinstance(read, dict) else None
    if not isinstance(keys, list):
        raise ValueError('it is not a JSON Web Key Set: it has no list "keys"')  # noqa: TRY004
    if len(keys) > MAX_KEYS:
        raise ValueError(f"it has more than {MAX_KEYS} keys")
    return [key for key in keys if isinstance(key, dict)]


def _served(jwk: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the algorithms that a key may be used with, by its kind and its own statements."""
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not _has(operations, "verify") or "d" in jwk:
        return ()
    kind = (jwk.get("kty"), None if jwk.get("kty") == "RSA" else jwk.get("crv"))
    served = _ALGORITHMS.get(kind, ()) if all(isinstance(x, str | None) for x in kind) else ()
    return tuple(name for name in served if jwk.get("alg", name) == name)


def _has(operations: object, wanted: str) -> bool:
    return isinstance(operations, list) and wanted in operations


def _key(jwk: Mapping[str, Any], algorithm: str) -> Any:
    """Returns the key, or None for a broken or weak one."""
    try:
        key = jwt.PyJWK(dict(jwk), algorithm).key
    except KEY_FAULTS:
        return None
    return None if isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS else key


def _kid(jwk: Mapping[str, Any]) -> str | None:
    kid = jwk.get("kid")
    return kid if isinstance(kid, str) else None
