"""Removes what has had its time: tracks long in the trash, and blobs that no track has.

In two phases, so that a crash between any two lines only means that the next sweep goes on: the catalogue marks a blob
``deleting``, in the transaction that forgets its last track; then the file goes; then the row.
"""

import asyncio
import logging
from dataclasses import dataclass
from functools import partial

from service.catalogue import blobs as blob_rows
from service.catalogue import clock, tracks
from service.catalogue.database import Database
from service.errors import YarrrError
from service.storage.local import LocalBlobs
from service.storage.open_blobs import OpenBlobs

logger = logging.getLogger(__name__)

BATCH = 200
"""How much one transaction or one thread job does, so that uploads never wait long behind a sweep."""


@dataclass(slots=True)
class Swept:
    """How much a sweep removed."""

    tracks: int = 0
    blobs: int = 0


class Sweeper:
    """Sweeps when asked. `open_blobs` may be left out where nothing is served, as on the command line."""

    def __init__(
        self, database: Database, blobs: LocalBlobs, *, trash_days: float, open_blobs: OpenBlobs | None = None
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._open_blobs = open_blobs
        self._trash_days = trash_days

    async def sweep(self, now: int | None = None) -> Swept:
        """Remove everything whose time is over at `now`, in microseconds."""
        swept = Swept()
        swept.tracks = await self._purge_trash(
            (clock.now() if now is None else now) - int(self._trash_days * clock.DAY)
        )
        swept.blobs = await self._delete_blobs()
        return swept

    async def _purge_trash(self, trashed_before: int) -> int:
        count, purged = 0, BATCH
        while purged == BATCH:
            purged = await self._database.write(partial(tracks.purge, trashed_before=trashed_before, limit=BATCH))
            count += purged
        return count

    async def _delete_blobs(self) -> int:
        """A file that cannot be removed is logged and stays for the next sweep; the others go."""
        count, after = 0, ""
        while keys := await blob_rows.page_deleting(self._database, BATCH, after):
            after = keys[-1]
            if self._open_blobs is not None:
                for key in keys:
                    self._open_blobs.forget(key)
            gone = await asyncio.to_thread(self._unlink, keys)
            await self._database.write(partial(blob_rows.forget, keys=gone))
            count += len(gone)
        return count

    def _unlink(self, keys: list[str]) -> list[str]:
        gone = []
        for key in keys:
            try:
                self._blobs.delete(key)
            except (OSError, ValueError) as error:
                logger.error("blob %s cannot be deleted: %s", key, error)
            else:
                gone.append(key)
        return gone


async def sweep_for_ever(sweeper: Sweeper, interval_s: float) -> None:
    """Sweep, rest, and again, until cancelled. A failure is logged, and the next sweep tries anew."""
    while True:
        try:
            swept = await sweeper.sweep()
            if swept != Swept():
                logger.info("swept %d tracks and %d blobs", swept.tracks, swept.blobs)
        except YarrrError as error:
            logger.error("the sweep failed: %s", error)
        await asyncio.sleep(interval_s)
