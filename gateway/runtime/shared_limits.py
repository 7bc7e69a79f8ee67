"""What one worker has leave for, kept where all workers ask: in the supervisor."""

import asyncio
from typing import TYPE_CHECKING

from gateway.auth.service import used_tokens
from gateway.auth.stream_tokens import OneUseToken
from gateway.config.model import Config
from gateway.limits.registry import QuotaRegistry

if TYPE_CHECKING:
    from gateway.auth.used_tokens import UsedTokens
    from gateway.limits.quota import Quota, Slot


class SharedLimits:
    """The quotas of all routes and the used tokens, as the configuration of now has them."""

    def __init__(self, config: Config) -> None:
        self.quotas = QuotaRegistry(config.limits.redis)
        self.used: UsedTokens = used_tokens(config, None)
        self._kept: list[Quota | None] = []
        self.adopt(config)

    def adopt(self, config: Config) -> None:
        """Hold the limits of this configuration from now on. What is counted stays counted."""
        self._kept = [self.quotas.of(route) for route in config.routes]
        self.used = used_tokens(config, self.used)

    async def close(self) -> None:
        """Let go of Redis."""
        await self.quotas.close()
        await self.used.close()


class WorkerClaims:
    """Answers one worker from the quotas and the used tokens of all.

    What the worker had when it died is given back by `drop`. A token that it used stays used.
    """

    def __init__(self, shared_limits: SharedLimits) -> None:
        self._shared_limits = shared_limits
        self._permits: dict[int, Slot] = {}
        self._asking: dict[int, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        """How many exchanges have leave, or wait for it."""
        return len(self._permits)

    async def take(self, number: int, route: str, user: str) -> None:
        """Let an exchange begin; `number` is what it is called later. Raises Refusal.

        A route that has no limits by now has room.
        """
        quota = self._shared_limits.quotas.named(route)
        if quota is None:
            return
        slot = self._permits[number] = quota.slot(user)
        task = self._asking[number] = asyncio.ensure_future(slot.acquire())
        try:
            await task
        except asyncio.CancelledError:
            return  # the worker gave it up, and waits no more
        finally:
            del self._asking[number]
            if task.cancelled() or task.exception() is not None:
                self._permits.pop(number).release()

    async def release(self, number: int) -> None:
        """An exchange is over, or is not to begin. One that was refused is no fault."""
        if number in self._asking:
            self._asking[number].cancel()
        elif number in self._permits:
            self._permits.pop(number).release()

    async def claim(self, one_use_token: OneUseToken, leeway: float) -> None:
        """Use a token up. Raises Refusal, see `UsedTokens`."""
        used = self._shared_limits.used
        used.leeway = leeway
        await used.claim(one_use_token)

    async def unclaim(self, one_use_token: OneUseToken) -> None:
        """Take a claim back."""
        await self._shared_limits.used.release(one_use_token)

    def drop(self) -> None:
        """The worker is gone, and all that it had with it."""
        for task in self._asking.values():
            task.cancel()
        for number in self._permits.keys() - self._asking.keys():
            self._permits.pop(number).release()
