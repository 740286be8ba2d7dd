"""Start-up: repairs what a crash left, from the rows of unfinished uploads; the blobs are never scanned."""

import logging
from functools import partial

from aiofiles.os import wrap
from ulid import ULID

from service.audio.inspector import Inspector, Verdict
from service.catalogue import clock, uploads
from service.catalogue.database import Database
from service.catalogue.uploads import Upload
from service.storage.local import LocalBlobs
from service.storage.spool import Part, Spool
from service.uploads.append import rebuild
from service.uploads.finish import track_of

logger = logging.getLogger(__name__)


async def recover(database: Database, spool: Spool, blobs: LocalBlobs, *, boot_id: str) -> None:
    """Bring rows and files together again. Runs before the first request, while nobody else may write."""
    for upload in await uploads.all_receiving(database):
        state = await _recover_one(upload, database, spool, blobs, boot_id=boot_id)
        logger.info("recovered upload %s: %s", upload.upload_id, state)
    receiving = {upload.upload_id for upload in await uploads.all_receiving(database)}
    for upload_id in await wrap(spool.upload_ids)():
        if upload_id not in receiving:
            await wrap(spool.delete)(upload_id)


async def _recover_one(upload: Upload, database: Database, spool: Spool, blobs: LocalBlobs, *, boot_id: str) -> str:
    if await wrap(blobs.size)(upload.upload_id) is not None:
        await _finish(upload, database, blobs)
        return "finished"
    size = await wrap(spool.size)(upload.upload_id)
    if size is not None and size >= upload.offset:
        # The page cache survives a crash of the process, not of the machine: after a boot only what was flushed counts.
        if boot_id != upload.boot_id:
            await wrap(_truncate)(spool, upload)
            size = upload.offset
        await database.write(partial(uploads.rejoin, upload_id=upload.upload_id, boot_id=boot_id))
        return f"receiving at {size}"
    state = "lost" if upload.offset else "terminated"
    await database.write(partial(uploads.end, upload_id=upload.upload_id, state=state, now=clock.now()))
    return state


def _truncate(spool: Spool, upload: Upload) -> None:
    part = spool.open(upload.upload_id)
    try:
        part.truncate(upload.offset)
        part.sync()
    finally:
        part.close()


async def _finish(upload: Upload, database: Database, blobs: LocalBlobs) -> None:
    """The bytes had become a blob, the transaction had not been committed."""
    verdict = await wrap(_inspect)(blobs, upload.upload_id)
    track = track_of(upload, verdict, str(ULID()), now=clock.now())
    await database.write(partial(uploads.finish, upload_id=upload.upload_id, track=track))


def _inspect(blobs: LocalBlobs, key: str) -> Verdict:
    inspector = Inspector()
    size = blobs.size(key) or 0
    part = Part(blobs.path(key), blobs.open(key), size, durable=False)
    try:
        rebuild(part, inspector)
    finally:
        part.close()
    return inspector.finish()
