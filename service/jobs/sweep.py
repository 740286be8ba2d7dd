"""Removes what has had its time: uploads, sessions, tracks long in the trash, blobs and covers that no track has.

An unfinished upload is ended when its time is over, unless somebody is writing to it; one that ended before, and only
answered questions since, is forgotten.

Blobs go in two phases, so that a crash between any two lines only means that the next sweep goes on: the catalogue
marks a blob ``deleting``, in the transaction that forgets its last track; then the file goes; then the row.
"""

import asyncio
import logging
from dataclasses import asdict, dataclass
from functools import partial

from service.catalogue import blobs as blob_rows
from service.catalogue import clock, sessions, tracks, uploads
from service.catalogue.database import Database
from service.errors import StorageFailed
from service.storage.covers import LocalCovers
from service.storage.local import LocalBlobs
from service.storage.open_blobs import OpenBlobs
from service.uploads.intake import Intake

logger = logging.getLogger(__name__)

COVER_GRACE = clock.DAY // 24
"""Pictures younger than that stay, whoever shows them."""

BATCH = 200
"""How much one transaction or one thread job does, so that uploads never wait long behind a sweep."""


@dataclass(slots=True)
class Swept:
    """How much a sweep removed."""

    tracks: int = 0
    blobs: int = 0
    covers: int = 0
    uploads: int = 0
    forgotten: int = 0
    sessions: int = 0


class Sweeper:
    """Sweeps when asked. `open_blobs` may be left out where nothing is served, and `intake` where nothing is taken."""

    def __init__(
        self,
        database: Database,
        blobs: LocalBlobs,
        *,
        trash_days: float,
        session_idle_days: float,
        covers: LocalCovers | None = None,
        open_blobs: OpenBlobs | None = None,
        intake: Intake | None = None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._covers = covers
        self._open_blobs = open_blobs
        self._intake = intake
        self._trash_days = trash_days
        self._session_idle = int(session_idle_days * clock.DAY)

    async def sweep(self, now: int | None = None) -> Swept:
        """Remove everything whose time is over at `now`, in microseconds."""
        now = clock.now() if now is None else now
        swept = Swept()
        if self._intake is not None:
            await self._expire(self._intake, now, swept)
        over = partial(sessions.end_overdue, now=now, idle=self._session_idle)
        swept.sessions = await self._database.write(over)
        swept.tracks = await self._purge_trash(now - int(self._trash_days * clock.DAY))
        swept.blobs = await self._delete_blobs()
        if self._covers is not None:
            swept.covers = await self._delete_covers(self._covers, now - COVER_GRACE)
        return swept

    async def _expire(self, intake: Intake, now: int, swept: Swept) -> None:
        """What is left over, because there is very much of it, is for the next sweep."""
        over = await uploads.expired(self._database, now)
        for upload in over:
            if upload.state == "receiving":
                swept.uploads += await intake.expire(upload.upload_id, now)
        ended = [upload.upload_id for upload in over if upload.state != "receiving"]
        for start in range(0, len(ended), BATCH):
            await self._database.write(partial(uploads.forget, upload_ids=ended[start : start + BATCH]))
        swept.forgotten = len(ended)

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

    async def _delete_covers(self, covers: LocalCovers, created_before: int) -> int:
        """First the files, then the rows: what a crash leaves between them, the next sweep finds."""
        count, after, is_more = 0, b"", True
        while is_more:
            async with covers.lock:
                digests = await tracks.page_unshown_covers(
                    self._database, created_before=created_before, after=after, limit=BATCH
                )
                gone = await asyncio.to_thread(_delete_pictures, covers, digests)
                await self._database.write(partial(tracks.forget_covers, digests=gone))
            count += len(gone)
            is_more = len(digests) == BATCH
            after = digests[-1] if digests else after
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


def _delete_pictures(covers: LocalCovers, digests: list[bytes]) -> list[bytes]:
    gone = []
    for digest in digests:
        try:
            covers.delete(digest)
        except OSError as error:
            logger.error("cover %s cannot be deleted: %s", digest.hex(), error)
        else:
            gone.append(digest)
    return gone


async def sweep_for_ever(sweeper: Sweeper, interval_s: float) -> None:
    """Sweep, rest, and again, until cancelled. A failure is logged, and the next sweep tries anew."""
    while True:
        try:
            swept = await sweeper.sweep()
            if swept != Swept():
                logger.info("swept %s", ", ".join(f"{count} {what}" for what, count in asdict(swept).items() if count))
        except StorageFailed as error:
            logger.error("the sweep has to wait: %s", error)
        except Exception:
            logger.exception("the sweep failed")
        await asyncio.sleep(interval_s)
