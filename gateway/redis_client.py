"""A client of the Redis that replicas share, with short timeouts, because clients wait for it."""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

MAX_CONNECTIONS = 32


def client(url: str, timeout: float, connections: int = MAX_CONNECTIONS) -> Redis:
    """Returns a client whose every step takes `timeout` seconds at most. It connects at first use.

    A command is sent once more at once, because an idle connection may be dead. Commands must allow
    that.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 1),
    )
    return Redis.from_pool(pool)
