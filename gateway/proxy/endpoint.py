"""The interface of an endpoint: a path that the gateway answers itself."""

from typing import Protocol

from gateway.auth.cors import CorsPolicy
from gateway.http.own_response import OwnResponse
from gateway.server.connection import AlreadySent
from gateway.server.request import Request


class Endpoint(Protocol):
    """Answers the requests to one path of the public port.

    `is_recorded` is whether its exchanges are logged, counted and traced. `methods` are the methods
    that a preflight may announce.
    """

    @property
    def is_recorded(self) -> bool:
        """Whether its exchanges are logged, counted and traced."""

    @property
    def methods(self) -> bytes:
        """The methods that a preflight may announce."""

    def policy(self, origin: bytes) -> CorsPolicy | None:
        """Returns the CORS policy for pages of this origin; None where no page may read it."""

    async def answer(self, request: Request) -> OwnResponse | AlreadySent:
        """Returns the response, sent or not. Raises Rejection."""
