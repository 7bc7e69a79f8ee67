"""The gateway's own answers: what a refusal looks like on the wire, and in the record."""

from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus

from aiohttp import web

from gateway.auth.cors import Access
from gateway.http.errors import (
    INTERNAL_ERROR,
    UPSTREAM_BAD_RESPONSE,
    UPSTREAM_TIMEOUT,
    UPSTREAM_UNHEALTHY,
    UPSTREAM_UNREACHABLE,
    Rejection,
)
from gateway.http.headers import Headers
from gateway.http.reconnect import delay
from gateway.telemetry.exchange import EndReason, Exchange

SERVER = "gateway"  # with no version of it, nor of what it is made of

_ENDINGS = {
    INTERNAL_ERROR: EndReason.ERROR,
    UPSTREAM_BAD_RESPONSE: EndReason.ERROR,
    UPSTREAM_TIMEOUT: EndReason.UPSTREAM_TIMEOUT,
    UPSTREAM_UNHEALTHY: EndReason.ERROR,
    UPSTREAM_UNREACHABLE: EndReason.ERROR,
}


def answer(rejection: Rejection, exchange: Exchange) -> web.Response:
    """The response that tells a refusal; the exchange's record tells it from now on too."""
    _record(rejection, exchange)
    failure = rejection.failure
    return web.Response(
        status=failure.status,
        body=rejection.problem(exchange.request_id),
        content_type="application/problem+json",
        headers=[*failure.headers, *rejection.headers, *_own_headers(exchange)],
    )


def bare_answer(rejection: Rejection, exchange: Exchange) -> bytes:
    """The same as bytes, for one whose request nobody read: the last response on its connection."""
    _record(rejection, exchange)
    failure, body = rejection.failure, rejection.problem(exchange.request_id)
    headers = [
        *(each for each in failure.headers if each[0] != "Connection"),
        ("Connection", "close"),
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(body))),
        ("Date", formatdate(usegmt=True)),
        *_own_headers(exchange),
    ]
    lines = [f"HTTP/1.1 {failure.status:d} {failure.status.phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def disclose(response: web.Response, access: Access | None) -> None:
    """Let the page that asked read an answer of the gateway's own, where it may."""
    if access is not None:
        for name, value in access.apply([]):
            response.headers.add(name.decode(), value.decode("latin-1"))


def preflight_answer(told: Headers, exchange: Exchange) -> web.Response:
    """The response to a preflight whose origin may call; the record says that it went well."""
    exchange.status = int(HTTPStatus.NO_CONTENT)
    exchange.end(EndReason.COMPLETE)
    headers = [(name.decode(), value.decode("latin-1")) for name, value in told]
    return web.Response(
        status=HTTPStatus.NO_CONTENT,
        headers=[*headers, ("Server", SERVER), ("X-Request-Id", exchange.request_id)],
    )


def retry_later(rejection: Rejection, exchange: Exchange) -> web.Response:
    """An answer for an EventSource, which comes back by itself after a 200 alone (HTML 9.2.3).

    An event stream of two lines, and no blank one, which would be an event to some clients: a
    comment that names the code, and when to come back. The exchange's record has the status and
    code of the refusal all the same.
    """
    response = answer(rejection, exchange)
    retry = delay(response.headers.popall("Retry-After", [None])[0])
    response.set_status(200)
    response.content_type = "text/event-stream"
    response.body = b": %b\nretry: %d\n" % (rejection.failure.code.encode(), retry)
    return response


def issued(body: Mapping[str, object], exchange: Exchange) -> web.Response:
    """The response that gives a token, which nobody may keep; the exchange is complete with it."""
    response = web.json_response(body, headers=_own_headers(exchange))
    exchange.status = int(HTTPStatus.OK)
    exchange.mark_first_byte()
    exchange.bytes_out = len(response.body) if isinstance(response.body, bytes) else 0
    exchange.end(EndReason.COMPLETE)
    return response


def _record(rejection: Rejection, exchange: Exchange) -> None:
    failure = rejection.failure
    exchange.status, exchange.code = int(failure.status), failure.code
    exchange.end(_ENDINGS.get(failure, EndReason.REFUSED), rejection.reason)


def told(body: Mapping[str, object], status: int = 200) -> web.Response:
    """The response to an operator's question, which is of this moment."""
    headers = {"Cache-Control": "no-store", "Server": SERVER}
    return web.json_response(body, status=status, headers=headers)


def _own_headers(exchange: Exchange) -> list[tuple[str, str]]:
    return [
        ("Cache-Control", "no-store"),
        ("Server", SERVER),
        ("Referrer-Policy", "no-referrer"),
        ("X-Request-Id", exchange.request_id),
    ]
