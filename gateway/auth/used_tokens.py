"""Remembers used one-use tokens until they expire, neither longer nor shorter."""

import time
from typing import Protocol

from gateway.auth.stream_tokens import OneUseToken
from gateway.http.errors import TOKEN_INVALID, TOKEN_STORE_UNAVAILABLE, Rejection

MAX_USED = 100_000  # tokens: some 20 MB, and 1,600 new streams a second during a whole minute


class UsedTokens(Protocol):
    """Where used tokens are remembered.

    `leeway` is how many seconds a clock may be off.
    """

    leeway: float

    async def claim(self, one_use_token: OneUseToken) -> None:
        """Use a token up. Of any number of claims at once, on all replicas, one succeeds.

        Raises Rejection: TOKEN_INVALID for a token that was used, or TOKEN_STORE_UNAVAILABLE if
        that cannot be known.
        """

    async def release(self, one_use_token: OneUseToken) -> None:
        """Make a token valid again. If that fails, the token stays used."""

    async def close(self) -> None:
        """Close all connections of the store."""


class MemoryUsedTokens:
    """Remembers used tokens in this process, up to `MAX_USED` of them.

    At the limit every token is rejected, because a forgotten token could be used again.
    """

    def __init__(self, leeway: float) -> None:
        """`leeway` is how many seconds the clock may be set back."""
        self.leeway = leeway
        self._until: dict[str, float] = {}  # in the order of their use

    async def claim(self, one_use_token: OneUseToken) -> None:
        """Use a token up. See `UsedTokens`."""
        now = time.time()
        self._forget_expired(now)
        if one_use_token.id in self._until:
            raise used()
        if len(self._until) >= MAX_USED:
            raise Rejection(TOKEN_STORE_UNAVAILABLE, reason=f"{MAX_USED} tokens were used")
        self._until[one_use_token.id] = one_use_token.expires + self.leeway

    async def release(self, one_use_token: OneUseToken) -> None:
        """Make a token valid again."""
        self._until.pop(one_use_token.id, None)

    async def close(self) -> None:
        """The store has no connection."""

    def _forget_expired(self, now: float) -> None:
        """Forget the tokens that have expired, the oldest first: all live for a minute."""
        while self._until:
            oldest = next(iter(self._until))
            if self._until[oldest] > now:
                return
            del self._until[oldest]


def used() -> Rejection:
    """Returns the rejection of a token that was used before."""
    return Rejection(TOKEN_INVALID, "This token was used before. Get a new one for each stream.")
