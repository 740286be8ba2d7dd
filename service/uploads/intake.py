"""The one intake: every door ends here, as an upload, an offset and a body.

Each step before the next: the row is committed, bytes go to the spool and past the inspector, the verdict holds, bytes
are flushed, the part becomes a blob, one transaction makes the track. Only then there is a receipt. Whatever the client
does, the end does not depend on it still being there. What is small and comes at once needs no row (`at_once`).
"""

import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from functools import partial

from service.catalogue import clock, tracks, uploads
from service.catalogue.database import Database
from service.catalogue.uploads import Upload
from service.errors import (
    BodyError,
    DatabaseFull,
    InconsistentUploadLength,
    NotFound,
    OffsetMismatch,
    Overloaded,
    StorageError,
    StorageFailed,
    StorageFull,
    TooLarge,
    TooManyUploads,
    UploadExpired,
)
from service.metrics import Metrics
from service.settings import Settings
from service.storage.local import LocalBlobs
from service.storage.spool import Spool
from service.uploads import at_once
from service.uploads.ahead import Ahead
from service.uploads.append import Append
from service.uploads.appending import Appending
from service.uploads.at_once import AtOnce
from service.uploads.claims import Claims
from service.uploads.ends import expires_at
from service.uploads.locks import Locks
from service.uploads.model import PARTIAL, NewUpload, Outcome, Request
from service.uploads.names import clean_filename, clean_text
from service.uploads.parts import PartsBody
from service.uploads.receive import Body
from service.uploads.recover import finish_blob
from service.uploads.writer import Writer, run_in

MAX_TITLE_CHARACTERS = 255


