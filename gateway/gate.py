"""Who may pass, with what there is to wait for: the issuer's keys, and the mark of a used token."""

from gateway.auth import Authenticator
from gateway.config import Config
from gateway.issuer import Issuer
from gateway.stream_tokens import Ticket
from gateway.used_tokens import UsedHere, UsedTokens


class Gate:
    """The authenticator and what it depends on, from start to close."""

    def __init__(self, config: Config) -> None:
        auth = config.auth
        self.authenticator = Authenticator(auth)
        self._issuer: Issuer | None = None
        if auth.jwks_url is not None:
            self._issuer = Issuer(auth.jwks_url, auth.algorithms, self.authenticator.use)
        self._used = _used_tokens(config)

    @property
    def has_keys(self) -> bool:
        """Whether there is anything to verify a token with, or will not be more than there is."""
        return self._issuer is None or self._issuer.has_keys

    def start(self) -> None:
        """Begin to fetch keys, where they are fetched."""
        if self._issuer is not None:
            self._issuer.start()

    async def close(self) -> None:
        """Let go of the issuer and of Redis."""
        if self._issuer is not None:
            await self._issuer.close()
        await self._used.close()

    async def look_again(self) -> None:
        """Wait for the keys, after `KeyUnknown`. Raises Refusal KEYS_UNAVAILABLE."""
        if self._issuer is not None:
            await self._issuer.look_again()

    async def claim(self, ticket: Ticket) -> None:
        """Use a stream token up. Raises Refusal, see `UsedTokens`."""
        await self._used.claim(ticket)

    async def release(self, ticket: Ticket) -> None:
        """Take a claim back."""
        await self._used.release(ticket)


def _used_tokens(config: Config) -> UsedTokens:
    auth, redis = config.auth, config.limits.redis
    if redis is None or auth.token_endpoint is None:
        return UsedHere(auth.leeway)
    # The client takes a tenth of a second to import, which only those pay who use it.
    from gateway.redis_tokens import UsedAnywhere  # noqa: PLC0415

    return UsedAnywhere(redis, auth.leeway)
