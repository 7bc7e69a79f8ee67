"""The keys of the configuration, prepared once to verify login tokens. Pure."""

from collections.abc import Sequence
from typing import Any, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm

from gateway.config.model import Auth
from gateway.http.errors import TOKEN_INVALID, Rejection

KEY_FAULTS = (jwt.PyJWTError, UnsupportedAlgorithm, NotImplementedError, TypeError, ValueError)


class KeyUnknown(Rejection):
    """A token names an unknown key, which the issuer may have made since the last fetch."""

    def __init__(self) -> None:
        super().__init__(TOKEN_INVALID, "The token is signed with a key that is not known here.")


class Keys(Protocol):
    """Finds a key by what a token's header says of it."""

    def find(self, algorithm: str, kid: str | None) -> Sequence[Any]:
        """Returns the keys for a configured algorithm; one of them must match.

        `kid` is the token's name for its key (RFC 7515, 4.1.4). Raises `KeyUnknown` if there is
        none, and other rejections.
        """


class FixedKeys:
    """The keys of the configuration: one for each algorithm, whatever name the token has for it.

    Raises ValueError, with a text for the operator, if a key does not fit a configured algorithm.
    Without any key it accepts no token.
    """

    def __init__(self, auth: Auth) -> None:
        has_key = auth.secret is not None or auth.public_key is not None
        names = auth.algorithms if has_key else ()
        self._keys = {name: (_prepared(name, auth),) for name in names}

    def find(self, algorithm: str, kid: str | None) -> Sequence[Any]:  # noqa: ARG002 - see Keys
        """Returns the key for an algorithm. Raises jwt.InvalidAlgorithmError if there is none."""
        if algorithm not in self._keys:
            raise jwt.InvalidAlgorithmError
        return self._keys[algorithm]


def _prepared(name: str, auth: Auth) -> Any:
    """Returns the key for one algorithm: the secret for HMAC, the public key for all others."""
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
