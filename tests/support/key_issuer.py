"""An issuer of tokens: it signs with keys of its own, and serves their public half over HTTP."""

import asyncio
import json
import time
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.routes import listener, port_of


class Key:
    """An EC key pair of some name, or of none."""

    def __init__(self, kid: str | None = None) -> None:
        self.kid = kid
        self._private = ec.generate_private_key(ec.SECP256R1())

    def jwk(self, **changes: object) -> dict[str, object]:
        """The public half (RFC 7517). A change to None leaves a member out."""
        public: dict[str, object] = jwt.algorithms.ECAlgorithm.to_jwk(
            self._private.public_key(), as_dict=True
        )
        members = {**public, "kid": self.kid, "use": "sig", "alg": "ES256", **changes}
        return {name: value for name, value in members.items() if value is not None}

    def pem(self) -> bytes:
        """The public half, as a file holds it."""
        return self._private.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )

    def token(self, sub: str = "ada", **claims: object) -> str:
        header = {"kid": self.kid} if self.kid is not None else None
        payload = {"sub": sub, "exp": int(time.time()) + 300, **claims}
        return jwt.encode(payload, self._private, "ES256", header)


def key_set(*keys: Key | dict[str, object]) -> bytes:
    jwks = [key.jwk() if isinstance(key, Key) else key for key in keys]
    return json.dumps({"keys": jwks}).encode()


class KeyIssuer:
    """Serves `text` with `status` and `headers`, once `is_free` is set; `fetches` are counted."""

    def __init__(self) -> None:
        self.text = key_set()
        self.status = 200
        self.headers: dict[str, str] = {}
        self.fetches: list[Any] = []
        self.is_free = asyncio.Event()
        self.is_free.set()
        self.came = asyncio.Condition()
        with listener() as taken:
            self.port = port_of(taken)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/keys"

    async def start(self) -> None:
        application = web.Application()
        application.router.add_get("/keys", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def until_fetched(self, times: int) -> None:
        """Wait until so many fetches have come."""
        async with asyncio.timeout(15), self.came:
            await self.came.wait_for(lambda: len(self.fetches) >= times)

    async def _answer(self, request: web.Request) -> web.Response:
        self.fetches.append(dict(request.headers))
        async with self.came:
            self.came.notify_all()
        await self.is_free.wait()
        return web.Response(body=self.text, status=self.status, headers=self.headers)
