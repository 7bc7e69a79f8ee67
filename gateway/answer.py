"""The gateway's own answers: what a refusal looks like on the wire, and in the record."""

from aiohttp import web

from gateway.account import EndReason, Exchange
from gateway.errors import (
    INTERNAL_ERROR,
    UPSTREAM_BAD_RESPONSE,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNREACHABLE,
    Refusal,
)

SERVER = "gateway"  # with no version of it, nor of what it is made of

_ENDINGS = {
    INTERNAL_ERROR: EndReason.ERROR,
    UPSTREAM_BAD_RESPONSE: EndReason.ERROR,
    UPSTREAM_TIMEOUT: EndReason.UPSTREAM_TIMEOUT,
    UPSTREAM_UNREACHABLE: EndReason.ERROR,
}


def answer(refusal: Refusal, exchange: Exchange) -> web.Response:
    """The response that tells a refusal; the exchange's record tells it from now on too."""
    failure = refusal.failure
    exchange.status, exchange.code = int(failure.status), failure.code
    exchange.end(_ENDINGS.get(failure, EndReason.REFUSED), refusal.reason)
    return web.Response(
        status=failure.status,
        body=refusal.problem(exchange.request_id),
        content_type="application/problem+json",
        headers=[
            *failure.headers,
            *refusal.headers,
            ("Cache-Control", "no-store"),
            ("Server", SERVER),
            ("Referrer-Policy", "no-referrer"),
            ("X-Request-Id", exchange.request_id),
        ],
    )
