"""Responses of the gateway itself, by aiohttp: error responses and JSON documents."""

from collections.abc import Mapping
from http import HTTPStatus

import structlog
from aiohttp import web

from gateway.http.errors import INTERNAL_ERROR, TRANSIENT, Rejection
from gateway.http.event_stream import reconnection_time
from gateway.http.header_edits import Access
from gateway.http.headers import SERVER_NAME, Headers
from gateway.http.own_response import own_headers as _own_headers
from gateway.server.connection import CLOSING, Response
from gateway.server.request import Request
from gateway.telemetry.exchange import EndReason, Exchange

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")


def rejected(request: Request, rejection: Rejection) -> web.StreamResponse:
    """Returns the error response to a request, in the form that its route reports errors in."""
    is_retried = request.wants_retry and rejection.failure.status in TRANSIENT
    form = retry_later if is_retried else problem_response
    return readable(request, form(rejection, request.exchange))


def failed(request: Request, error: Exception) -> Response:
    """Logs an error of the gateway. Returns a 500; cuts a response that has begun."""
    exchange, transport = request.exchange, request.connection.transport
    log.error("internal_error", request_id=exchange.request_id, exc_info=error)
    if exchange.first_byte_at is None:
        return rejected(request, Rejection(INTERNAL_ERROR))
    exchange.end(EndReason.ERROR)
    if transport is not None:
        transport.abort()
    return CLOSING


def readable(request: Request, response: web.StreamResponse) -> web.StreamResponse:
    """Returns a response of the gateway itself, with the request's CORS headers.

    It is the last response on a connection that has unread bytes of the request. A response that
    was sent already is left alone.
    """
    if response.prepared:
        return response
    allow_access(response, request.access)
    if not request.keeps_alive or not request.content.is_eof():
        response.force_close()
    return response


def problem_response(rejection: Rejection, exchange: Exchange) -> web.Response:
    """Returns a problem document (RFC 9457), and records the rejection in the exchange."""
    exchange.reject(rejection)
    failure = rejection.failure
    return web.Response(
        status=failure.status,
        body=rejection.problem(exchange.request_id),
        content_type="application/problem+json",
        headers=[*failure.headers, *rejection.headers, *own_headers(exchange.request_id)],
    )


def retry_later(rejection: Rejection, exchange: Exchange) -> web.Response:
    """Returns an event stream that makes an EventSource reconnect (HTML 9.2.3).

    An EventSource reconnects by itself only after a 200. The stream has two lines and no blank
    line, which some clients would read as an event: a comment with the error code, and `retry`.
    The exchange records the status and the code of the rejection all the same.
    """
    response = problem_response(rejection, exchange)
    retry = reconnection_time(response.headers.popall("Retry-After", [None])[0])
    response.set_status(200)
    response.content_type = "text/event-stream"
    response.body = b": %b\nretry: %d\n" % (rejection.failure.code.encode(), retry)
    return response


def allow_access(response: web.StreamResponse, access: Access | None) -> None:
    """Adds the CORS headers to a response of the gateway itself."""
    if access is not None:
        for name, value in access.apply([]):
            response.headers.add(name.decode(), value.decode("latin-1"))


def preflight_response(headers: Headers, exchange: Exchange) -> web.Response:
    """Returns the response to an accepted preflight, and completes the exchange."""
    exchange.status = int(HTTPStatus.NO_CONTENT)
    exchange.end(EndReason.COMPLETE)
    own = [("Server", SERVER_NAME), ("X-Request-Id", exchange.request_id)]
    received = [(name.decode(), value.decode("latin-1")) for name, value in headers]
    return web.Response(status=HTTPStatus.NO_CONTENT, headers=[*received, *own])


def token_response(body: Mapping[str, object], exchange: Exchange) -> web.Response:
    """Returns the response that issues a token, and completes the exchange."""
    response = web.json_response(body, headers=own_headers(exchange.request_id))
    exchange.status = int(HTTPStatus.OK)
    exchange.mark_first_byte()
    exchange.bytes_out = len(response.body) if isinstance(response.body, bytes) else 0
    exchange.end(EndReason.COMPLETE)
    return response


def own_headers(request_id: str) -> list[tuple[str, str]]:
    return [(name.decode(), value.decode()) for name, value in _own_headers(request_id)]


def json_response(body: Mapping[str, object], status: int = 200) -> web.Response:
    """Returns a JSON document about the present moment, which no cache may keep."""
    headers = {"Cache-Control": "no-store", "Server": SERVER_NAME}
    return web.json_response(body, status=status, headers=headers)
