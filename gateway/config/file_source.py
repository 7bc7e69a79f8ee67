"""The routes.yaml file: reading it, and noticing its changes."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from hashlib import sha256
from pathlib import Path

from watchfiles import Change, awatch

from gateway.config.loader import fetch, parse
from gateway.config.loader.yaml_document import MAX_SIZE
from gateway.config.model import Config

# Milliseconds. A change is over after this much quiet, because an editor may write a file in steps.
QUIET = 100
LONGEST_WAIT = 1600
# The file is checked this often in any case, because some file systems report no changes.
LOOK = 5000
# The files of a ConfigMap are links into this. Kubernetes replaces it in one step.
DATA_LINK = "..data"


class Source:
    """A routes.yaml, and the environment that its references are read from.

    `data` are the bytes that were valid when the file was last read.
    """

    def __init__(self, path: str | Path, environ: Mapping[str, str]) -> None:
        self.path = path
        self._file = Path(path).absolute()
        self._environ = environ
        self._seen = self._digest()
        self.data = b""

    async def read(self) -> Config:
        """Reads the file as it is now. Raises ConfigError.

        It runs in a thread, because a long file takes longer than a stream should wait.
        """
        self._seen = await asyncio.to_thread(self._digest)
        data = await asyncio.to_thread(fetch, self.path)
        config = await asyncio.to_thread(parse, data, self._environ, str(self.path))
        self.data = data
        return config

    async def changes(self, stop: asyncio.Event) -> AsyncGenerator[None, None]:
        """Yields when the file differs from what was last read, until stopped.

        It notices a file that is written in place, replaced by another (as editors do), or replaced
        by a link on the way to it. Raises OSError if the file cannot be watched.
        """
        # The folder reports files that are replaced. The file itself reports writes, for a file
        # that is mounted alone.
        events = awatch(
            self._file.parent,
            self._file,
            watch_filter=self._is_concerned,
            stop_event=stop,
            step=QUIET,
            debounce=LONGEST_WAIT,
            rust_timeout=LOOK,
            yield_on_timeout=True,
            recursive=False,
        )
        async with contextlib.aclosing(events):
            async for _ in events:
                if await asyncio.to_thread(self._digest) != self._seen:
                    yield

    def _is_concerned(self, _: Change, path: str) -> bool:
        return Path(path).name in {self._file.name, DATA_LINK}

    def _digest(self) -> bytes:
        """Returns a digest of the file; nothing if it cannot be read.

        A pipe has none, because each of its bytes can be read only once.
        """
        try:
            if not self._file.is_file():
                return b""
            with self._file.open("rb") as file:
                return sha256(file.read(MAX_SIZE + 1)).digest()
        except OSError:
            return b""
