"""Which one-use tokens were used: remembered until they expire, never longer, never shorter."""

import time
from typing import Protocol

from gateway.auth.stream_tokens import OneUseToken
from gateway.http.errors import TOKEN_INVALID, TOKEN_STORE_UNAVAILABLE, Rejection

MAX_USED = 100_000  # tokens: some 20 MB, and 1,600 new streams a second for a minute on end


class UsedTokens(Protocol):
    """Where it is written down that a token was used.

    `leeway` is how many seconds a clock may be off.
    """

    leeway: float

    async def claim(self, one_use_token: OneUseToken) -> None:
        """Use a token up. Of any number of claims at once, anywhere, one succeeds.

        Raises Refusal: TOKEN_INVALID for one that was used before, or TOKEN_STORE_UNAVAILABLE where
        that cannot be known.
        """

    async def release(self, one_use_token: OneUseToken) -> None:
        """Take a claim back: nothing came of it. Where that fails, the token stays used."""

    async def close(self) -> None:
        """Let go of whatever it holds."""


class MemoryUsedTokens:
    """Remembers the tokens that were used in this process, `MAX_USED` of them.

    At the bound it lets none in, as to forget one would let that one in again.
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
        """Take a claim back."""
        self._until.pop(one_use_token.id, None)

    async def close(self) -> None:
        """Nothing is held."""

    def _forget_expired(self, now: float) -> None:
        """Forget the oldest that expired. All live a minute: none waits long behind another."""
        while self._until:
            oldest = next(iter(self._until))
            if self._until[oldest] > now:
                return
            del self._until[oldest]


def used() -> Rejection:
    """Say that a token was used before."""
    return Rejection(TOKEN_INVALID, "This token was used before; get a new one for each stream.")
