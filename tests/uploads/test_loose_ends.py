"""Ways an upload can be left half done that no random test comes upon."""

import asyncio
import errno
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from service.catalogue import clock, uploads
from service.errors import (
    ClientGone,
    NotAnMp3,
    OffsetMismatch,
    Overloaded,
    QuotaExceeded,
    StorageFailed,
    StorageFull,
    TooManyUploads,
)
from service.uploads.claims import Claims
from service.uploads.intake import Intake
from service.uploads.model import PARTIAL, NewUpload, Request
from service.uploads.writer import Writer
from tests.uploads.conftest import Bytes


@pytest.fixture
def song(content_of):
    return content_of("jingle")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def partial_of(place, content: bytes):
    upload = await place.create(len(content), concat=PARTIAL, is_announced=True)
    await place.intake.append(place.user_id, upload.upload_id, Request(Bytes(content), offset=0))
    return upload.upload_id


async def test_parts_that_make_no_mp3_are_closed_again(place):
    part = await partial_of(place, os.urandom(3 << 20))
    before = open_files()
    for _ in range(5):
        with pytest.raises(NotAnMp3):
            await place.intake.concatenate(place.user_id, [part], NewUpload("x.mp3", concat="final"))
    assert open_files() == before


@pytest.mark.parametrize("limit", ["max_open_uploads_per_user", "quota_tracks"])
async def test_parts_do_not_stand_in_the_way_of_what_they_become(make_place, change_settings, song, limit):
    place = await make_place(change_settings(**{limit: 2}))
    parts = [await partial_of(place, song[:3000]), await partial_of(place, song[3000:])]
    with pytest.raises((TooManyUploads, QuotaExceeded)):
        await place.create(1)
    await place.intake.concatenate(place.user_id, parts, NewUpload("x.mp3", concat="final"))
    assert place.account == (len(song), 0, 1)


async def test_bytes_that_became_a_blob_without_a_commit_go_with_their_upload(place, song, monkeypatch):
    upload = await place.create(len(song))
    write = place.database.write

    async def fail_to_finish(work):
        if getattr(work, "func", None) is uploads.finish:
            raise StorageFailed("no")
        return await write(work)

    monkeypatch.setattr(place.database, "write", fail_to_finish)
    with pytest.raises(StorageFailed):
        await place.intake.take(upload, Bytes(song))
    assert len(place.blob_files) == 1
    monkeypatch.undo()
    assert await place.intake.expire(upload.upload_id, upload.expires_at + 1)
    assert place.blob_files == []
    assert place.states == ["expired"]


async def test_a_cancelled_wait_leaves_no_second_writer():
    running = []
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def store(batch):
        running.append(len(batch))
        assert len(running) == 1, "two stores at once"
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result(5)
        running.clear()

    with ThreadPoolExecutor(4) as pool:
        writer = Writer(store, pool)
        writer.put(b"a")
        waiting = asyncio.create_task(writer.finish(lambda: None))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert writer.is_busy, "the thread is still at work"
        writer.put(b"b")
        second = asyncio.create_task(writer.finish(lambda: "done"))
        await asyncio.sleep(0.05)
        release.set()
        assert await second == "done"


async def test_no_offset_is_told_of_a_part_whose_name_was_never_flushed(place, song, monkeypatch):
    upload = await place.create(len(song), is_announced=True)
    place.spool.create(upload.upload_id).close()  # an append that came to nothing had made it
    flushed = []
    monkeypatch.setattr(type(place.spool), "flush", lambda self: flushed.append(self))
    await place.intake.append(place.user_id, upload.upload_id, Request(Bytes(song[:1000]), offset=0, is_last=False))
    assert flushed


async def test_of_a_name_that_breaks_off_again_and_again_one_piece_is_kept(place, song):
    for size in (1000, 2000, 3000):
        with pytest.raises(ClientGone):
            await place.intake.take(await place.create(len(song)), Bytes(song[:size], ClientGone("gone")))
    kept = [row["offset"] for row in place.rows("uploads") if row["state"] == "receiving"]
    assert kept == [3000]
    assert place.account == (0, 3000, 0)


async def test_a_piece_that_somebody_goes_on_with_is_left_alone(place, song):
    piece = await place.create(len(song))
    with pytest.raises(ClientGone):
        await place.intake.take(piece, Bytes(song[:1000], ClientGone("gone")))
    request = Request(Bytes(song[1000:2000]), offset=1000)
    assert (await place.intake.append(place.user_id, piece.upload_id, request)).upload.offset == 2000
    with pytest.raises(ClientGone):
        await place.intake.take(await place.create(len(song)), Bytes(song[:3000], ClientGone("gone")))
    assert (await place.intake.look(place.user_id, piece.upload_id)).upload.offset == 2000


async def test_the_end_of_life_that_was_told_holds_when_lives_get_shorter(place, song):
    upload = await place.create(len(song), is_announced=True)
    later = upload.expires_at + clock.DAY
    await place.database.write(
        lambda connection: connection.execute("UPDATE uploads SET expires_at = ?", (later,)).rowcount
    )
    outcome = await place.intake.append(place.user_id, upload.upload_id, Request(Bytes(song[:1000]), offset=0))
    assert outcome.upload.expires_at == place.rows("uploads")[0]["expires_at"] == later


