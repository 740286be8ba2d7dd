"""The one intake: every door ends here, as an upload, an offset and a body.

Each step before the next: the row is committed, bytes go to the spool and past the inspector, the verdict holds, bytes
are flushed, the part becomes a blob, one transaction makes the track. Only then there is a receipt. Whatever the client
does, the end does not depend on it still being there.
"""

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from service.catalogue import clock, uploads
from service.catalogue.database import Database
from service.catalogue.uploads import Upload
from service.errors import BodyError, StorageFailed, StorageFull, TooLarge, UploadExpired, YarrrError
from service.metrics import Metrics
from service.settings import Settings
from service.storage.local import LocalBlobs
from service.storage.spool import Spool
from service.uploads.append import Append
from service.uploads.claims import Claims
from service.uploads.ends import DiskHealth, Ends, expires_at
from service.uploads.locks import Locks
from service.uploads.names import clean_filename, clean_text
from service.uploads.quota import Allowance, FreeSpace, Running
from service.uploads.receive import Body, receive
from service.uploads.writer import Writer, pending_limit

T = TypeVar("T")

THREADS = 8
MAX_TITLE_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class NewUpload:
    """What a door knows before the first byte. ``length`` is None when the client did not say."""

    filename: str | None
    title: str | None = None
    length: int | None = None
    claimed_sha256: bytes | None = None


class Intake:
    """How bytes become a track. One per app."""

    def __init__(
        self,
        database: Database,
        spool: Spool,
        blobs: LocalBlobs,
        settings: Settings,
        metrics: Metrics,
        *,
        boot_id: str,
    ) -> None:
        self._database = database
        self._spool = spool
        self._settings = settings
        self._metrics = metrics
        self._boot_id = boot_id
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="spool")
        self._locks = Locks()
        self._running = Running(per_user=settings.max_running_uploads_per_user, overall=settings.max_running_uploads)
        self._free_space = FreeSpace(spool, settings.free_space_reserve_bytes)
        self._health = DiskHealth()
        self._ends = Ends(database, blobs, settings, metrics, self._health, self._pool)
        self._ending: set[asyncio.Task[Any]] = set()

    def admit(self, user_id: str, length: int | None) -> None:
        """Say no early: what can be known before the first byte.

        Raises:
            TooLarge, StorageFull, StorageFailed, TooManyUploads, Overloaded
        """
        if length is not None and length > self._settings.max_upload_bytes:
            raise TooLarge("The upload is too large.", limit_bytes=self._settings.max_upload_bytes)
        if not self._health.is_good():
            raise StorageFailed("The disk has failed several times in a minute.")
        self._running.check(user_id)
        self._free_space.check(length or 0)

    async def create(self, user_id: str, new: NewUpload) -> Upload:
        """Begin an upload: its row is committed, its quota reserved.

        Raises:
            QuotaExceeded, TooManyUploads, TooLarge, StorageFull
        """
        self.admit(user_id, new.length)
        now = clock.now()
        title = clean_text(new.title)[:MAX_TITLE_CHARACTERS] if new.title else None
        upload = Upload(
            upload_id=secrets.token_hex(16),
            user_id=user_id,
            state="receiving",
            filename=clean_filename(new.filename),
            title=title or None,
            offset=0,
            length=new.length,
            claimed_sha256=new.claimed_sha256,
            reserved_bytes=new.length or 0,
            boot_id=self._boot_id,
            created_at=now,
            updated_at=now,
            expires_at=expires_at(self._settings, now),
        )
        await self._database.write(
            partial(
                uploads.create,
                upload=upload,
                default_quota_bytes=self._settings.quota_bytes,
                quota_tracks=self._settings.quota_tracks,
                max_open_uploads=self._settings.max_open_uploads_per_user,
            )
        )
        return upload

    async def take(
        self, upload: Upload, body: Body, claims: Claims | None = None, *, stop: Callable[[], None] = lambda: None
    ) -> sqlite3.Row:
        """Take the rest of an upload and make it a track. Returns the track's row: the receipt.

        `stop` is called when a newer request wants the upload; it makes the body break off.

        Raises:
            Refused: the content is not taken; the upload is over and its bytes are gone.
            BodyError: the body broke off; what came is kept, flushed and counted.
            StorageError: no room, or the disk failed; back at the last durable offset.
        """
        append = Append(upload, self._spool, claims or Claims())
        async with self._locks.hold(upload.upload_id, stop):
            with self._running.slot(upload.user_id):
                writer = Writer(append.store, self._pool)
                self._metrics.running_uploads.inc()
                try:
                    return await self._take(append, writer, body)
                finally:
                    self._metrics.running_uploads.dec()
                    self._metrics.received_bytes.inc(append.offset - upload.offset)
                    append.close()

    async def _take(self, append: Append, writer: Writer, body: Body) -> sqlite3.Row:
        try:
            await self._receive(append, writer, body)
            return await self._to_the_end(self._ends.finish(append, writer))
        except (BodyError, UploadExpired):
            raise
        except OSError as error:
            raise await self._to_the_end(self._ends.fail(append, writer, error)) from error
        except StorageFailed:
            # The transaction failed. If the blob is there already, the next start finishes what this could not.
            self._health.note_failure()
            raise
        except YarrrError as error:
            await self._to_the_end(self._ends.refuse(append, writer, error))
            raise

    async def _receive(self, append: Append, writer: Writer, body: Body) -> None:
        upload = append.upload
        allowance = Allowance(upload, self._database, self._settings, self._free_space)
        try:
            await receive(
                body,
                writer,
                offset=upload.offset,
                limit=upload.length,
                make_room=allowance.make_room,
                pending_limit=lambda: pending_limit(self._running.count),
            )
        except (BodyError, asyncio.CancelledError):
            await self._to_the_end(self._ends.break_off(append, writer))
            raise

    def is_healthy(self) -> bool:
        """False when the disk failed several times within a minute."""
        return self._health.is_good()

    def has_room(self) -> bool:
        """Whether the disk has more free space than the reserve."""
        try:
            self._free_space.check()
        except StorageFull:
            return False
        return True

    async def close(self) -> None:
        """Wait for what is ending, then let the threads go. Idempotent."""
        while self._ending:
            await asyncio.wait(self._ending)
        self._pool.shutdown()

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end even if the request is cancelled meanwhile: an end half done is worse than a late one."""
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise
