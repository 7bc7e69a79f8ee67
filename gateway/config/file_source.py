"""Where the configuration comes from: a file that is read again, and that tells when it changed."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from hashlib import sha256
from pathlib import Path

from watchfiles import Change, awatch

from gateway.config.loader import fetch, parse
from gateway.config.loader.yaml_document import MAX_SIZE
from gateway.config.model import Config

# Milliseconds. A change is over after this much quiet: an editor may write a file in several steps.
QUIET = 100
LONGEST_WAIT = 1600
# So often it is looked at in any case: not every file system tells, nor tells of every change.
LOOK = 5000
# What a ConfigMap's files are links into. Kubernetes swaps it for another in one step.
DATA_LINK = "..data"


class Source:
    """A routes.yaml, and the environment that its references are read from.

    `data` are the bytes that were found sound when it was last read.
    """

    def __init__(self, path: str | Path, environ: Mapping[str, str]) -> None:
        self.path = path
        self._file = Path(path).absolute()
        self._environ = environ
        self._seen = self._digest()
        self.data = b""

    async def read(self) -> Config:
        """Read it as it is now. Raises ConfigError.

        In a thread, as a long file takes longer than a stream should wait.
        """
        self._seen = await asyncio.to_thread(self._digest)
        data = await asyncio.to_thread(fetch, self.path)
        config = await asyncio.to_thread(parse, data, self._environ, str(self.path))
        self.data = data
        return config

    async def changes(self, stop: asyncio.Event) -> AsyncGenerator[None, None]:
        """Yield when the file is no more what was last read, until told to stop.

        However it was changed: written in place, replaced by another (as editors do), or by the
        swap of a link on the way to it. Raises OSError where it cannot be watched.
        """
        # The folder tells of what replaces the file; the file itself of what is written into one
        # that is mounted alone, without its folder.
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
        """What stands for the file's bytes; nothing for one that cannot be read.

        Nor for a pipe, of which each byte can be read but once.
        """
        try:
            if not self._file.is_file():
                return b""
            with self._file.open("rb") as file:
                return sha256(file.read(MAX_SIZE + 1)).digest()
        except OSError:
            return b""
