"""Responses of the gateway itself: they are sent, and recorded in the exchange."""

from http import HTTPStatus

import structlog

from gateway.http.errors import INTERNAL_ERROR, TRANSIENT, Rejection
from gateway.http.headers import SERVER_NAME, Headers
from gateway.http.own_response import OwnResponse
from gateway.http.problem import is_closing, problem_response, retry_later
from gateway.server.connection import CLOSING, KEEPING, AlreadySent
from gateway.server.request import Request
from gateway.telemetry.exchange import EndReason, Exchange

log: structlog.stdlib.BoundLogger = structlog.get_logger("gateway")


def respond(request: Request, response: OwnResponse, *, is_last: bool = False) -> AlreadySent:
    """Sends a response of the gateway itself, with the request's CORS headers.

    It is the last response on a connection that has unread bytes of the request.
    """
    if request.access is not None:
        response.headers += request.access.apply([])
    is_last = is_last or not request.keeps_alive or not request.content.is_complete
    request.connection.send(
        response.to_bytes(
            is_head=request.method == "HEAD", is_http_11=request.is_http_11, is_last=is_last
        )
    )
    return CLOSING if is_last else KEEPING


def reject(request: Request, rejection: Rejection) -> AlreadySent:
    """Sends an error response, in the form that the route reports errors in, and records it."""
    request.exchange.reject(rejection)
    is_retried = request.wants_retry and rejection.failure.status in TRANSIENT
    form = retry_later if is_retried else problem_response
    response = form(rejection, request.exchange.request_id)
    return respond(request, response, is_last=is_closing(rejection))


def fail(request: Request, error: Exception) -> AlreadySent:
    """Logs an error of the gateway. Sends a 500, or cuts a response that has begun."""
    exchange = request.exchange
    log.error("internal_error", request_id=exchange.request_id, exc_info=error)
    if exchange.first_byte_at is None:
        return reject(request, Rejection(INTERNAL_ERROR))
    exchange.end(EndReason.ERROR)
    request.connection.force_close()
    return CLOSING


def preflight_response(headers: Headers, exchange: Exchange) -> OwnResponse:
    """Returns the response to an accepted preflight, and completes the exchange."""
    exchange.status = int(HTTPStatus.NO_CONTENT)
    exchange.end(EndReason.COMPLETE)
    own = [(b"Server", SERVER_NAME.encode()), (b"X-Request-Id", exchange.request_id.encode())]
    return OwnResponse(int(HTTPStatus.NO_CONTENT), [*headers, *own])
