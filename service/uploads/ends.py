"""The ways an append ends: as a track, as an upload that goes on, refused, or failed by the disk."""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from ulid import ULID

from service.catalogue import clock, uploads
from service.catalogue.database import Database
from service.catalogue.uploads import Upload
from service.errors import DatabaseFull, Overloaded, Refused, StorageFailed, YarrrError
from service.metrics import Metrics
from service.settings import Settings
from service.storage.failures import failure_of
from service.storage.local import LocalBlobs
from service.uploads.append import Append
from service.uploads.seal import track_of
from service.uploads.writer import Writer, run_in

T = TypeVar("T")

logger = logging.getLogger(__name__)

UNHEALTHY_FAILURES = 3
UNHEALTHY_WINDOW_S = 60.0


class DiskHealth:
    """Whether the disk can be trusted at the moment."""

    def __init__(self) -> None:
        self._failures: deque[float] = deque(maxlen=UNHEALTHY_FAILURES)

    def note_failure(self) -> None:
        self._failures.append(time.monotonic())

    def is_good(self) -> bool:
        """False when it failed several times within a minute."""
        if len(self._failures) < UNHEALTHY_FAILURES:
            return True
        return time.monotonic() - self._failures[0] > UNHEALTHY_WINDOW_S


class Ends:
    """Ends appends. Each method runs to its end, whatever becomes of the request: see `Appending.to_the_end`."""

    def __init__(
        self,
        database: Database,
        blobs: LocalBlobs,
        settings: Settings,
        metrics: Metrics,
        health: DiskHealth,
        pool: Executor,
        on_track: Callable[[], None],
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._settings = settings
        self._metrics = metrics
        self._health = health
        self._pool = pool
        self._on_track = on_track

    async def finish(self, append: Append, writer: Writer, partials: Collection[str] = ()) -> sqlite3.Row:
        """All bytes are in: verdict, durable, blob, transaction. The track's row is the receipt.

        `partials` are the uploads it was put together from; they end in the same transaction.
        """
        upload = append.upload
        verdict = await writer.finish(partial(append.seal, self._blobs, strict=self._settings.strict_audio))
        now = clock.now()
        track = track_of(upload, verdict, str(ULID()), now=now)
        row = await self._database.write(
            partial(
                uploads.finish,
                upload_id=upload.upload_id,
                track=track,
                partials=partials,
                expires_at=expires_at(self._settings, now),
            )
        )
        return await self.receive(row, upload)

    async def receive(self, row: sqlite3.Row, upload: Upload) -> sqlite3.Row:
        """The track is committed; its row is the receipt."""
        self._metrics.uploads.labels("finished").inc()
        self._on_track()
        return row if row["key"] == upload.upload_id else await self._see_to_shared_bytes(row, upload)

    async def _see_to_shared_bytes(self, row: sqlite3.Row, upload: Upload) -> sqlite3.Row:
        """A receipt that rests on bytes somebody else brought: if these are gone, the new ones take their place."""
        if await run_in(self._pool, partial(self._blobs.size, row["key"])) == row["size"]:
            return row
        logger.error("the blob %s is missing or has another size; new bytes take its place", row["key"])
        return await self._database.write(partial(uploads.replace_blob, track=row, key=upload.upload_id))

    async def pause(self, append: Append, writer: Writer) -> int:
        """What came stays: flushed, and its offset known. Returns the durable offset, which may be told now."""
        offset = await writer.finish(append.sync)
        now = clock.now()
        await self._database.write(
            partial(
                uploads.record_offset,
                upload_id=append.upload.upload_id,
                offset=offset,
                now=now,
                expires_at=expires_at(self._settings, now),
            )
        )
        append.durable_offset = offset
        return offset

    async def break_off(self, append: Append, writer: Writer) -> None:
        """The body ended too early. An upload of which nothing came and nobody knows is over."""
        try:
            offset = await self.pause(append, writer)
        except OSError as error:
            await self.fail(append, writer, error)
            return
        except Refused as error:
            await self.refuse(append, writer, error)
            return
        if not append.is_announced and offset == 0:
            await self._end(append.upload, "terminated", None, append.discard)
        elif not append.is_announced:
            # Its client may never come back; until it does, only what is there counts against its quota.
            await self._database.write(partial(uploads.shrink, upload_id=append.upload.upload_id))

    async def refuse(self, append: Append, writer: Writer, error: YarrrError) -> None:
        """The content is not taken: its bytes go."""
        await _ignore(writer.finish(lambda: None))
        await self._end(append.upload, "refused", error, append.discard)

    async def rewind(self, append: Append, writer: Writer) -> None:
        """What came since the last durable offset is forgotten; an upload that nobody knows is over then."""
        await _ignore(writer.finish(lambda: None))
        await run_in(self._pool, append.rewind)
        if not (append.durable_offset or append.is_announced):
            await self._end(append.upload, "terminated", None, append.discard)

    async def fail(self, append: Append, writer: Writer, error: OSError) -> YarrrError:
        """Back to the last durable offset; nothing that was not flushed is trusted, and no flush is tried again."""
        await writer.rest()
        answer = self.note_failure(error)
        await _ignore(run_in(self._pool, append.rewind))  # first of all, so that the database finds room again
        if not (append.durable_offset or append.is_announced):
            await self._end(append.upload, "refused", answer, append.discard)
        return answer

    def note_failure(self, error: OSError) -> YarrrError:
        """Count a failure of the disk; what is to be answered."""
        failure = failure_of(error, "this upload")
        if not isinstance(failure, Overloaded):
            self._metrics.storage_failures.inc()
        if isinstance(failure, StorageFailed):
            self._health.note_failure()
        return failure

    async def undo(self, append: Append, writer: Writer, error: DatabaseFull) -> None:
        """The database had no room: surely nothing was committed. An upload that nobody knows goes and makes room."""
        await writer.rest()
        if not (append.durable_offset or append.is_announced):
            await _ignore(run_in(self._pool, partial(self._blobs.delete, append.upload.upload_id)))
            await _ignore(run_in(self._pool, append.rewind))
            await _ignore(self._end(append.upload, "refused", error, append.discard))

    async def end(self, upload: Upload, state: str, discard: Callable[[], None]) -> None:
        """End an upload that nobody is writing to: terminated or expired."""
        await self._end(upload, state, None, discard)

    async def _end(self, upload: Upload, state: str, error: YarrrError | None, discard: Callable[[], None]) -> None:
        problem = {"code": error.code, "detail": error.detail, **error.facts} if error else None
        # Bytes that had become a blob when the transaction failed. They go before the row: it alone knows of them.
        await _ignore(run_in(self._pool, partial(self._blobs.delete, upload.upload_id)))
        await self._database.write(
            partial(uploads.end, upload_id=upload.upload_id, state=state, now=clock.now(), problem=problem)
        )
        try:
            await run_in(self._pool, discard)
        except OSError as failure:
            # The upload is over all the same, and the next start removes what belongs to no upload.
            logger.error("the bytes of upload %s cannot be removed: %s", upload.upload_id, failure)
        self._metrics.uploads.labels(state).inc()


def expires_at(settings: Settings, now: int) -> int:
    """When an upload whose last byte came `now` expires; both in microseconds."""
    return now + settings.upload_expires_s * clock.SECOND


async def _ignore(work: Coroutine[Any, Any, Any]) -> None:
    with suppress(Exception):
        await work
