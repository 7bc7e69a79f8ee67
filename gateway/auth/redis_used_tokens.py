"""Remembers used one-use tokens of all replicas, in the Redis that they share."""

import asyncio
import contextlib
import math
import secrets
import time

import structlog
from redis.exceptions import RedisError

from gateway.auth.stream_tokens import OneUseToken
from gateway.auth.used_tokens import used
from gateway.http.errors import TOKEN_STORE_UNAVAILABLE, Rejection
from gateway.redis_client import client

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")

TIMEOUT = 1.0  # seconds for the whole claim
PREFIX = "gateway:used-token:"


class RedisUsedTokens:
    """Remembers in Redis. Without Redis every token is rejected, because it may have been used."""

    def __init__(self, url: str, leeway: float) -> None:
        """`leeway` is how many seconds the clock of a replica may be off."""
        self.leeway = leeway
        self._is_reached = True
        self._redis = client(url, TIMEOUT)

    async def claim(self, one_use_token: OneUseToken) -> None:
        """Use a token up. See `UsedTokens`."""
        try:
            async with asyncio.timeout(TIMEOUT):
                is_ours = await self._write(PREFIX + one_use_token.id, self._life(one_use_token))
        except (RedisError, OSError, TimeoutError) as error:
            raise self._unreached(error) from None
        self._reached()
        if not is_ours:
            raise used()

    async def release(self, one_use_token: OneUseToken) -> None:
        """Make a token valid again. If that fails, the token stays used."""
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(TIMEOUT):
                await self._redis.delete(PREFIX + one_use_token.id)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    async def _write(self, key: str, life: int) -> bool:
        """Write a claim, unless there is one. Returns whether it is ours.

        A command that is sent again may have been executed the first time: then our own mark is
        found.
        """
        mark = secrets.token_bytes(16)
        if await self._redis.set(key, mark, nx=True, ex=life):
            return True
        return bool(await self._redis.get(key) == mark)

    def _life(self, one_use_token: OneUseToken) -> int:
        """Returns the seconds to remember a token: until it has expired for every replica."""
        return max(1, math.ceil(one_use_token.expires - time.time() + 2 * self.leeway))

    def _unreached(self, error: Exception) -> Rejection:
        reason = f"redis: {type(error).__name__}"
        if self._is_reached:
            self._is_reached = False
            log.error("token_store_unavailable", error=reason)
        return Rejection(TOKEN_STORE_UNAVAILABLE, reason=reason)

    def _reached(self) -> None:
        if not self._is_reached:
            self._is_reached = True
            log.info("token_store_available")
