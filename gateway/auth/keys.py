"""What a login token's signature is checked with: the keys, prepared once. Pure."""

from collections.abc import Sequence
from typing import Any, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm

from gateway.config.model import Auth
from gateway.http.errors import TOKEN_INVALID, Rejection

KEY_FAULTS = (jwt.PyJWTError, UnsupportedAlgorithm, NotImplementedError, TypeError, ValueError)


class KeyUnknown(Rejection):
    """A token names a key that is not known, though whoever issues the keys may have made it."""

    def __init__(self) -> None:
        super().__init__(TOKEN_INVALID, "The token is signed with a key that is not known here.")


class Keys(Protocol):
    """Where a key is found by what a token's header says of it."""

    def find(self, algorithm: str, kid: str | None) -> Sequence[Any]:
        """Give the keys for a configured algorithm, of which one must match.

        `kid` is the token's name for its key (RFC 7515, 4.1.4). Raises `KeyUnknown` where there is
        none, and other refusals.
        """


class FixedKeys:
    """The keys of the configuration: one for each algorithm, whatever the token calls it.

    Raises ValueError, fit for an operator, when a key does not serve a configured algorithm.
    Without any key there is nothing that it would let in.
    """

    def __init__(self, auth: Auth) -> None:
        has_key = auth.secret is not None or auth.public_key is not None
        names = auth.algorithms if has_key else ()
        self._keys = {name: (_prepared(name, auth),) for name in names}

    def find(self, algorithm: str, kid: str | None) -> Sequence[Any]:  # noqa: ARG002 - see Keys
        """Give the key for an algorithm. Raises jwt.InvalidAlgorithmError where there is none."""
        if algorithm not in self._keys:
            raise jwt.InvalidAlgorithmError
        return self._keys[algorithm]


def _prepared(name: str, auth: Auth) -> Any:
    """Return the key for one algorithm: the secret for HMAC, the public key for all others."""
    field, text = ("secret", auth.secret) if name[:2] == "HS" else ("public_key", auth.public_key)
    if text is None:
        raise ValueError(f"auth.algorithms has {name}, which needs auth.{field}: set it")
    try:
        algorithm = jwt.get_algorithm_by_name(name)
        key = algorithm.prepare_key(text)
    except KEY_FAULTS as error:
        raise ValueError(f"auth.{field} does not serve {name}: {error}") from None
    if hasattr(key, "private_bytes"):
        raise ValueError(f"auth.{field} holds a private key: put the public one there")
    if weakness := algorithm.check_key_length(key):
        raise ValueError(f"auth.{field} is too short for {name}: {weakness}")
    return key
