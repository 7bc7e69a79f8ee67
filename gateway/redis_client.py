"""A client of the Redis that replicas share: quick to give up, as a browser waits meanwhile."""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

MAX_CONNECTIONS = 32


def client(url: str, timeout: float, connections: int = MAX_CONNECTIONS) -> Redis:
    """A client whose every step takes `timeout` seconds at most. It connects when it is used.

    One more try, at once, as a connection that lay idle may be dead. Who sends a command bears it.
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
