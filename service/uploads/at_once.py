"""A small file that has come whole: one hop to a thread, one transaction.

Other uploads have a row from their first byte on, so that they can be gone on with. Of this one nobody can have missed
anything yet, and half of what a small upload costs is that row. Each step is still before the next: verdict, bytes
flushed, blob, the transaction of the track, receipt.
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from ulid import ULID

from service.audio.inspector import Verdict
from service.catalogue import clock, uploads
from service.catalogue.database import Database
from service.catalogue.uploads import Upload
from service.errors import DatabaseFull, StorageFailed, YarrrError
from service.metrics import Metrics
from service.settings import Settings
from service.storage.local import LocalBlobs
from service.storage.spool import Spool
from service.uploads.append import Append
from service.uploads.appending import Appending
from service.uploads.claims import Claims
from service.uploads.reserved import ReservedKeys
from service.uploads.seal import track_of
from service.uploads.writer import run_in

MOST_BYTES = 256 << 10
WITHIN_S = 0.2
"""A body that takes longer is worth a row: there may be something to go on with."""


class AtOnce:
    """Takes small files. One per app."""

    def __init__(
        self,
        database: Database,
        spool: Spool,
        blobs: LocalBlobs,
        settings: Settings,
        metrics: Metrics,
        appending: Appending,
    ) -> None:
        self.keys = ReservedKeys(database)
        self._database = database
        self._spool = spool
        self._blobs = blobs
        self._settings = settings
        self._metrics = metrics
        self._appending = appending

    async def take(self, upload: Upload, chunks: Sequence[bytes], claims: Claims) -> tuple[sqlite3.Row, bool]:
        """Make a track of all bytes of an upload that has no row; its id is a reserved key.

        Returns the track's row, and whether there are pieces of that name that broke off before.

        Raises:
            Refused: the content is not taken.
            StorageError: no room, or the disk failed.
        """
        self._metrics.running_uploads.inc()
        try:
            return await self._appending.to_the_end(self._take(upload, chunks, claims))
        finally:
            self._metrics.running_uploads.dec()
            self._metrics.received_bytes.inc(sum(map(len, chunks)))

    async def _take(self, upload: Upload, chunks: Sequence[bytes], claims: Claims) -> tuple[sqlite3.Row, bool]:
        verdict = await self._store(upload, chunks, claims)
        track = track_of(upload, verdict, str(ULID()), now=clock.now())
        work = partial(
            uploads.take_at_once,
            track=track,
            default_quota_bytes=self._settings.quota_bytes,
            quota_tracks=self._settings.quota_tracks,
        )
        try:
            row, pieces = await self._database.write(work)
        except YarrrError as error:
            if isinstance(error, StorageFailed) and not isinstance(error, DatabaseFull):
                self._appending.health.note_failure()  # it may have been committed: the next start will know
            else:
                await self._forget(upload, partial(self._blobs.delete, upload.upload_id))
            raise
        self.keys.release(upload.upload_id)
        return await self._appending.ends.receive(row, upload), pieces > 0

    async def _store(self, upload: Upload, chunks: Sequence[bytes], claims: Claims) -> Verdict:
        append = Append(upload, self._spool, claims)

        def store() -> Verdict:
            try:
                append.store(chunks)
                return append.seal(self._blobs, strict=self._settings.strict_audio)
            finally:
                append.close()

        try:
            return await run_in(self._appending.pool, store)
        except OSError as error:
            await self._forget(upload, partial(self._take_back, append))
            raise self._appending.ends.note_failure(error) from error
        except YarrrError:
            await self._forget(upload, append.discard)
            raise

    def _take_back(self, append: Append) -> None:
        # The disk may have failed between the blob's name and its flush, and once more when the name was to be undone.
        self._blobs.delete(append.upload.upload_id)
        append.discard()

    async def _forget(self, upload: Upload, discard: Callable[[], None]) -> None:
        self._metrics.uploads.labels("refused").inc()
        with suppress(OSError):  # the name stays reserved, and the next start removes what has it
            await run_in(self._appending.pool, discard)
            self.keys.release(upload.upload_id)
