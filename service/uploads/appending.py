"""Runs one append after another on uploads, from the first byte of a body to one of its ends."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from service.audio.inspector import Inspector
from service.catalogue import clock, uploads
from service.catalogue.database import Database
from service.catalogue.uploads import Upload
from service.errors import (
    BodyError,
    ContentMismatch,
    DatabaseFull,
    Overloaded,
    Refused,
    StorageFailed,
    TooLarge,
    TooManyUploads,
    UploadExpired,
    YarrrError,
)
from service.metrics import Metrics
from service.settings import Settings
from service.storage.local import LocalBlobs
from service.storage.spool import Spool
from service.uploads.append import Append
from service.uploads.claims import Claims
from service.uploads.ends import DiskHealth, Ends, expires_at
from service.uploads.model import PARTIAL, Outcome, Request
from service.uploads.progress import Progress
from service.uploads.quota import Allowance, FreeSpace, Running
from service.uploads.receive import receive
from service.uploads.writer import Writer, pending_limit

T = TypeVar("T")

THREADS = 8
KEPT_INSPECTORS = 256


class Appending:
    """What all appends share: threads, room, the disk's health, and the inspectors of uploads that wait for more.

    Whoever calls `run` holds the upload.
    """

    def __init__(
        self,
        database: Database,
        spool: Spool,
        blobs: LocalBlobs,
        settings: Settings,
        metrics: Metrics,
        on_track: Callable[[], None],
    ) -> None:
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="spool")
        self.running = Running(per_user=settings.max_running_uploads_per_user, overall=settings.max_running_uploads)
        self.free_space = FreeSpace(spool, settings.free_space_reserve_bytes)
        self.health = DiskHealth()
        self.ends = Ends(database, blobs, settings, metrics, self.health, self.pool, on_track)
        self._database = database
        self._spool = spool
        self._settings = settings
        self._metrics = metrics
        self._inspectors: OrderedDict[str, Inspector] = OrderedDict()
        self._ending: set[asyncio.Task[Any]] = set()

    async def run(
        self, upload: Upload, request: Request, *, is_announced: bool, partials: Collection[str] = ()
    ) -> Outcome:
        """Append the body of `request` to `upload`, which stands at its offset.

        `partials` are the uploads it is put together from. Raises as `Intake.append` does.
        """
        is_partial = upload.concat == PARTIAL
        append = Append(
            upload,
            self._spool,
            request.claims or Claims(),
            self._inspectors.pop(upload.upload_id, None),
            is_announced=is_announced,
            only_frames=not is_partial,
        )
        await self._check_running(append)
        with self.running.slot(upload.user_id):
            writer = Writer(append.store, self.pool)
            self._metrics.running_uploads.inc()
            try:
                if _is_checked(append, request) and not upload.has_checksums:
                    await self._database.write(partial(uploads.note_checksums, upload_id=upload.upload_id))
                end = await self._receive(append, writer, request)
                is_last = end == upload.length if request.is_last is None else request.is_last
                if is_last and not is_partial:
                    track = await self.to_the_end(self.ends.finish(append, writer, partials))
                    return Outcome(replace(upload, state="finished", offset=end, length=end), track)
                return Outcome(await self.to_the_end(self._pause(append, writer)))
            except (BodyError, UploadExpired):
                raise
            except OSError as error:
                raise await self.to_the_end(self.ends.fail(append, writer, error)) from error
            except DatabaseFull as error:
                await self.to_the_end(self.ends.undo(append, writer, error))
                raise
            except StorageFailed:
                # The transaction failed. If the blob is there already, the next start finishes what this could not.
                self.health.note_failure()
                raise
            except YarrrError as error:
                await self.to_the_end(self._reject(append, writer, error))
                raise
            finally:
                self._metrics.running_uploads.dec()
                if writer.is_busy:
                    await self.to_the_end(self._close(append, writer))
                else:
                    await self._close(append, writer)

    async def _check_running(self, append: Append) -> None:
        """Many may have been admitted at once; an upload that nobody knows and that may not run is over."""
        try:
            self.running.check(append.upload.user_id)
        except (Overloaded, TooManyUploads):
            if not append.is_announced:
                await self.to_the_end(self.ends.end(append.upload, "terminated", append.discard))
            raise

    async def _close(self, append: Append, writer: Writer) -> None:
        """Close the part when no thread writes to it any more: its number may be another file's a moment later."""
        await writer.rest()
        append.close()
        self._metrics.received_bytes.inc(max(0, append.offset - append.upload.offset))

    async def _receive(self, append: Append, writer: Writer, request: Request) -> int:
        upload = append.upload
        allowance = Allowance(upload, self._database, self._settings, self.free_space)
        # While a checksum is still to be checked, nothing of this request may be promised.
        progress = Progress(
            None if request.claims else request.tell, lambda: self.to_the_end(self.ends.pause(append, writer))
        )
        try:
            end = await receive(
                request.body,
                writer,
                offset=upload.offset,
                limit=upload.length,
                make_room=allowance.make_room,
                pending_limit=self.read_limit,
                progress=progress.note,
            )
        except (BodyError, asyncio.CancelledError):
            if _is_checked(append, request):
                await self.to_the_end(self.ends.rewind(append, writer))
            else:
                await self.to_the_end(self.ends.break_off(append, writer))
                self._keep_inspector(append)
            raise
        return end

    async def _pause(self, append: Append, writer: Writer) -> Upload:
        await writer.finish(append.check)
        offset = await self.ends.pause(append, writer)
        self._keep_inspector(append)
        now = clock.now()
        expires = max(append.upload.expires_at, expires_at(self._settings, now))
        return replace(append.upload, offset=offset, updated_at=now, expires_at=expires)

    async def _reject(self, append: Append, writer: Writer, error: YarrrError) -> None:
        """What becomes of the upload when an append fails: over, rewound, or kept."""
        is_refused = isinstance(error, Refused) and not isinstance(error, TooLarge | ContentMismatch)
        if is_refused or not append.is_announced:
            await self.ends.refuse(append, writer, error)
        elif append.has_claims:
            await self.ends.rewind(append, writer)
        else:
            await self.ends.break_off(append, writer)
            self._keep_inspector(append)

    def _keep_inspector(self, append: Append) -> None:
        """Spare the next append the reading of all that came before: an inspector is small, its upload is not."""
        self._inspectors[append.upload.upload_id] = append.inspector
        while len(self._inspectors) > KEPT_INSPECTORS:
            self._inspectors.popitem(last=False)

    async def end(self, upload: Upload, state: str) -> None:
        """End an upload that nobody is writing to: terminated, expired, or lost."""
        self._inspectors.pop(upload.upload_id, None)
        await self.to_the_end(self.ends.end(upload, state, partial(self._spool.delete, upload.upload_id)))

    def read_limit(self) -> int:
        """How many bytes of one upload may be in memory at the moment."""
        return pending_limit(self.running.count)

    async def close(self) -> None:
        """Wait for what is ending, then let the threads go. Idempotent."""
        while self._ending:
            await asyncio.wait(self._ending)
        self.pool.shutdown()

    async def to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end even if the request is cancelled meanwhile: an end half done is worse than a late one."""
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise


def _is_checked(append: Append, request: Request) -> bool:
    """Whether bytes may count only once a checksum of the request has held over them.

    Where a client sends a whole file and was told no address, it is one of that, and the beginning can be gone on with.
    """
    return bool(request.claims) and bool(append.is_announced or append.upload.is_announced)
