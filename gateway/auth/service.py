"""Who may pass, with what there is to wait for: the issuer's keys, and the mark of a used token."""

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from gateway.auth.authenticator import Authenticator, Identity
from gateway.auth.key_fetcher import Addresses, KeyFetcher
from gateway.auth.keys import KeyUnknown
from gateway.auth.stream_tokens import KEY_SIZE, OneUseToken
from gateway.auth.used_tokens import MemoryUsedTokens, UsedTokens
from gateway.config.model import Auth, Config
from gateway.http.errors import Rejection


class Redemption:
    """The use of a one-use token."""

    def __init__(self) -> None:
        self.is_given_back = False

    def give_back(self) -> None:
        """Make the token valid again, because nothing came of its use."""
        self.is_given_back = True


class AuthService:
    """The authenticator and what it depends on, from start to close.

    One that comes `after` another takes over what must not be lost: the tokens that were used, and
    the key of this process, that stream tokens are signed with where there is no secret. Fetched
    keys and remembered tokens are taken over where nothing was said anew on how they are had. The
    first one may be given both, where they are those of several processes.
    """

    def __init__(
        self,
        config: Config,
        after: "AuthService | None" = None,
        *,
        own_key: bytes | None = None,
        used: UsedTokens | None = None,
        addresses: Addresses | None = None,
    ) -> None:
        auth = config.auth
        self.auth: Auth = auth
        if after is not None:
            own_key, used, addresses = after.own_key, after.used, after.addresses
        self.addresses: Addresses | None = addresses
        self.own_key: bytes = own_key or secrets.token_bytes(KEY_SIZE)
        self.authenticator: Authenticator
        self.issuer: KeyFetcher | None = None
        if after is not None and after.auth == auth:
            self.authenticator, self.issuer = after.authenticator, after.issuer
        else:
            # What was verified by other rules, or with another key, counts for nothing here.
            self.authenticator = Authenticator(auth, self.own_key)
            self.issuer = self._issuer_of(auth, after)
        self.used: UsedTokens = used_tokens(config, used)

    @property
    def has_keys(self) -> bool:
        """Whether there is anything to verify a token with, or will not be more than there is."""
        return self.issuer is None or self.issuer.has_keys

    def start(self) -> None:
        """Begin to fetch keys, where they are fetched and nobody began before."""
        if self.issuer is not None:
            self.issuer.start()

    def begin(self) -> None:
        """Let requests in from now on. Until then it has changed nothing of the one before."""
        self.used.leeway = self.auth.leeway
        if self.issuer is not None:
            self.issuer.hand_to(self.authenticator.use)

    async def close(self, other: "AuthService | None" = None) -> None:
        """Let go of the issuer and of Redis, but not of those that the other has too."""
        if self.issuer is not None and (other is None or other.issuer is not self.issuer):
            await self.issuer.close()
        if other is None or other.used is not self.used:
            await self.used.close()

    async def await_keys(self, other: "AuthService") -> None:
        """Wait for the first keys of an issuer that the other does not have.

        Raises Refusal KEYS_UNAVAILABLE.
        """
        if self.issuer is not None and self.issuer is not other.issuer:
            await self.issuer.refetch_keys()

    async def refetch_keys(self) -> None:
        """Wait for the keys, after `KeyUnknown`. Raises Refusal KEYS_UNAVAILABLE."""
        if self.issuer is not None:
            await self.issuer.refetch_keys()

    async def authenticate(
        self,
        *,
        authorization: Sequence[bytes],
        query: bytes = b"",
        cookies: Sequence[bytes] = (),
    ) -> Identity:
        """Returns the identity that a token proves. Raises Rejection, see `Authenticator`.

        A token that names an unknown key is verified again after the keys were fetched again.
        """
        try:
            return self.authenticator.authenticate(
                authorization=authorization, query=query, cookies=cookies
            )
        except KeyUnknown:
            await self.refetch_keys()
        return self.authenticator.authenticate(
            authorization=authorization, query=query, cookies=cookies
        )

    async def log_in(
        self, *, authorization: Sequence[bytes], cookies: Sequence[bytes]
    ) -> tuple[Identity, Mapping[str, Any]]:
        """Returns the identity and the claims of a login token. Raises Rejection."""
        try:
            return self.authenticator.login(authorization=authorization, cookies=cookies)
        except KeyUnknown:
            await self.refetch_keys()
        return self.authenticator.login(authorization=authorization, cookies=cookies)

    @asynccontextmanager
    async def redeem(self, one_use_token: OneUseToken) -> AsyncGenerator["Redemption", None]:
        """Uses a one-use token up. Raises Rejection, see `UsedTokens`.

        The token is given back where the block raises Rejection, or where it asks for that.
        """
        await self.used.claim(one_use_token)
        redemption = Redemption()
        try:
            yield redemption
        except Rejection:
            await self.used.release(one_use_token)
            raise
        if redemption.is_given_back:
            await self.used.release(one_use_token)

    def _issuer_of(self, auth: Auth, after: "AuthService | None") -> KeyFetcher | None:
        if auth.jwks_url is None:
            return None
        if after is not None and after.issuer is not None and _same_issuer(auth, after.auth):
            return after.issuer
        return KeyFetcher(auth.jwks_url, auth.algorithms, self.authenticator.use, self.addresses)


def _same_issuer(auth: Auth, other: Auth) -> bool:
    return (auth.jwks_url, auth.algorithms) == (other.jwks_url, other.algorithms)


def used_tokens(config: Config, before: UsedTokens | None) -> UsedTokens:
    """Where used tokens are written down: where they were, also while there is no token endpoint.

    To a Redis it goes from memory only with the first token endpoint: `limits.redis` stays as it
    was at the start, and without an endpoint nobody had a token to use.
    """
    auth, redis = config.auth, config.limits.redis
    is_shared = redis is not None and auth.token_endpoint is not None
    if before is not None and (not is_shared or not isinstance(before, MemoryUsedTokens)):
        return before
    if redis is None or not is_shared:
        return MemoryUsedTokens(auth.leeway)
    # The client takes a tenth of a second to import, which only those pay who use it.
    from gateway.auth.redis_used_tokens import RedisUsedTokens  # noqa: PLC0415

    return RedisUsedTokens(redis, auth.leeway)
