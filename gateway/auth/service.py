"""The authentication service: authenticator, keys and used tokens, carried over by reloads."""

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
    """Authenticates requests. It has an authenticator, a key fetcher and a store of used tokens.

    A service `after` another takes over what must not be lost: the used tokens, and the key of this
    process, which signs one-use tokens if there is no secret. It takes over fetched keys and
    verified tokens if their settings have not changed. The first service may be given both by a
    supervisor.
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
            # Tokens that were verified by other rules or another key are verified again.
            self.authenticator = Authenticator(auth, self.own_key)
            self.issuer = self._issuer_of(auth, after)
        self.used: UsedTokens = used_tokens(config, used)

    @property
    def has_keys(self) -> bool:
        """Whether there are keys to verify tokens with, or none to wait for."""
        return self.issuer is None or self.issuer.has_keys

    def start(self) -> None:
        """Begin to fetch keys, if they are fetched. A second call changes nothing."""
        if self.issuer is not None:
            self.issuer.start()

    def begin(self) -> None:
        """Replace the service before. Until this call that one has not been changed."""
        self.used.leeway = self.auth.leeway
        if self.issuer is not None:
            self.issuer.hand_to(self.authenticator.use)

    async def close(self, other: "AuthService | None" = None) -> None:
        """Close connections to the issuer and to Redis, except those that `other` uses as well."""
        if self.issuer is not None and (other is None or other.issuer is not self.issuer):
            await self.issuer.close()
        if other is None or other.used is not self.used:
            await self.used.close()

    async def await_keys(self, other: "AuthService") -> None:
        """Wait for the first keys of an issuer that `other` does not have.

        Raises Rejection KEYS_UNAVAILABLE.
        """
        if self.issuer is not None and self.issuer is not other.issuer:
            await self.issuer.refetch_keys()

    async def refetch_keys(self) -> None:
        """Wait for a fetch of the keys, after `KeyUnknown`. Raises Rejection KEYS_UNAVAILABLE."""
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
        """Use a one-use token up. Raises Rejection, see `UsedTokens`.

        The token becomes valid again if the block raises Rejection, or calls `give_back`.
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
    """Returns the store of used tokens. The store before is kept while there is no token endpoint.

    The first token endpoint moves it from memory to Redis. `limits.redis` never changes while a
    process runs, and without an endpoint no token was used.
    """
    auth, redis = config.auth, config.limits.redis
    is_shared = redis is not None and auth.token_endpoint is not None
    if before is not None and (not is_shared or not isinstance(before, MemoryUsedTokens)):
        return before
    if redis is None or not is_shared:
        return MemoryUsedTokens(auth.leeway)
    # The client takes a tenth of a second to import, which only its users pay.
    from gateway.auth.redis_used_tokens import RedisUsedTokens  # noqa: PLC0415

    return RedisUsedTokens(redis, auth.leeway)
