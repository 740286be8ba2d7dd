"""Start-up: repairs what a crash left, from rows of unfinished uploads and reserved keys; blobs are never scanned."""

import logging
from collections.abc import Container, Iterable
from functools import partial

from aiofiles.os import wrap
from ulid import ULID

from service.audio.inspector import Inspector, Verdict
from service.catalogue import blobs as blob_rows
from service.catalogue import clock, uploads
from service.catalogue.database import Database
from service.catalogue.uploads import Upload
from service.errors import InconsistentUploadLength, Refused
from service.storage.local import LocalBlobs
from service.storage.spool import Part, Spool
from service.uploads.append import rebuild
from service.uploads.seal import check, track_of

logger = logging.getLogger(__name__)

ENDS = ("finished", "lost")


async def recover(database: Database, spool: Spool, blobs: LocalBlobs, *, boot_id: str) -> None:
    """Bring rows and files together again. Runs before the first request, while nobody else may write.

    Raises:
        StorageFailed: the database cannot be written. What is wrong with one upload never keeps the service down.
    """
    await _end_reservations(database, blobs)
    receiving = {upload.upload_id: upload for upload in await uploads.all_receiving(database)}
    torn = await wrap(_torn)(receiving.values(), spool, blobs)
    whole = [each for each, upload in receiving.items() if each not in torn and upload.boot_id != boot_id]
    if whole:
        await database.write(partial(uploads.rejoin_whole, upload_ids=whole, boot_id=boot_id))
    for upload_id in torn:
        try:
            state = await _recover_one(receiving[upload_id], database, spool, blobs, boot_id=boot_id)
        except OSError as error:
            logger.error("upload %s cannot be recovered: %s", upload_id, error)
            continue
        logger.info("recovered upload %s: %s", upload_id, state)
        if state in ENDS:
            del receiving[upload_id]
    await wrap(_sweep)(spool, receiving.keys())


async def _end_reservations(database: Database, blobs: LocalBlobs) -> None:
    reserved = await blob_rows.list_reserved(database)
    if not reserved:
        return
    left = await wrap(lambda: [key for key in reserved if blobs.size(key) is not None])()
    await database.write(partial(blob_rows.end_reservations, left=left, now=clock.now()))


def _torn(receiving: Iterable[Upload], spool: Spool, blobs: LocalBlobs) -> set[str]:
    """The uploads a crash was in the middle of: those whose file is not just what the row says. There are few.

    A start must not take longer for each upload that somebody will go on with some day.
    """
    sizes = spool.sizes()
    return {
        upload.upload_id
        for upload in receiving
        if sizes.get(upload.upload_id, 0) != upload.offset or blobs.size(upload.upload_id) is not None
    }


def _sweep(spool: Spool, receiving: Container[str]) -> None:
    for upload_id in spool.sizes():
        if upload_id not in receiving:
            spool.delete(upload_id)


async def _recover_one(upload: Upload, database: Database, spool: Spool, blobs: LocalBlobs, *, boot_id: str) -> str:
    if await wrap(blobs.size)(upload.upload_id) is not None:
        return await finish_blob(upload, database, blobs)
    size = await wrap(_keep)(spool, upload, is_same_boot=boot_id == upload.boot_id)
    if size is None:
        await database.write(partial(uploads.end, upload_id=upload.upload_id, state="lost", now=clock.now()))
        return "lost"
    await database.write(partial(uploads.rejoin, upload_id=upload.upload_id, offset=size, boot_id=boot_id))
    return f"receiving at {size}"


def _keep(spool: Spool, upload: Upload, *, is_same_boot: bool) -> int | None:
    """What of the upload's bytes can be trusted, flushed; None when acknowledged ones are missing.

    The page cache survives a crash of the process, not of the machine: after a boot only what was flushed counts. Where
    checksums are held over the bytes, nothing but what was checked does.
    """
    size = spool.size(upload.upload_id)
    if size is None and upload.offset == 0:
        return 0
    if size is None or size < upload.offset:
        return None
    part = spool.open(upload.upload_id)
    try:
        if not is_same_boot or upload.has_checksums:
            part.truncate(upload.offset)
        part.sync()
        spool.flush()
        return part.offset
    finally:
        part.close()


async def finish_blob(upload: Upload, database: Database, blobs: LocalBlobs) -> str:
    """The bytes had become a blob, the transaction had not been committed. The upload's state from now on."""
    try:
        verdict = await wrap(_inspect)(blobs, upload.upload_id)
        check(upload, verdict, strict=False)
    except (Refused, InconsistentUploadLength) as error:
        # It was judged before it became a blob, so the disk has changed it since.
        logger.error("the blob of upload %s is damaged: %s", upload.upload_id, error)
        await wrap(blobs.delete)(upload.upload_id)
        await database.write(partial(uploads.end, upload_id=upload.upload_id, state="lost", now=clock.now()))
        return "lost"
    track = track_of(upload, verdict, str(ULID()), now=clock.now())
    await database.write(partial(uploads.finish, upload_id=upload.upload_id, track=track))
    return "finished"


def _inspect(blobs: LocalBlobs, key: str) -> Verdict:
    inspector = Inspector()
    size = blobs.size(key) or 0
    blobs.flush(key)
    part = Part(blobs.path(key), blobs.open(key), size, durable=False)
    try:
        rebuild(part, inspector)
    finally:
        part.close()
    return inspector.finish()
