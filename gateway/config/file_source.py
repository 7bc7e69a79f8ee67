"""The routes.yaml file: reading it, and noticing its changes."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from hashlib import sha256
from pathlib import Path

from gateway.config.loader import fetch, parse
from gateway.config.loader.yaml_document import MAX_SIZE
from gateway.config.model import Config

# Seconds between two looks at the file. A look costs one `stat`. Unlike events of the kernel, looks
# work on network file systems and through links, and other files of the folder cause none.
INTERVAL = 0.5

Version = tuple[int, ...]


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

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yields when the file differs from what was last read.

        It notices a file that is written in place, replaced by another (as editors do), or replaced
        by a link on the way to it (as Kubernetes does). A change is over when two looks in a row
        find the same, because an editor may write a file in steps.
        """
        settled: Version | None = None
        before = await asyncio.to_thread(self._version)
        while True:
            await asyncio.sleep(INTERVAL)
            version = await asyncio.to_thread(self._version)
            is_new = version == before != settled
            before = version
            if is_new:
                settled = version
                if await asyncio.to_thread(self._digest) != self._seen:
                    yield

    def _version(self) -> Version:
        """Returns what a change of the file changes; nothing if there is no file."""
        try:
            found = self._file.stat()
        except OSError:
            return ()
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)

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
