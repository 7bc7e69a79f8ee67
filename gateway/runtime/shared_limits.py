"""Limits and used tokens of all workers: kept in the supervisor, asked for by the workers."""

import asyncio
from typing import TYPE_CHECKING

from gateway.auth.service import used_tokens
from gateway.auth.stream_tokens import OneUseToken
from gateway.config.model import Config
from gateway.http.errors import DRAINING, TOKEN_STORE_UNAVAILABLE, Rejection
from gateway.limits.quota import Slot
from gateway.limits.registry import QuotaRegistry
from gateway.runtime.ipc import Channel, Unanswered

if TYPE_CHECKING:
    from gateway.auth.used_tokens import UsedTokens
    from gateway.limits.quota import Quota

PATIENCE = 5.0  # seconds; the supervisor answers in a millisecond, or asks Redis


# In a worker


class SupervisorLimitStore:
    """A limit store that asks the supervisor for each exchange."""

    is_reached: bool | None = None
    fallbacks: int | None = None

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def enter(self, slot: Slot) -> None:
        """Let an exchange begin. See `LimitStore`.

        Raises Rejection DRAINING without a supervisor, because the worker then ends.
        """
        request = (slot.id, slot.quota.route, slot.user)
        try:
            await self._channel.ask("acquire", *request, within=PATIENCE)
        except Unanswered as error:
            raise Rejection(DRAINING, reason=f"supervisor: {error}") from None

    def leave(self, slot: Slot) -> None:
        """Record that an exchange is over. See `LimitStore`."""
        self._channel.send("release", slot.id)

    async def close(self) -> None:
        """The channel is closed by its worker."""


class SupervisorUsedTokens:
    """Remembers used tokens in the supervisor. See `UsedTokens`."""

    def __init__(self, channel: Channel, leeway: float) -> None:
        self.leeway = leeway
        self._channel = channel

    async def claim(self, one_use_token: OneUseToken) -> None:
        """Use a token up."""
        try:
            await self._channel.ask("claim", one_use_token, self.leeway, within=PATIENCE)
        except Unanswered as error:
            raise Rejection(TOKEN_STORE_UNAVAILABLE, reason=f"supervisor: {error}") from None

    async def release(self, one_use_token: OneUseToken) -> None:
        """Make a token valid again."""
        self._channel.send("unclaim", one_use_token)

    async def close(self) -> None:
        """The channel is closed by its worker."""


# In the supervisor


class SharedLimits:
    """The quotas of all routes and the used tokens, by the present configuration."""

    def __init__(self, config: Config) -> None:
        self.quotas = QuotaRegistry(config.limits.redis)
        self.used: UsedTokens = used_tokens(config, None)
        self._kept: list[Quota | None] = []
        self.adopt(config)

    def adopt(self, config: Config) -> None:
        """Apply the limits of this configuration from now on. Counts are kept."""
        self._kept = [self.quotas.of(route) for route in config.routes]
        self.used = used_tokens(config, self.used)

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self.quotas.close()
        await self.used.close()


class WorkerClaims:
    """The slots of one worker, and its requests to the shared limits.

    `drop` frees the slots of a worker that has exited. A token that the worker used stays used.
    """

    def __init__(self, shared_limits: SharedLimits) -> None:
        self._shared_limits = shared_limits
        self._slots: dict[int, Slot] = {}
        self._waiting: dict[int, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        """How many exchanges have a slot, or wait for one."""
        return len(self._slots)

    async def acquire(self, number: int, route: str, user: str) -> None:
        """Let the exchange of this number begin. Raises Rejection.

        A route that has no limits any more accepts every exchange.
        """
        quota = self._shared_limits.quotas.named(route)
        if quota is None:
            return
        slot = self._slots[number] = quota.slot(user)
        task = self._waiting[number] = asyncio.ensure_future(slot.acquire())
        try:
            await task
        except asyncio.CancelledError:
            return  # the worker does not wait any more
        finally:
            del self._waiting[number]
            if task.cancelled() or task.exception() is not None:
                self._slots.pop(number).release()

    async def release(self, number: int) -> None:
        """Free the slot of an exchange, or stop waiting for it. Unknown numbers are ignored."""
        if number in self._waiting:
            self._waiting[number].cancel()
        elif number in self._slots:
            self._slots.pop(number).release()

    async def claim(self, one_use_token: OneUseToken, leeway: float) -> None:
        """Use a token up. Raises Rejection, see `UsedTokens`."""
        used = self._shared_limits.used
        used.leeway = leeway
        await used.claim(one_use_token)

    async def unclaim(self, one_use_token: OneUseToken) -> None:
        """Make a token valid again."""
        await self._shared_limits.used.release(one_use_token)

    def drop(self) -> None:
        """Free all slots, because the worker has exited."""
        for task in self._waiting.values():
            task.cancel()
        for number in self._slots.keys() - self._waiting.keys():
            self._slots.pop(number).release()
