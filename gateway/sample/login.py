"""Stands in for the login service of a real site: it gives a token to every client.

The key pair lives as long as the process. Only its public half leaves the process.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

COOKIE = "gateway_token"
LIFE = 300  # seconds
SUBJECT = "demo"


@dataclass(frozen=True, slots=True)
class Login:
    """Signs tokens (RFC 7519, EdDSA after RFC 8037) with a key pair of its own."""

    _key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate, repr=False)

    @property
    def public_key_pem(self) -> str:
        public = self._key.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()

    def token(self) -> str:
        now = int(time.time())
        claims = {"sub": SUBJECT, "iat": now, "exp": now + LIFE}
        return jwt.encode(claims, self._key, algorithm="EdDSA")

    async def answer(self, request: web.Request) -> web.Response:
        """Answer `POST /demo/login`: the token in the body, and the same one as a cookie.

        The body is `{"token", "expires_in"}`, in seconds.
        """
        token = self.token()
        response = web.json_response({"token": token, "expires_in": LIFE})
        response.headers["Cache-Control"] = "no-store"
        scheme = request.headers.get("X-Forwarded-Proto", request.scheme)
        response.set_cookie(
            COOKIE,
            token,
            max_age=LIFE,
            path="/",
            httponly=True,
            samesite="Strict",
            secure=scheme == "https",
        )
        return response


def publish(public_key_pem: str, path: Path) -> None:
    """Write the public key where the gateway reads it; a reader never sees half a file.

    Raises OSError if the folder is missing or may not be written.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
    unfinished.write_text(public_key_pem, encoding="ascii")
    unfinished.replace(path)