class Intake:
    """How bytes become a track. One per app; `on_track` is called when there is a new one."""

    def __init__(
        self,
        database: Database,
        spool: Spool,
        blobs: LocalBlobs,
        settings: Settings,
        metrics: Metrics,
        *,
        boot_id: str,
        on_track: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._spool = spool
        self._blobs = blobs
        self._settings = settings
        self._boot_id = boot_id
        self._locks = Locks()
        self._appending = Appending(database, spool, blobs, settings, metrics, on_track)
        self._at_once = AtOnce(database, spool, blobs, settings, metrics, self._appending)

    def admit(self, user_id: str, length: int | None) -> None:
        """Say no early: what can be known before the first byte.

        Raises:
            TooLarge, StorageFull, StorageFailed, TooManyUploads, Overloaded
        """
        if length is not None and length > self._settings.max_upload_bytes:
            raise TooLarge("The upload is too large.", limit_bytes=self._settings.max_upload_bytes)
        if not self._appending.health.is_good():
            raise StorageFailed("The disk has failed several times in a minute.")
        self._appending.running.check(user_id)
        self._appending.free_space.check(length or 0)

    async def create(self, user_id: str, new: NewUpload) -> Upload:
        """Begin an upload: its row is committed, its quota reserved.

        Raises:
            QuotaExceeded, TooManyUploads, TooLarge, StorageFull
        """
        self.admit(user_id, new.length)
        upload = self._new(user_id, new)
        await self._add(upload)
        return upload

    async def take_whole(
        self,
        user_id: str,
        new: NewUpload,
        body: Body,
        claims: Claims | None = None,
        *,
        at_most: int | None = None,
        stop: Callable[[], None] = lambda: None,
        is_named: bool = False,
    ) -> sqlite3.Row:
        """Make a track of one whole file, from its first byte. Returns the track's row: the receipt.

        `at_most` so many bytes come, if that is known. Where `is_named`, a client could have gone on by the name with
        what broke off before; that is over now.

        Raises:
            Refused: the content is not taken, and its bytes are gone.
            BodyError: the body broke off; what came is kept, flushed and counted.
            QuotaExceeded, TooManyUploads, StorageError: there is no room, or the disk failed.
        """
        began_at = clock.now()
        self.admit(user_id, new.length)
        ahead = Ahead(body)
        taken = None
        try:
            if at_most is not None and at_most <= at_once.MOST_BYTES:
                taken = await self._take_at_once(user_id, new, ahead, claims or Claims())
            if taken is None:
                taken = await self.take(await self.create(user_id, new), ahead, claims, stop=stop), True
        finally:
            await ahead.close()
        row, has_pieces = taken
        if is_named and has_pieces:
            with suppress(StorageError):  # the track is there, and so is its receipt
                await self.retire(user_id, clean_filename(new.filename), before=began_at)
        return row

    async def _take_at_once(
        self, user_id: str, new: NewUpload, ahead: Ahead, claims: Claims
    ) -> tuple[sqlite3.Row, bool] | None:
        """What `AtOnce.take` returns, if all of the body is here within a moment."""
        with self._appending.running.slot(user_id):
            most = min(at_once.MOST_BYTES, self._settings.max_upload_bytes)
            if not await ahead.arrives_whole(limit=lambda: min(most, self.read_limit()), within_s=at_once.WITHIN_S):
                return None
            with self._noting_failures():
                key = await self._at_once.keys.take()
            upload = self._new(user_id, new, key)
            return await self._at_once.take(upload, ahead.chunks, claims)

    async def take(
        self, upload: Upload, body: Body, claims: Claims | None = None, *, stop: Callable[[], None] = lambda: None
    ) -> sqlite3.Row:
        """Take all of an upload that was just created, and make it a track. Returns the track's row: the receipt.

        Raises:
            Refused: the content is not taken; the upload is over and its bytes are gone.
            BodyError: the body broke off; what came is kept, flushed and counted.
            StorageError: no room, or the disk failed.
        """
        request = Request(body, offset=0, is_last=True, claims=claims, stop=stop)
        try:
            async with self._locks.hold(upload.upload_id, stop):
                outcome = await self._appending.run(upload, request, is_announced=False)
        except BodyError:
            await self.retire(upload.user_id, upload.filename, before=upload.created_at)
            raise
        assert outcome.track is not None
        return outcome.track

    async def start(self, upload: Upload, request: Request, *, is_announced: bool = False) -> Outcome:
        """Take the first bytes of an upload that was just created.

        Raises as `append` does. While its client does not know of the upload (`is_announced` is false) nobody could
        come back to it: when its first bytes are not taken, it is over.
        """
        async with self._locks.hold(upload.upload_id, request.stop):
            return await self._appending.run(upload, request, is_announced=is_announced)

    async def append(self, user_id: str, upload_id: str, request: Request) -> Outcome:
        """Append to the user's own upload at its offset. A finished upload answers a repeated last append again.

        Raises:
            NotFound, UploadExpired: there is no such upload, or not any more.
            OffsetMismatch: it stands at another offset; nothing is changed.
            InconsistentUploadLength: the length differs from an earlier one.
            LengthExceeded: more bytes came than the upload has; those are not stored.
            DigestMismatch: a claim for these bytes does not hold; they are forgotten. If it was for the whole, all are.
            Refused: the content is not taken; the upload is over and its bytes are gone.
            BodyError: the body broke off; what came is kept, flushed and counted.
            StorageError: no room, or the disk failed; back at the durable offset.
        """
        async with self._hold(user_id, upload_id, request.stop):
            upload = await self._settled(user_id, upload_id)
            if upload.state == "finished":
                return await self._again(upload, request)
            if request.offset != upload.offset:
                raise OffsetMismatch(
                    "The upload is at another offset.",
                    expected_offset=upload.offset,
                    provided_offset=request.offset,
                )
            upload = await self._learn_length(upload, request.length)
            if upload.length is not None and upload.reserved_bytes < upload.length:
                upload = await self._set_length(upload, upload.length)
            if not upload.is_announced:
                await self._database.write(partial(uploads.announce, upload_id=upload_id))
            return await self._appending.run(upload, request, is_announced=True)

    async def look(self, user_id: str, upload_id: str, *, ends_with_length: bool = False) -> Outcome:
        """The upload as it stands. A running append is ended first, so the offset holds until somebody appends.

        A client to whom an upload ends with its length never comes back when it is told that all bytes are there. If a
        crash came between the last of them and the end, that is made up for now.

        Raises:
            NotFound, UploadExpired: there is no such upload, or not any more.
            Refused, StorageError, Overloaded: when the end is to be made up for and cannot be.
        """
        async with self._hold(user_id, upload_id):
            upload = await self._settled(user_id, upload_id)
            is_whole = upload.state == "receiving" and upload.offset == upload.length and upload.concat != PARTIAL
            if is_whole and ends_with_length:
                nothing = PartsBody(self._spool, (), self._appending.pool)
                request = Request(nothing, offset=upload.offset, is_last=True)
                try:
                    return await self._appending.run(upload, request, is_announced=True)
                except TooManyUploads as error:  # clients take a 4xx to their question for the loss of the upload
                    raise Overloaded(error.detail, **error.facts) from None
        return Outcome(upload, await self._track_of(upload))

    async def peek(self, user_id: str, upload_id: str) -> Outcome:
        """The upload as it was last noted, in whatever state; a running append goes on, and may be ahead of it.

        Raises:
            NotFound: there is no such upload.
        """
        upload = await uploads.get(self._database, upload_id, user_id)
        return Outcome(upload, await self._track_of(upload))

    async def terminate(self, user_id: str, upload_id: str) -> None:
        """End an upload at the client's wish; its bytes go. A finished one is only forgotten: its track stays.

        Raises:
            NotFound, UploadExpired: there is no such upload, or not any more.
        """
        async with self._hold(user_id, upload_id):
            upload = await self._settled(user_id, upload_id)
            if upload.state == "finished":
                await self._database.write(partial(uploads.forget, upload_ids=[upload_id]))
            else:
                await self._appending.end(upload, "terminated")

    async def check_quota(self, user_id: str, length: int | None) -> None:
        """Say no to what will not fit, for a client that asks before it sends. `create` is what decides.

        Raises:
            QuotaExceeded: `length` bytes, or one more track, are over the user's quota.
            TooManyUploads: the user has too many unfinished ones.
        """
        await uploads.check_quota(
            self._database,
            user_id,
            length or 0,
            default_quota_bytes=self._settings.quota_bytes,
            quota_tracks=self._settings.quota_tracks,
            max_open_uploads=self._settings.max_open_uploads_per_user,
        )

    def is_running(self, upload_id: str) -> bool:
        """Whether somebody is writing to the upload at this moment."""
        return self._locks.is_held(upload_id)

    async def retire(self, user_id: str, filename: str, *, before: int) -> None:
        """Of a file that broke off again and again only the latest piece is kept, and none once the whole is there.

        That concerns the user's unfinished uploads of a name, created before a time in microseconds, that nobody is
        writing to. Those whose clients know their address stay.
        """
        for other in await uploads.list_unannounced(self._database, user_id, filename):
            if other.offset > 0 and other.created_at < before and not self.is_running(other.upload_id):
                with suppress(NotFound, UploadExpired):
                    await self.terminate(user_id, other.upload_id)

    async def expire(self, upload_id: str, now: int) -> bool:
        """End an upload whose time is over at `now`; False when it is not, or somebody is writing to it."""
        if self._locks.is_held(upload_id):
            return False
        async with self._locks.hold(upload_id, lambda: None):
            upload = await uploads.find(self._database, upload_id)
            if upload is None or upload.state != "receiving" or upload.expires_at > now:
                return False
            await self._appending.end(upload, "expired")
        return True

    async def concatenate(self, user_id: str, upload_ids: Sequence[str], new: NewUpload) -> Outcome:
        """Put complete partial uploads together, in this order, and make them a track. They end with it.

        One may be named twice. While it goes on nobody else gets at them. Who repeats it with the same ``concat``, as
        the first answer may have been lost, gets the same again.

        Raises:
            NotFound, UploadExpired: one of them is not there.
            InconsistentUploadLength: one of them is not partial, or not complete.
            Refused, StorageError: as `append`; the parts stay.
        """
        names = sorted(set(upload_ids))
        async with AsyncExitStack() as stack:
            for each in names:  # in one order for everybody, so that no two wait for each other
                await stack.enter_async_context(self._hold(user_id, each))
            known = await uploads.find_final(self._database, user_id, new.concat) if new.concat else None
            if known is not None:
                return Outcome(known, await self._track_of(known))
            sizes = {each: (await self._complete_partial(user_id, each)).offset for each in names}
            length = sum(sizes[each] for each in upload_ids)
            self.admit(user_id, length)
            # The parts have reserved their own bytes; what is named again needs room of its own.
            reserved = length - sum(sizes.values())
            final = replace(self._new(user_id, replace(new, length=length)), reserved_bytes=reserved)
            await self._add(final, instead_of=len(names))
            body = PartsBody(self._spool, upload_ids, self._appending.pool)
            try:
                async with self._locks.hold(final.upload_id, lambda: None):
                    request = Request(body, offset=0, is_last=True)
                    outcome = await self._appending.run(final, request, is_announced=False, partials=names)
            finally:
                body.close()
            await self._appending.to_the_end(self._delete_parts(names))
        return outcome

    async def _delete_parts(self, upload_ids: Sequence[str]) -> None:
        for each in upload_ids:
            with suppress(OSError):  # the track is there; what cannot be removed now goes at the next start
                await run_in(self._appending.pool, partial(self._spool.delete, each))

    def _new(self, user_id: str, new: NewUpload, upload_id: str | None = None) -> Upload:
        now = clock.now()
        title = clean_text(new.title)[:MAX_TITLE_CHARACTERS] if new.title else None
        return Upload(
            upload_id=upload_id or secrets.token_hex(16),
            user_id=user_id,
            state="receiving",
            filename=clean_filename(new.filename),
            title=title or None,
            offset=0,
            length=new.length,
            claimed_sha256=new.claimed_sha256,
            metadata=new.metadata,
            concat=new.concat,
            is_announced=int(new.is_announced),
            reserved_bytes=new.length or 0,
            boot_id=self._boot_id,
            created_at=now,
            updated_at=now,
            expires_at=expires_at(self._settings, now),
        )

    async def _add(self, upload: Upload, *, instead_of: int = 0) -> None:
        """Add the upload; so many others end with it, and do not count beside it."""
        work = partial(
            uploads.create,
            upload=upload,
            default_quota_bytes=self._settings.quota_bytes,
            quota_tracks=self._settings.quota_tracks,
            max_open_uploads=self._settings.max_open_uploads_per_user,
            instead_of=instead_of,
        )
        with self._noting_failures():
            await self._database.write(work)
        self._appending.free_space.note(upload.length or 0)

    @contextmanager
    def _noting_failures(self) -> Iterator[None]:
        try:
            yield
        except DatabaseFull:
            raise
        except StorageFailed:
            self._appending.health.note_failure()
            raise

    @asynccontextmanager
    async def _hold(self, user_id: str, upload_id: str, stop: Callable[[], None] = lambda: None) -> AsyncIterator[None]:
        """Hold the user's own upload. Whose it is not, ends nobody who writes to it.

        Raises:
            NotFound: somebody writes to it, and it is another user's.
            UploadLocked: as `Locks.hold` does.
        """
        if self._locks.is_held(upload_id):
            await uploads.get(self._database, upload_id, user_id)
        async with self._locks.hold(upload_id, stop):
            yield

    async def _settled(self, user_id: str, upload_id: str) -> Upload:
        """The upload with every byte that is there flushed and counted. The caller holds it, so nobody writes.

        Raises:
            NotFound: it is not there, or another user's.
            UploadExpired: it has ended without a track, or its bytes are lost.
            StorageFailed, StorageFull, Overloaded: the disk failed.
        """
        upload = await uploads.get(self._database, upload_id, user_id)
        if upload.state == "finished":
            return upload
        if upload.state != "receiving":
            raise UploadExpired(f"The upload is {upload.state}.", state=upload.state, reason=upload.problem)
        try:
            return await self._settle(upload)
        except OSError as error:
            raise self._appending.ends.note_failure(error) from error

    async def _settle(self, upload: Upload) -> Upload:
        upload_id = upload.upload_id
        size = await run_in(self._appending.pool, partial(self._spool.size, upload_id))
        if size is None and await run_in(self._appending.pool, partial(self._blobs.size, upload_id)) is not None:
            await finish_blob(upload, self._database, self._blobs)
            return await uploads.get(self._database, upload_id, upload.user_id)
        size = size or 0
        if size < upload.offset:
            await self._appending.end(upload, "lost")
            raise UploadExpired("The bytes of the upload are lost.", state="lost")
        if size == upload.offset or upload.has_checksums:
            return upload
        # Bytes from before a crash of the process: they survived it, but nobody has flushed them yet.
        append = Append(replace(upload, offset=size), self._spool, Claims(), only_frames=False)
        try:
            writer = Writer(append.store, self._appending.pool)
            offset = await self._appending.to_the_end(self._appending.ends.pause(append, writer))
        finally:
            append.close()
        return replace(upload, offset=offset)

    async def _learn_length(self, upload: Upload, length: int | None) -> Upload:
        if length is None or length == upload.length:
            return upload
        if upload.length is not None or length < upload.offset:
            raise InconsistentUploadLength(
                "The length differs from what is known of the upload.", length=upload.length, offset=upload.offset
            )
        if length > self._settings.max_upload_bytes:
            raise TooLarge("The upload is too large.", limit_bytes=self._settings.max_upload_bytes)
        return await self._set_length(upload, length)

    async def _set_length(self, upload: Upload, length: int) -> Upload:
        quota = self._settings.quota_bytes
        await self._database.write(lambda connection: uploads.set_length(connection, upload, length, quota))
        return replace(upload, length=length, reserved_bytes=length)

    async def _again(self, upload: Upload, request: Request) -> Outcome:
        """A finished upload takes no more bytes; who repeats the last append gets the same answer again."""
        end = upload.offset if request.is_last else None  # unless its length says otherwise, that is what it means
        if request.content_length is not None or request.body.at_end():
            end = request.offset + (request.content_length or 0)
        if end != upload.offset:
            raise OffsetMismatch(
                "The upload is finished.", expected_offset=upload.offset, provided_offset=request.offset
            )
        return Outcome(upload, await self._track_of(upload))

    async def _track_of(self, upload: Upload) -> sqlite3.Row | None:
        if upload.track_id is None:
            return None
        try:
            return await tracks.get_track(self._database, upload.user_id, upload.track_id)
        except NotFound:
            return None

    async def _complete_partial(self, user_id: str, upload_id: str) -> Upload:
        upload = await self._settled(user_id, upload_id)
        if upload.concat != PARTIAL or upload.state != "receiving" or upload.offset != upload.length:
            raise InconsistentUploadLength("A part is not a complete partial upload.", upload_id=upload_id)
        return upload

    def read_limit(self) -> int:
        """How many bytes of one upload may be in memory at the moment."""
        return self._appending.read_limit()

    def is_healthy(self) -> bool:
        """False when the disk failed several times within a minute."""
        return self._appending.health.is_good()

    def has_room(self) -> bool:
        """Whether the disk has more free space than the reserve."""
        try:
            self._appending.free_space.check()
        except StorageFull:
            return False
        return True

    async def close(self) -> None:
        """Wait for what is ending, then let the threads go. Idempotent."""
        await self._appending.close()
        await self._at_once.keys.give_back()
