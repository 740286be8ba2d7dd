"""Blobs that are being served: their open files, a few of them kept open for the next range.

A player asks for one file many times. Opening and measuring it each time would cost more than reading 64 KiB of it.
"""

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from service.errors import StorageFailed
from service.storage.local import LocalBlobs

logger = logging.getLogger(__name__)

CAPACITY = 64


class OpenBlob:
    """One open file. ``descriptor`` is for reads at a given place only: several answers share it."""

    __slots__ = ("descriptor", "is_dropped", "key", "size", "users")

    def __init__(self, key: str, descriptor: int, size: int) -> None:
        self.key = key
        self.descriptor = descriptor
        self.size = size
        self.users = 0
        self.is_dropped = False

    def check_whole(self) -> None:
        """Raise unless the file still has its size, before an answer promises its bytes.

        Raises:
            StorageFailed: it has not.
        """
        found = os.fstat(self.descriptor).st_size
        if found != self.size:
            raise failed(self.key, f"has {found} bytes, not {self.size}")


def failed(key: str, why: object) -> StorageFailed:
    """The error of a blob that is not what the catalogue says; it is logged, somebody must look at that disk."""
    logger.error("blob %s %s", key, why)
    return StorageFailed("The audio of this track cannot be read.")


class OpenBlobs:
    """Opens blobs for reading and keeps the last ones open. Belongs to one event loop."""

    def __init__(self, blobs: LocalBlobs, capacity: int = CAPACITY) -> None:
        self._blobs = blobs
        self._capacity = capacity
        self._open: OrderedDict[str, OpenBlob] = OrderedDict()

    def take(self, key: str) -> OpenBlob | None:
        """The blob if it is open already; give it back with `give_back`."""
        blob = self._open.get(key)
        if blob is not None:
            self._open.move_to_end(key)
            blob.users += 1
        return blob

    async def open(self, key: str, size: int) -> OpenBlob:
        """The blob of that key, which must have that size; give it back with `give_back`.

        Raises:
            StorageFailed: it is not there, has another size, or cannot be opened.
        """
        blob = self.take(key)
        if blob is None:
            opening = asyncio.get_running_loop().run_in_executor(None, self._open_file, key, size)
            try:
                descriptor = await asyncio.shield(opening)
            except asyncio.CancelledError:
                opening.add_done_callback(_close_unused)
                raise
            blob = self.take(key)  # another request may have opened it meanwhile
            if blob is not None:
                os.close(descriptor)
                return blob
            blob = self._open[key] = OpenBlob(key, descriptor, size)
            blob.users += 1
            while len(self._open) > self._capacity:
                self._drop(next(iter(self._open)))
        return blob

    def give_back(self, blob: OpenBlob) -> None:
        """The answer that took it is done with it."""
        blob.users -= 1
        if blob.is_dropped and not blob.users:
            _close(blob)

    @asynccontextmanager
    async def opened(self, key: str, size: int) -> AsyncIterator[OpenBlob]:
        """`open` and `give_back` around a block."""
        blob = await self.open(key, size)
        try:
            yield blob
        finally:
            self.give_back(blob)

    def forget(self, key: str) -> None:
        """Close the blob as soon as nobody reads it, so that the space of a deleted file becomes free."""
        if key in self._open:
            self._drop(key)

    def close(self) -> None:
        """Forget all of them."""
        for key in list(self._open):
            self._drop(key)

    def _drop(self, key: str) -> None:
        blob = self._open.pop(key)
        blob.is_dropped = True
        if not blob.users:
            _close(blob)

    def _open_file(self, key: str, size: int) -> int:
        try:
            descriptor = self._blobs.open(key)
        except (OSError, ValueError) as error:
            raise failed(key, error) from error
        found = os.fstat(descriptor).st_size
        if found != size:
            os.close(descriptor)
            raise failed(key, f"has {found} bytes, not {size}")
        return descriptor


def _close_unused(opening: "asyncio.Future[int]") -> None:
    if not opening.cancelled() and opening.exception() is None:
        os.close(opening.result())


def _close(blob: OpenBlob) -> None:
    descriptor, blob.descriptor = blob.descriptor, -1
    with suppress(OSError):
        os.close(descriptor)
