"""Memory for one stream is bounded, and a slow browser holds back nobody but its own upstream."""

import asyncio

from tests.support.gateway_process import GatewayProcess
from tests.support.raw_client import RawClient
from tests.support.upstream import EVENT_STREAM, LAST_CHUNK, Exchange, Upstream, chunk
from tests.wire.conftest import Connect

MIB = 1024 * 1024
BLOCK = b"x" * 65536
FLOOD = 256 * MIB  # far more than all buffers on the way can hold
KERNEL_BUFFERS = 32 * MIB  # generous: what two loopback connections may hold between them
GROWTH = 48 * MIB


async def floods(exchange: Exchange) -> None:
    """Send a lot, as fast as it is taken."""
    await exchange.send(EVENT_STREAM)
    while exchange.sent < FLOOD:
        await exchange.send(chunk(BLOCK))
    await exchange.send(LAST_CHUNK)


async def until_stuck(*exchanges: Exchange) -> None:
    """Wait until the sending of all of them no longer moves."""
    before: list[int] = []
    while (now := [exchange.sent for exchange in exchanges]) != before:
        before = now
        await asyncio.sleep(0.5)


async def test_a_stalled_browser_stops_the_reading_from_its_upstream(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect
) -> None:
    upstream.script = floods
    resident = gateway.resident_bytes()
    client = await connect(receive_buffer=4096)
    await client.request("/open/stalled")
    exchange = await upstream.exchange()
    await client.head()
    await until_stuck(exchange)
    assert exchange.sent < KERNEL_BUFFERS
    assert gateway.resident_bytes() - resident < GROWTH


async def test_a_stalled_browser_does_not_hold_back_another(
    upstream: Upstream, connect: Connect
) -> None:
    confirmed = asyncio.Queue[None]()

    async def calm(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM)
        for number in range(20):
            await exchange.send(chunk(b"data: %d\n\n" % number))
            await confirmed.get()
        await exchange.send(LAST_CHUNK)

    async def script(exchange: Exchange) -> None:
        await (calm if exchange.request.target == "/open/calm" else floods)(exchange)

    upstream.script = script
    stalled, flowing = await connect(receive_buffer=4096), await connect()
    await stalled.request("/open/stalled")
    exchange = await upstream.exchange()
    await stalled.head()
    await until_stuck(exchange)
    await flowing.request("/open/calm")
    await flowing.head()
    for number in range(20):
        await flowing.until(b"data: %d\n\n" % number)
        confirmed.put_nowait(None)


async def test_a_new_stream_begins_at_once_beside_fifty_that_flood(
    upstream: Upstream, connect: Connect
) -> None:
    """At once: before the others got a round of reading each."""
    taken = 0
    are_flowing = asyncio.Event()

    async def calm(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM + chunk(b"data: 1\n\n") + LAST_CHUNK)

    async def script(exchange: Exchange) -> None:
        await (calm if exchange.request.target == "/open/calm" else floods)(exchange)

    async def drain(client: RawClient) -> None:
        nonlocal taken
        while (await client.take(MIB)).ending is None:
            taken += MIB
            if taken >= 50 * MIB:
                are_flowing.set()

    upstream.script = script
    flooded = [await connect() for _ in range(50)]
    for client in flooded:
        await client.request("/open/flood")
        await client.head()
    flowing = await connect()
    async with asyncio.TaskGroup() as group:
        drains = [group.create_task(drain(client)) for client in flooded]
        await are_flowing.wait()
        before = taken
        await flowing.request("/open/calm")
        await flowing.head()
        assert taken - before < 50 * MIB
        assert (await flowing.rest()).body == b"data: 1\n\n"
        for each in drains:
            each.cancel()


async def test_many_stalled_browsers_stay_within_bounds(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect
) -> None:
    upstream.script = floods
    resident = gateway.resident_bytes()
    for _ in range(20):
        client = await connect(receive_buffer=4096)
        await client.request("/open/stalled")
        await client.head()
    exchanges = [await upstream.exchange() for _ in range(20)]
    await until_stuck(*exchanges)
    assert gateway.resident_bytes() - resident < 2 * GROWTH


async def test_a_browser_that_reads_on_after_a_stall_gets_every_byte(
    upstream: Upstream, connect: Connect
) -> None:
    blocks = 400

    async def script(exchange: Exchange) -> None:
        await exchange.send(EVENT_STREAM)
        for number in range(blocks):
            await exchange.send(chunk(bytes([number % 256]) * len(BLOCK)))
        await exchange.send(LAST_CHUNK)

    upstream.script = script
    client = await connect(receive_buffer=65536)
    await client.request("/open/stalled")
    exchange = await upstream.exchange()
    await client.head()
    await until_stuck(exchange)
    got = await client.rest()
    expected = b"".join(bytes([number % 256]) * len(BLOCK) for number in range(blocks))
    assert got.body == expected


async def test_a_browser_that_takes_nothing_is_cut_after_the_send_timeout(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect
) -> None:
    upstream.script = floods
    client = await connect(receive_buffer=4096)
    await client.request("/send-timeout", "X-Request-Id: takes-nothing")
    exchange = await upstream.exchange()
    await client.head()
    await exchange.gone_at()
    line = await gateway.request_line(request_id="takes-nothing")
    assert line["end_reason"] == "client_stalled"
    assert line["duration_ms"] >= 1000


async def test_a_browser_that_reads_slowly_is_not_cut(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect
) -> None:
    upstream.script = floods
    client = await connect()
    await client.request("/send-timeout", "X-Request-Id: reads-slowly")
    await client.head()
    for _ in range(12):  # well over twice the send timeout
        got = await client.take(MIB)
        assert got.ending is None, got.ending
        await asyncio.sleep(0.2)
    assert gateway.request_lines(request_id="reads-slowly") == []


async def test_a_stalled_upload_stops_the_reading_from_its_browser(
    upstream: Upstream, gateway: GatewayProcess, connect: Connect
) -> None:
    go_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await go_on.wait()
        await exchange.until_gone()

    upstream.script = script
    resident = gateway.resident_bytes()
    client = await connect()
    await client.send(b"POST /large/x HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % FLOOD)
    await upstream.exchange()
    sent = 0
    try:
        while sent < FLOOD:
            async with asyncio.timeout(1):
                await client.send(BLOCK)
            sent += len(BLOCK)
    except TimeoutError:
        pass
    assert sent < KERNEL_BUFFERS
    assert gateway.resident_bytes() - resident < GROWTH
