"""Stream tokens: for one path, for a minute, for one use. Pure.

EventSource cannot send a header, so that what opens a stream stands in a URL, where logs, histories
and screens show it. This is a token that is worth nothing there: a JSON Web Token (RFC 7519) of the
gateway's own, with the claims of the login token that it stands for.

It is signed with a key that signs nothing else, is of a type of its own (RFC 8725, 3.11) and for an
audience of its own: it is never taken for a login token, nor a login token for it.
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
    """What a stream token is good for: one GET of one path.

    `id` is unique, and `expires` in seconds since the epoch.
    """

    id: str
    path: str
    expires: float

    def require(self, method: str, path: str) -> None:
        """Raise Refusal TOKEN_INVALID for a request that it is not for. It is not used up by that.

        A HEAD is not: a mail program that looks at a link before a person does must not use it up.
        """
        if method != "GET":
            raise Rejection(
                TOKEN_INVALID, "This token is for one GET; use the log-in's for others."
            )
        if not is_same_path(path, self.path):
            raise Rejection(TOKEN_INVALID, "This token is for another path; get one for this path.")


class StreamTokens:
    """Issues stream tokens and reads them. Whether one was used is not known here."""

    def __init__(self, auth: Auth, claims: Iterable[str], own_key: bytes | None = None) -> None:
        """Carry these `claims` of the login token over, where it has them.

        `own_key` signs them where there is no secret to derive a key from; without it, a new one.
        """
        secret = auth.stream_token_secret or auth.secret
        self._key = _derived(secret) if secret else own_key or secrets.token_bytes(KEY_SIZE)
        self._claims = ("sub", "exp", *claims)
        self._leeway = auth.leeway

    def issue(self, login: Mapping[str, Any], path: str) -> tuple[str, int]:
        """Give a token for one GET of `path`, and the seconds that it is good for.

        `login` holds the claims of a login token that was found sound. Raises Refusal:
        TOKEN_EXPIRED, or TOKEN_INVALID for one with more claims than fit into another.
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
        """Give the claims of the login token that it stands for, and what it is good for.

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
    """A key for this purpose alone (RFC 5869)."""
    derivation = HKDF(algorithm=SHA256(), length=KEY_SIZE, salt=None, info=_PURPOSE)
    return derivation.derive(secret.encode())
