"""A worker's side of what holds over all workers: it asks the supervisor each time."""

from itertools import count

from gateway.auth.stream_tokens import OneUseToken
from gateway.config.model import RouteLimits
from gateway.http.errors import DRAINING, TOKEN_STORE_UNAVAILABLE, Rejection
from gateway.limits.quota import Quota, Slot
from gateway.runtime.ipc import Channel, Unanswered

PATIENCE = 5.0  # seconds; the supervisor answers in a millisecond, or asks Redis, which is bounded

_numbers = count(1)


class SupervisorQuota(Quota):
    """The limits of a route, with what is used up of them in the supervisor."""

    def __init__(self, route: str, limits: RouteLimits, channel: Channel) -> None:
        super().__init__(route, limits, None)
        self._channel = channel

    def slot(self, user: str) -> Slot:
        """What an exchange of this user asks for leave with."""
        return SupervisorSlot(self, user, self._channel)


class SupervisorSlot(Slot):
    """Leave for one exchange, had from the supervisor."""

    __slots__ = ("_channel", "_number")

    def __init__(self, quota: Quota, user: str, channel: Channel) -> None:
        super().__init__(quota, user)
        self._channel = channel
        self._number = 0

    async def acquire(self) -> None:
        """Begin. Raises Refusal as `Slot`, or DRAINING: without a supervisor a worker ends."""
        self._number = next(_numbers)
        try:
            await self._channel.ask(
                "take", self._number, self._quota.route, self._user, within=PATIENCE
            )
        except Unanswered as error:
            raise Rejection(DRAINING, reason=f"supervisor: {error}") from None

    def release(self) -> None:
        """It is over, or never began."""
        if self._number:
            self._channel.tell("release", self._number)
            self._number = 0


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
        """Take a claim back."""
        self._channel.tell("unclaim", one_use_token)

    async def close(self) -> None:
        """Nothing is held."""
