"""Tokens as an identity provider would sign them, for a secret that only tests know."""

import time

import jwt

SECRET = "a-secret-that-only-the-tests-know-48-bytes-long!"


def token(sub: str = "ada", ttl: float = 3600, **claims: object) -> str:
    """A signed HS256 token, which outlives a run of the tests.

    `ttl` in seconds may be negative. Claims of None are left out.
    """
    payload = {"sub": sub, "exp": int(time.time() + ttl), **claims}
    present = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(present, SECRET, algorithm="HS256")
