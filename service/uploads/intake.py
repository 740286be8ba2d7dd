"""The one intake: every door ends here, as an upload and a body.

Each step before the next: the row is committed, bytes go to the spool and past the inspector, the verdict holds, bytes
are flushed, the part becomes a blob, one transaction makes the track. Only then there is a receipt. Whatever the client
does, the end does not depend on it still being there.
"""

import asyncio
import errno
import secrets
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from ulid import ULID

from service.catalogue import clock, uploads
from service.catalogue.database import Database
from service.catalogue.uploads import Upload
from service.errors import (
    BodyError,
    Refused,
    StorageFailed,
    StorageFull,
    TooLarge,
    UploadExpired,
    YarrrError,
)
from service.metrics import Metrics
from service.settings import Settings
from service.storage.local import LocalBlobs
from service.storage.spool import Spool
from service.uploads.append import Append
from service.uploads.claims import Claims
from service.uploads.finish import track_of
from service.uploads.names import clean_filename, clean_text
from service.uploads.quota import Allowance, FreeSpace, Running
from service.uploads.receive import Body, receive
from service.uploads.writer import Writer, pending_limit

T = TypeVar("T")

THREADS = 8
FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
UNHEALTHY_FAILURES = 3
UNHEALTHY_WINDOW_S = 60.0
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
        self._blobs = blobs
        self._settings = settings
        self._metrics = metrics
        self._boot_id = boot_id
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="spool")
        self._running = Running(per_user=settings.max_running_uploads_per_user, overall=settings.max_running_uploads)
        self._free_space = FreeSpace(spool, settings.free_space_reserve_bytes)
        self._failures: deque[float] = deque(maxlen=UNHEALTHY_FAILURES)
        self._ends: set[asyncio.Task[Any]] = set()

    def admit(self, user_id: str, length: int | None) -> None:
        """Say no early: what can be known before the first byte.

        Raises:
            TooLarge, StorageFull, StorageFailed, TooManyUploads, Overloaded
        """
        if length is not None and length > self._settings.max_upload_bytes:
            raise TooLarge("The upload is too large.", limit_bytes=self._settings.max_upload_bytes)
        if not self.is_healthy():
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
            expires_at=self._expires_at(now),
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

    async def take(self, upload: Upload, body: Body, claims: Claims | None = None) -> sqlite3.Row:
        """Take the rest of an upload and make it a track. Returns the track's row: the receipt.

        Raises:
            Refused: the content is not taken; the upload is over and its bytes are gone.
            BodyError: the body broke off; what came is kept, flushed and counted.
            StorageError: no room, or the disk failed; back at the last durable offset.
        """
        append = Append(upload, self._spool, claims or Claims())
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
            return await self._to_the_end(self._finish(append, writer))
        except BodyError:
            await self._to_the_end(self._keep(append, writer))
            raise
        except asyncio.CancelledError:
            await self._to_the_end(self._keep(append, writer))
            raise
        except OSError as error:
            raise await self._to_the_end(self._storage_error(append, writer, error)) from error
        except UploadExpired:
            raise
        except StorageFailed:
            # The transaction failed. If the blob is there already, the next start finishes what this could not.
            self._failures.append(time.monotonic())
            raise
        except YarrrError as error:
            await self._to_the_end(self._refuse(append, writer, error))
            raise

    async def _finish(self, append: Append, writer: Writer) -> sqlite3.Row:
        upload = append.upload
        verdict = await writer.finish(partial(append.seal, self._blobs, strict=self._settings.strict_audio))
        track = track_of(upload, verdict, str(ULID()), now=clock.now())
        row = await self._database.write(partial(uploads.finish, upload_id=upload.upload_id, track=track))
        self._metrics.uploads.labels("finished").inc()
        return row

    async def _keep(self, append: Append, writer: Writer) -> None:
        """The body broke off: what was delivered stays, flushed, and its offset is known."""
        upload = append.upload
        try:
            offset = await writer.finish(append.sync)
            if offset > upload.offset:
                now = clock.now()
                await self._database.write(
                    partial(
                        uploads.record_offset,
                        upload_id=upload.upload_id,
                        offset=offset,
                        now=now,
                        expires_at=self._expires_at(now),
                    )
                )
            elif offset == 0:
                await self._end(append, "terminated", None)
        except OSError as error:
            await self._storage_error(append, writer, error)
        except Refused as error:
            await self._refuse(append, writer, error)

    async def _refuse(self, append: Append, writer: Writer, error: YarrrError) -> None:
        await _ignore(writer.finish(lambda: None))
        await self._end(append, "refused", error)

    async def _end(self, append: Append, state: str, error: YarrrError | None) -> None:
        problem = {"code": error.code, "detail": error.detail, **error.facts} if error else None
        await self._in_thread(append.discard)
        await self._database.write(
            partial(uploads.end, upload_id=append.upload.upload_id, state=state, now=clock.now(), problem=problem)
        )
        self._metrics.uploads.labels(state).inc()

    async def _storage_error(self, append: Append, writer: Writer, error: OSError) -> YarrrError:
        """Back to the last durable offset; nothing that was not flushed is trusted, and no flush is tried again."""
        await _ignore(writer.finish(lambda: None))
        self._metrics.storage_failures.inc()
        if error.errno in FULL_ERRORS:
            answer: YarrrError = StorageFull("The disk has no room for this upload.")
        else:
            self._failures.append(time.monotonic())
            answer = StorageFailed("The disk failed to store the upload.")
        if append.upload.offset:
            await _ignore(self._in_thread(append.rewind))
        else:
            await self._end(append, "refused", answer)
        return answer

    def is_healthy(self) -> bool:
        """False when the disk failed several times within a minute."""
        if len(self._failures) < UNHEALTHY_FAILURES:
            return True
        return time.monotonic() - self._failures[0] > UNHEALTHY_WINDOW_S

    def has_room(self) -> bool:
        """Whether the disk has more free space than the reserve."""
        try:
            self._free_space.check()
        except StorageFull:
            return False
        return True

    async def close(self) -> None:
        """Wait for what is ending, then let the threads go. Idempotent."""
        while self._ends:
            await asyncio.wait(self._ends)
        self._pool.shutdown()

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end even if the request is cancelled meanwhile: an end half done is worse than a late one."""
        task = asyncio.create_task(work)
        self._ends.add(task)
        task.add_done_callback(self._ends.discard)
        return await asyncio.shield(task)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _expires_at(self, now: int) -> int:
        return now + self._settings.upload_expires_s * clock.SECOND


async def _ignore(work: Coroutine[Any, Any, Any]) -> None:
    with suppress(Exception):
        await work
