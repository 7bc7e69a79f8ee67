"""A client gives up in time, on a Redis that is not there and on one that does not answer."""

import asyncio
import time

import pytest
from redis.exceptions import RedisError

from gateway.redis_client import client


async def test_one_that_does_not_answer_is_given_up_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        redis = client(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", 0.1)
        begun = time.monotonic()
        with pytest.raises((RedisError, OSError)):
            await redis.ping()
        assert time.monotonic() - begun < 2
        await redis.aclose()
