"""A connection on which a service said a last word, heard or not, carries no other request."""

import asyncio

import pytest

from tests.support.raw_client import RawClient
from tests.support.upstream import Exchange, Script, Upstream, response
from tests.wire.conftest import Connect


async def closes(exchange: Exchange) -> None:
    """Answer, and close without having said so."""
    body = await exchange.read_body()
    await exchange.send(response(body))
    exchange.finish()


async def says_more(exchange: Exchange) -> None:
    """Answer, and answer again what nobody asked."""
    body = await exchange.read_body()
    await exchange.send(response(body))
    await exchange.send(response(b"another's"))


async def says_more_at_once(exchange: Exchange) -> None:
    """The same in one piece. A second answer that comes later may meet the next request.

    No reader of HTTP/1.1 can know then that it is not the answer to that one.
    """
    body = await exchange.read_body()
    await exchange.send(response(body) + response(b"another's"))


async def posts(client: RawClient, name: str, count: int) -> int:
    """Each answer is a 200 with the request's own body, or a 502. Gives the number of those."""
    failed = 0
    for number in range(count):
        body = f"{name}-{number}".encode()
        got = await client.fetch("/open/x", method="POST", body=body)
        failed += got.status == 502
        assert got.status == 502 or (got.status, bytes(got.body)) == (200, body)
    return failed


async def test_a_service_that_closes_unannounced_costs_no_post_its_answer(
    upstream: Upstream, client: RawClient
) -> None:
    upstream.script = closes
    assert await posts(client, "only", 100) == 0
    assert (len(upstream.requests), upstream.connections) == (100, 100)


async def test_an_answer_that_nobody_asked_for_reaches_nobody(
    upstream: Upstream, client: RawClient
) -> None:
    upstream.script = says_more
    assert await posts(client, "only", 100) == 0


@pytest.mark.parametrize("script", [closes, says_more_at_once])
async def test_browsers_side_by_side_never_get_one_anothers_answers(
    upstream: Upstream, connect: Connect, script: Script
) -> None:
    """A last word that is still on its way can cost one of them its answer: a 502 is honest."""
    upstream.script = script
    clients = [await connect() for _ in range(8)]
    await asyncio.gather(*(posts(client, f"{n}", 20) for n, client in enumerate(clients)))