async def test_what_was_begun_elsewhere_under_the_name_is_left_alone(place, song):
    begun = await place.create(len(song), is_announced=True)
    await place.intake.append(place.user_id, begun.upload_id, Request(Bytes(song[:500]), offset=0, is_last=False))
    with pytest.raises(ClientGone):
        await place.intake.take(await place.create(len(song)), Bytes(song[:900], ClientGone("gone")))
    assert (await place.intake.look(place.user_id, begun.upload_id)).upload.offset == 500


async def test_who_goes_on_with_a_broken_upload_reserves_the_rest_again(place, song):
    upload = await place.create(len(song))
    with pytest.raises(ClientGone):
        await place.intake.take(upload, Bytes(song[:500], ClientGone("gone")))
    assert place.account[1] == 500
    tight = Intake(
        place.database,
        place.spool,
        place.blobs,
        replace(place.settings, quota_bytes=len(song) - 1),
        place.intake._appending._metrics,
        boot_id="this boot",
    )
    with pytest.raises(QuotaExceeded):
        await tight.append(place.user_id, upload.upload_id, Request(Bytes(song[500:]), offset=500, is_last=True))
    await tight.close()
    outcome = await place.intake.append(
        place.user_id, upload.upload_id, Request(Bytes(song[500:]), offset=500, is_last=True)
    )
    assert outcome.track["sha256"] == hashlib.sha256(song).digest()
    assert place.account == (len(song), 0, 1)


async def test_too_many_open_files_are_not_the_disks_fault(place, song, monkeypatch):
    def fail(self, upload_id):
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(type(place.spool), "create", fail)
    for _ in range(4):
        with pytest.raises(Overloaded):
            await place.intake.take(await place.create(len(song)), Bytes(song))
    assert place.intake.is_healthy()


@pytest.mark.parametrize(("offset", "content_length"), [(5, 7), (0, 1)])
async def test_a_finished_upload_repeats_its_answer_for_its_last_append_only(place, song, offset, content_length):
    upload = await place.create(len(song), is_announced=True)
    await place.intake.append(place.user_id, upload.upload_id, Request(Bytes(song), offset=0))
    request = Request(Bytes(b"garbage"), offset=offset, content_length=content_length)
    with pytest.raises(OffsetMismatch):
        await place.intake.append(place.user_id, upload.upload_id, request)
    again = Request(Bytes(song), offset=0, content_length=len(song))
    assert (await place.intake.append(place.user_id, upload.upload_id, again)).track is not None


@pytest.mark.parametrize("damage", ["gone", "cut"])
async def test_a_receipt_never_rests_on_shared_bytes_that_are_not_there(place, song, damage):
    first = await place.upload(song)
    blob = place.blobs.path(first["key"])
    blob.unlink() if damage == "gone" else os.truncate(blob, 10)
    second = await place.upload(song)
    assert second["key"] != first["key"]
    assert place.blobs.path(second["key"]).read_bytes() == song
    assert {row["key"] for row in place.rows("tracks")} == {second["key"]}, "the first track is whole again, too"


async def test_first_bytes_that_nobody_checked_are_not_kept(place, song):
    """Neither when their request breaks off nor when the process does: the upload can be found by its name."""

    class Looking(Bytes):
        async def read(self):
            noted.append(place.rows("uploads")[0]["has_checksums"])
            return await super().read()

    noted = []
    upload = await place.create(len(song), is_announced=True)
    claims = Claims({"sha1": hashlib.sha1(song).digest()})
    with pytest.raises(ClientGone):
        await place.intake.start(upload, Request(Looking(song[:1000], ClientGone("gone")), offset=0, claims=claims))
    assert noted == [1, 1]
    assert place.states == ["terminated"]
    assert place.spool_files == []
    assert place.account == (0, 0, 0)


async def test_who_asks_while_too_much_runs_is_told_to_wait_and_not_that_the_upload_is_lost(
    make_place, change_settings, song
):
    place = await make_place(change_settings(max_running_uploads_per_user=1))
    upload = await place.create(len(song), is_announced=True)
    await place.intake.append(place.user_id, upload.upload_id, Request(Bytes(song), offset=0, is_last=False))
    look = partial(place.intake.look, place.user_id, upload.upload_id, ends_with_length=True)
    with place.intake._appending.running.slot(place.user_id), pytest.raises(Overloaded):
        await look()
    assert (await look()).upload.state == "finished"


@pytest.mark.parametrize(
    ("number", "error"), [(errno.EIO, StorageFailed), (errno.ENOSPC, StorageFull), (errno.EMFILE, Overloaded)]
)
async def test_a_disk_that_fails_while_bytes_of_a_crash_are_counted_loses_none_of_them(
    place, song, monkeypatch, number, error
):
    upload = await place.create(len(song), is_announced=True)
    place.spool.directory.joinpath(f"{upload.upload_id}.part").write_bytes(song[:5000])

    def fail(_upload_id):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(place.spool, "open", fail)
        with pytest.raises(error):
            await place.intake.look(place.user_id, upload.upload_id)
    assert (await place.intake.look(place.user_id, upload.upload_id)).upload.offset == 5000
