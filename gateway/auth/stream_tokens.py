"""One-use tokens: for one path, for a minute, for one use. Pure.

EventSource cannot send a header, so that the token of a stream stands in a URL, where logs,
histories and screens show it. A one-use token is worth nothing there. It is a JSON Web Token (RFC
7519) of the gateway, with the claims of the login token that it stands for.

It is signed with a key that signs nothing else, and has a type (RFC 8725, 3.11) and an audience of
its own. So it is never taken for a login token, nor a login token for it.
"""

import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.config.model import MAX_TOKEN, Auth
from gateway.http.errors import TOKEN_EXPIRED, TOKEN_INVALID, Rejection
from gateway.http.paths import is_same_path

LIFE = 60  # seconds, or what is left of the login token
TYPE = "gateway-stream+jwt"
AUDIENCE = "gateway:stream"
KEY_SIZE = 32  # bytes
_ALGORITHM = "HS256"
_PURPOSE = b"gateway stream token 1"
_REQUIRED = ["exp", "aud", "jti"]


@dataclass(frozen=True, slots=True)
class OneUseToken:
    """What a one-use token is valid for: one GET of one path.

    `id` is unique, and `expires` is in seconds since the epoch.
    """

    id: str
    path: str
    expires: float

    def require(self, method: str, path: str) -> None:
        """Raises Rejection TOKEN_INVALID for another request. That does not use the token up.

        A HEAD is another request, because a mail program that checks a link must not use it up.
        """
        if method != "GET":
            raise Rejection(
                TOKEN_INVALID, "This token is for one GET. Use the login token for others."
            )
        if not is_same_path(path, self.path):
            raise Rejection(TOKEN_INVALID, "This token is for another path. Get one for this path.")


class StreamTokens:
    """Issues and reads one-use tokens. It does not know whether a token was used."""

    def __init__(self, auth: Auth, claims: Iterable[str], own_key: bytes | None = None) -> None:
        """Copy these `claims` of the login token, if it has them.

        `own_key` signs the tokens if there is no secret to derive a key from. The default is a new
        one.
        """
        secret = auth.stream_token_secret or auth.secret
        self._key = _derived(secret) if secret else own_key or secrets.token_bytes(KEY_SIZE)
        self._claims = ("sub", "exp", *claims)
        self._leeway = auth.leeway

    def issue(self, login: Mapping[str, Any], path: str) -> tuple[str, int]:
        """Returns a token for one GET of `path`, and the seconds for which it is valid.

        `login` has the claims of a verified login token. Raises Rejection: TOKEN_EXPIRED, or
        TOKEN_INVALID if the claims are too long for a URL.
        """
        now = int(time.time())
        life = min(LIFE, int(login["exp"] + self._leeway) - now)
        if life < 1:
            raise Rejection(TOKEN_EXPIRED)
        token = self._signed(login, path, now + life)
        if len(token) > MAX_TOKEN:
            raise Rejection(
                TOKEN_INVALID, "The token's claims and the path are too long for a URL."
            )
        return token, life

    def read(self, token: bytes) -> tuple[dict[str, Any], OneUseToken]:
        """Returns the claims of the login token that it stands for, and what it is valid for.

        Raises jwt.PyJWTError, as for any token.
        """
        read = jwt.decode(
            token,
            self._key,
            algorithms=[_ALGORITHM],
            audience=AUDIENCE,
            options={"require": _REQUIRED},
        )
        return read["login"], OneUseToken(read["jti"], read["path"], float(read["exp"]))

    def _signed(self, login: Mapping[str, Any], path: str, expires: int) -> str:
        payload = {
            "aud": AUDIENCE,
            "exp": expires,
            "jti": secrets.token_urlsafe(16),
            "path": path,
            "login": {name: login[name] for name in self._claims if name in login},
        }
        return jwt.encode(payload, self._key, _ALGORITHM, {"typ": TYPE})


def _derived(secret: str) -> bytes:
    """Returns a key for this purpose alone (RFC 5869)."""
    derivation = HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=None, info=_PURPOSE)
    return derivation.derive(secret.encode())
