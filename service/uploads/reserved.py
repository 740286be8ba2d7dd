"""Names for blobs of which no row knows yet.

A file that comes at once becomes a blob before there is any row of it. Its name is one of these: they were committed
ahead of time, many together, and after a crash the next start looks which of them have a file.
"""

import asyncio
import secrets
from contextlib import suppress
from functools import partial

from service.catalogue import blobs
from service.catalogue.database import Database
from service.errors import StorageFailed

AT_A_TIME = 128


class ReservedKeys:
    """Names to take. One per app."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._spare: list[str] = []
        self._taken: set[str] = set()
        self._refilling = asyncio.Lock()
        self._has_reserved = False

    async def take(self) -> str:
        """A name nobody has.

        Raises:
            StorageFailed: no names can be reserved.
        """
        while not self._spare:
            async with self._refilling:
                if not self._spare:
                    await self._refill()
        key = self._spare.pop()
        self._taken.add(key)
        return key

    def release(self, key: str) -> None:
        """A row knows of the blob now, or there is no file. A name that is never released is looked after at the next
        start."""
        self._taken.discard(key)

    async def give_back(self) -> None:
        """Nobody takes any more: the next start has only those to look after that were never released. Idempotent."""
        if self._has_reserved:
            self._spare, self._has_reserved = [], False
            with suppress(StorageFailed):  # then it looks after all of them
                await self._database.write(partial(blobs.reserve, keys=[], taken=list(self._taken)))

    async def _refill(self) -> None:
        fresh = [secrets.token_hex(16) for _ in range(AT_A_TIME)]
        await self._database.write(partial(blobs.reserve, keys=fresh, taken=list(self._taken)))
        self._spare, self._has_reserved = fresh, True
