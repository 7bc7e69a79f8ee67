"""Settings and fixtures that hold for every test."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path  # noqa: TC003

import pytest
import uvloop
from hypothesis import settings

from tests.support.receiving import Received, receiving
from tests.support.redis_process import RedisProcess
from tests.support.routes import listener, port_of
from tests.support.stage import Open, stages
from tests.support.upstream import Upstream

SLOW = ("browser", "operations", "fronts", "runtime", "streaming", "security")  # folders

# A busy machine makes an example slow without making it wrong.
settings.register_profile("gateway", deadline=None)
settings.load_profile("gateway")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slow folders first, a file of each in turn.

    So no process is left alone with a slow file at the end, and browsers do not all run at once.
    """
    places: dict[Path, int] = {}
    count: Counter[Path] = Counter()
    for item in items:
        if item.path not in places:
            folder = item.path.parent
            count[folder] += 1
            places[item.path] = count[folder] if folder.name in SLOW else len(items)
    items.sort(key=lambda item: places[item.path])


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every loop that the gateway is run on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def service() -> AsyncIterator[Upstream]:
    """An upstream of the test's own, so that the shared gateway's record stays clean."""
    service = Upstream()
    taken = listener()
    service.port = port_of(taken)
    service.start(taken)
    yield service
    await service.stop()


@pytest.fixture
async def open_stage() -> AsyncIterator[Open]:
    async with stages() as open_stage:
        yield open_stage


@pytest.fixture
async def received() -> AsyncIterator[Received]:
    """Give what the gateway's server makes of the bytes of a request."""
    async with receiving() as received:
        yield received


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    """A Redis of the test's own, which it may kill and start again."""
    redis = RedisProcess(tmp_path_factory.mktemp("redis"))
    redis.start()
    yield redis
    redis.kill()
