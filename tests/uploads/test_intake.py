"""The intake: what becomes of an upload whatever happens to its body, its disk or its database."""

import asyncio
import errno
import hashlib
import os
import threading
import time
from dataclasses import replace
from typing import ClassVar

import pytest

from service.catalogue import uploads
from service.errors import (
    BodyTimeout,
    ClientGone,
    DamagedAudio,
    DatabaseFull,
    DigestMismatch,
    InconsistentUploadLength,
    NotAnMp3,
    Overloaded,
    QuotaExceeded,
    StorageFailed,
    StorageFull,
    TooLarge,
    TooManyUploads,
    UploadExpired,
)
from service.storage.local import LocalBlobs
from service.storage.spool import Part, Spool
from service.uploads.claims import Claims
from service.uploads.model import NewUpload
from service.uploads.quota import Allowance
from tests.uploads.conftest import Bytes, pieces


@pytest.fixture
def song(content_of) -> bytes:
    return content_of("cbr128")


async def test_an_upload_becomes_a_track_and_nothing_else_stays(place, song):
    row = await place.upload(song)
    assert row["sha256"] == hashlib.sha256(song).digest()
    assert (row["size"], row["title"], row["state"]) == (len(song), "song", "analysing")
    assert place.states == ["finished"]
    assert place.account == (len(song), 0, 1)
    assert place.spool_files == []
    assert [path.read_bytes() for path in place.blob_files] == [song]


@pytest.mark.parametrize("step", [1000, 65_536, 10_000_000])
async def test_the_size_of_chunks_does_not_matter(place, song, step):
    row = await place.upload(song, known=False, step=step)
    assert row["sha256"] == hashlib.sha256(song).digest()
    assert place.account == (len(song), 0, 1)


async def test_equal_bytes_share_one_blob(place, song):
    first, second = await place.upload(song), await place.upload(song)
    assert first["key"] == second["key"]
    assert first["track_id"] != second["track_id"]
    assert sorted(row["state"] for row in place.rows("blobs")) == ["deleting", "ready"]
    assert place.account == (2 * len(song), 0, 2)


async def test_equal_bytes_at_once_share_one_blob(place, song):
    rows = await asyncio.gather(*(place.upload(song) for _ in range(6)))
    assert len({row["key"] for row in rows}) == 1
    assert place.account == (6 * len(song), 0, 6)


@pytest.mark.parametrize("known", [True, False])
async def test_what_is_no_mp3_is_refused_early_and_its_bytes_go(place, content_of, known):
    junk = content_of("random_1") * 200  # 40 MB
    upload = await place.create(len(junk) if known else None)
    body = Bytes(*pieces(junk, 65_536))
    with pytest.raises(NotAnMp3):
        await place.intake.take(upload, body)
    assert len(body._chunks) > 400, "the body was read on and on"
    assert place.states == ["refused"]
    assert place.account == (0, 0, 0)
    assert place.spool_files == place.blob_files == []


@pytest.mark.parametrize("size", [9000, 65_000])
async def test_what_is_no_mp3_is_refused_even_if_no_more_comes(place, size):
    class Stalling(Bytes):
        async def read(self):
            return await super().read() if self._chunks else await asyncio.Event().wait()

        def at_end(self):
            return False

    upload = await place.create(50_000_000)
    body = Stalling(*pieces((b"%PDF-1.7\n" * 8000)[:size], 3000))
    with pytest.raises(NotAnMp3):
        await asyncio.wait_for(place.intake.take(upload, body), 5)
    assert place.states == ["refused"]
    assert place.spool_files == []


async def test_more_bytes_than_announced_are_refused(place, song):
    upload = await place.create(len(song) - 1)
    with pytest.raises(InconsistentUploadLength):
        await place.intake.take(upload, Bytes(*pieces(song, 10_000)))
    assert place.states == ["refused"]
    assert place.account == (0, 0, 0)
    assert place.spool_files == place.blob_files == []


async def test_fewer_bytes_than_announced_are_no_track(place, song):
    upload = await place.create(len(song) + 1)
    with pytest.raises(InconsistentUploadLength):
        await place.intake.take(upload, Bytes(song))
    assert place.rows("tracks") == []
    assert place.blob_files == []


async def test_a_wrong_digest_is_refused(place, song):
    with pytest.raises(DigestMismatch) as caught:
        await place.upload(song, claimed_sha256=bytes(32))
    assert caught.value.facts["found"] == hashlib.sha256(song).hexdigest()
    upload = await place.create(len(song))
    with pytest.raises(DigestMismatch):
        await place.intake.take(upload, Bytes(song), Claims({"sha512": bytes(64)}))
    assert place.states == ["refused", "refused"]
    assert place.spool_files == place.blob_files == []
    assert place.account == (0, 0, 0)


async def test_right_digests_are_fine(place, song):
    upload = await place.create(len(song), claimed_sha256=hashlib.sha256(song).digest())
    await place.intake.take(upload, Bytes(*pieces(song, 5000)), Claims({"sha512": hashlib.sha512(song).digest()}))
    assert place.states == ["finished"]


async def test_strict_settings_refuse_what_is_damaged(make_place, change_settings, content_of):
    place = await make_place(change_settings(strict_audio=True))
    with pytest.raises(DamagedAudio):
        await place.upload(content_of("half"))
    assert place.account == (0, 0, 0)
    await place.upload(content_of("cbr128"))


@pytest.mark.parametrize("error", [ClientGone("gone"), BodyTimeout("slow")])
@pytest.mark.parametrize("known", [True, False])
async def test_what_came_before_a_body_broke_off_is_kept(place, song, error, known):
    upload = await place.create(len(song) if known else None)
    with pytest.raises(type(error)):
        await place.intake.take(upload, Bytes(*pieces(song[:77_777], 10_000), error))
    row = place.rows("uploads")[0]
    assert (row["state"], row["offset"]) == ("receiving", 77_777)
    assert place.spool.path(upload.upload_id).read_bytes() == song[:77_777]


async def test_a_body_that_brings_nothing_leaves_nothing(place):
    upload = await place.create(1000)
    with pytest.raises(ClientGone):
        await place.intake.take(upload, Bytes(ClientGone("gone")))
    assert place.states == ["terminated"]
    assert place.account == (0, 0, 0)
    assert place.spool_files == []


async def test_junk_of_a_client_that_is_gone_is_refused_all_the_same(place, content_of):
    upload = await place.create(10_000_000)
    with pytest.raises((ClientGone, NotAnMp3)):
        await place.intake.take(upload, Bytes(content_of("random_1"), ClientGone("gone")))
    assert place.states == ["refused"]
    assert place.spool_files == []


async def test_a_cancelled_request_keeps_its_bytes_and_frees_its_place(place, song):
    class Endless(Bytes):
        async def read(self) -> bytes:
            return await super().read() or await asyncio.sleep(60, b"")

        def at_end(self) -> bool:
            return False

    upload = await place.create(len(song))
    task = asyncio.create_task(place.intake.take(upload, Endless(song[:50_000])))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert place.rows("uploads")[0]["offset"] == 50_000
    assert place.intake._appending.running.count == 0


async def test_an_upload_goes_on_where_it_broke_off(place, song):
    upload = await place.create(len(song))
    with pytest.raises(ClientGone):
        await place.intake.take(upload, Bytes(song[:50_000], ClientGone("gone")))
    row = place.rows("uploads")[0]
    again = _with_offset(upload, row["offset"])
    track = await place.intake.take(again, Bytes(song[50_000:]))
    assert track["sha256"] == hashlib.sha256(song).digest()


async def test_bytes_behind_the_told_offset_are_forgotten(place, song):
    upload = await place.create(len(song))
    with pytest.raises(ClientGone):
        await place.intake.take(upload, Bytes(song[:50_000], ClientGone("gone")))
    with place.spool.path(upload.upload_id).open("ab") as part:
        part.write(b"written, and never flushed or recorded")
    track = await place.intake.take(_with_offset(upload, 50_000), Bytes(song[50_000:]))
    assert track["sha256"] == hashlib.sha256(song).digest()


async def test_lost_bytes_are_said_to_be_lost(place, song):
    upload = await place.create(len(song))
    with pytest.raises(ClientGone):
        await place.intake.take(upload, Bytes(song[:50_000], ClientGone("gone")))
    os.truncate(place.spool.path(upload.upload_id), 49_999)
    with pytest.raises(UploadExpired):
        await place.intake.take(_with_offset(upload, 50_000), Bytes(song[50_000:]))


def _with_offset(upload, offset):
    return replace(upload, offset=offset)


async def test_an_upload_that_was_ended_meanwhile_makes_no_track(place, song):
    upload = await place.create(None)
    reading = asyncio.Event()

    class Slow(Bytes):
        async def read(self) -> bytes:
            reading.set()
            await asyncio.sleep(0.05)
            return await super().read()

    task = asyncio.create_task(place.intake.take(upload, Slow(*pieces(song, 20_000))))
    await reading.wait()
    await place.database.write(lambda connection: uploads.end(connection, upload.upload_id, "terminated", now=1))
    with pytest.raises(UploadExpired):
        await task
    assert place.rows("tracks") == []
    assert place.account == (0, 0, 0)


# Limits


async def test_the_largest_upload_fits_and_one_byte_more_does_not(make_place, change_settings, song):
    place = await make_place(change_settings(max_upload_bytes=len(song)))
    await place.upload(song)
    await place.upload(song, known=False, step=7777)
    with pytest.raises(TooLarge) as caught:
        await place.upload(song + b"\0")
    assert caught.value.facts["limit_bytes"] == len(song)
    with pytest.raises(TooLarge):
        await place.upload(song + b"\0", known=False, step=7777)
    assert place.states == ["finished", "finished", "refused"]
    assert place.account == (2 * len(song), 0, 2)
    assert place.spool_files == []


async def test_the_quota_holds_to_the_byte(make_place, change_settings, song):
    place = await make_place(change_settings(quota_bytes=2 * len(song)))
    await place.upload(song)
    await place.upload(song, known=False, step=7777)
    for known in (True, False):
        with pytest.raises(QuotaExceeded) as caught:
            await place.upload(song[: -len(song) // 2], known=known)
        assert caught.value.facts["used_bytes"] == 2 * len(song)
    assert place.account == (2 * len(song), 0, 2)


async def test_an_upload_of_unknown_length_takes_the_last_byte_of_a_quota(make_place, change_settings, song):
    place = await make_place(change_settings(quota_bytes=len(song)))
    row = await place.upload(song, known=False, step=5000)
    assert row["size"] == len(song)
    assert place.account == (len(song), 0, 1)


async def test_parallel_creations_never_reserve_more_than_the_quota(make_place, change_settings):
    place = await make_place(change_settings(quota_bytes=10_500, max_running_uploads_per_user=50))
    outcomes = await asyncio.gather(*(place.create(1000) for _ in range(20)), return_exceptions=True)
    assert sum(isinstance(each, QuotaExceeded) for each in outcomes) == 10
    assert place.account == (0, 10_000, 0)


async def test_parallel_uploads_never_store_more_than_the_quota(make_place, change_settings, song):
    place = await make_place(change_settings(quota_bytes=7 * len(song) - 1, max_running_uploads_per_user=50))
    outcomes = await asyncio.gather(
        *(place.upload(song, known=number % 2 == 0, step=9000) for number in range(20)), return_exceptions=True
    )
    stored = [each for each in outcomes if not isinstance(each, BaseException)]
    assert all(isinstance(each, QuotaExceeded) for each in outcomes if isinstance(each, BaseException))
    assert 1 <= len(stored) <= 6
    assert place.account == (len(stored) * len(song), 0, len(stored))


async def test_the_number_of_tracks_is_limited(make_place, change_settings, song):
    place = await make_place(change_settings(quota_tracks=2))
    await place.upload(song)
    open_upload = await place.create(len(song))
    with pytest.raises(QuotaExceeded):
        await place.create(1)
    await place.intake.take(open_upload, Bytes(song))
    assert place.account[2] == 2


async def test_the_number_of_open_uploads_is_limited(make_place, change_settings):
    place = await make_place(change_settings(max_open_uploads_per_user=3))
    for _ in range(3):
        await place.create(10)
    with pytest.raises(TooManyUploads):
        await place.create(10)
    assert place.account == (0, 30, 0)


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"max_running_uploads_per_user": 2}, TooManyUploads), ({"max_running_uploads": 2}, Overloaded)],
)
async def test_uploads_that_are_too_many_at_once_leave_nothing(make_place, change_settings, song, changes, error):
    place = await make_place(change_settings(**changes))
    outcomes = await asyncio.gather(*(place.upload(song, step=5000) for _ in range(6)), return_exceptions=True)
    assert {type(each) for each in outcomes if isinstance(each, BaseException)} == {error}
    finished = sum(not isinstance(each, BaseException) for each in outcomes)
    assert finished >= 2
    assert place.account == (finished * len(song), 0, finished)
    assert "receiving" not in place.states


async def test_titles_and_names_are_cleaned(place, song):
    title = "  a\x00b\u202ec\n" + "x" * 300
    upload = await place.intake.create("anne", NewUpload("../../etc/pass\x00wd.mp3", title=title, length=len(song)))
    row = await place.intake.take(upload, Bytes(song))
    assert row["filename"] == "passwd.mp3"
    assert row["title"].startswith("abc xxx")
    assert len(row["title"]) <= 255


# Disks


class FaultyPart(Part):
    """A part whose disk fails as the test wants."""

    faults: ClassVar[dict[str, OSError]] = {}

    def append(self, chunks) -> None:
        if fault := self.faults.get("append"):
            super().append(chunks[:1])
            raise fault
        super().append(chunks)

    def sync(self) -> None:
        if fault := self.faults.get("sync"):
            raise fault
        super().sync()


@pytest.fixture
def faults(monkeypatch):
    monkeypatch.setattr(FaultyPart, "faults", {})
    monkeypatch.setattr("service.storage.spool.Part", FaultyPart)
    return FaultyPart.faults


NO_SPACE = OSError(errno.ENOSPC, "No space left on device")
BROKEN = OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(
    ("call", "fault", "error"),
    [("append", NO_SPACE, StorageFull), ("append", BROKEN, StorageFailed), ("sync", BROKEN, StorageFailed)],
)
@pytest.mark.parametrize("step", [10_000, 1_000_000])
async def test_a_disk_that_fails_is_told_and_nothing_stays(place, faults, song, call, fault, error, step):
    faults[call] = fault
    with pytest.raises(error):
        await place.upload(song, step=step)
    assert place.states == ["refused"]
    assert place.account == (0, 0, 0)
    assert place.spool_files == place.blob_files == []
    faults.clear()
    await place.upload(song)


async def test_a_disk_that_cannot_even_delete_is_told_as_failed(place, faults, song, monkeypatch):
    def fail(self, upload_id):
        raise BROKEN

    faults["append"] = BROKEN
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "delete", fail)
        with pytest.raises(StorageFailed):
            await place.upload(song)
    assert place.states == ["refused"]
    assert place.account == (0, 0, 0)
    assert len(place.spool_files) == 1
    await place.recover()
    assert place.spool_files == []


async def test_a_full_disk_is_not_a_sick_one(place, faults, song):
    faults["append"] = NO_SPACE
    for _ in range(4):
        with pytest.raises(StorageFull):
            await place.upload(song)
    assert place.intake.is_healthy()


async def test_three_failures_in_a_minute_stop_uploads(place, faults, song, monkeypatch):
    faults["sync"] = BROKEN
    for _ in range(3):
        assert place.intake.is_healthy()
        with pytest.raises(StorageFailed):
            await place.upload(song)
    assert not place.intake.is_healthy()
    faults.clear()
    with pytest.raises(StorageFailed):
        await place.upload(song)
    monkeypatch.setattr("service.uploads.ends.UNHEALTHY_WINDOW_S", 0.0)
    assert place.intake.is_healthy()
    await place.upload(song)


async def test_a_failed_flush_takes_an_upload_back_to_what_was_told(place, faults, song):
    upload = await place.create(len(song))
    with pytest.raises(ClientGone):
        await place.intake.take(upload, Bytes(song[:50_000], ClientGone("gone")))
    faults["sync"] = BROKEN
    with pytest.raises(StorageFailed):
        await place.intake.take(_with_offset(upload, 50_000), Bytes(song[50_000:]))
    row = place.rows("uploads")[0]
    assert (row["state"], row["offset"]) == ("receiving", 50_000)
    assert place.spool.path(upload.upload_id).stat().st_size == 50_000
    faults.clear()
    track = await place.intake.take(_with_offset(upload, 50_000), Bytes(song[50_000:]))
    assert track["sha256"] == hashlib.sha256(song).digest()


async def test_a_database_that_cannot_begin_an_upload_is_a_failure_of_the_disk(place, song, monkeypatch):
    def fail(*arguments, **more):
        raise StorageFailed("The database could not commit.")

    monkeypatch.setattr(uploads, "create", fail)
    for _ in range(3):
        with pytest.raises(StorageFailed):
            await place.upload(song)
    assert not place.intake.is_healthy()


async def test_a_full_database_at_the_end_gives_the_room_back(place, song, monkeypatch):
    def fail(*arguments, **more):
        raise DatabaseFull("The disk has no room for the database.")

    with monkeypatch.context() as patched:
        patched.setattr(uploads, "finish", fail)
        with pytest.raises(DatabaseFull):
            await place.upload(song)
    assert place.spool_files == place.blob_files == []
    assert place.states == ["refused"]
    assert place.account == (0, 0, 0)
    assert place.intake.is_healthy()


async def test_a_full_database_is_not_a_sick_one(place, song):
    pages = await place.database.write(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    await place.database.write(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}"))
    full = []
    for _ in range(200):
        try:
            await place.create(1)
        except DatabaseFull as error:
            full.append(error)
        except TooManyUploads:
            break
    assert place.intake.is_healthy()
    assert full


async def test_a_directory_that_cannot_be_flushed_leaves_no_blob(place, song, monkeypatch):
    def fail(directory):
        raise BROKEN

    monkeypatch.setattr("service.storage.local.flush_directory", fail)
    with pytest.raises(StorageFailed):
        await place.upload(song)
    assert place.states == ["refused"]
    assert place.spool_files == place.blob_files == []


async def test_a_directory_that_cannot_be_flushed_leaves_an_old_upload_where_it_was(place, song, monkeypatch):
    upload = await place.create(len(song))
    with pytest.raises(ClientGone):
        await place.intake.take(upload, Bytes(song[:50_000], ClientGone("gone")))

    def fail(directory):
        raise BROKEN

    with monkeypatch.context() as patched:
        patched.setattr("service.storage.local.flush_directory", fail)
        with pytest.raises(StorageFailed):
            await place.intake.take(_with_offset(upload, 50_000), Bytes(song[50_000:]))
    assert place.blob_files == []
    track = await place.intake.take(_with_offset(upload, 50_000), Bytes(song[50_000:]))
    assert track["sha256"] == hashlib.sha256(song).digest()


async def test_a_transaction_that_fails_is_finished_by_the_next_start(place, song, monkeypatch):
    finish = uploads.finish

    def fail(*arguments, **more):
        raise StorageFailed("The database could not commit.")

    monkeypatch.setattr(uploads, "finish", fail)
    with pytest.raises(StorageFailed):
        await place.upload(song)
    assert place.states == ["receiving"]
    monkeypatch.setattr(uploads, "finish", finish)
    await place.recover()
    assert place.states == ["finished"]
    assert place.account == (len(song), 0, 1)


async def test_no_file_is_closed_while_a_thread_writes_to_it(make_place, song, monkeypatch):
    """Its number would be the next file's, and the thread would write into that."""
    entered, leave, wrong = threading.Event(), threading.Event(), []

    class SlowPart(Part):
        def append(self, chunks) -> None:
            entered.set()
            assert leave.wait(10)
            if self._descriptor < 0:
                wrong.append("closed")
            super().append(chunks)

    monkeypatch.setattr("service.storage.spool.Part", SlowPart)
    place = await make_place()
    upload = await place.create(None)

    class Body(Bytes):
        async def read(self) -> bytes:
            while self.has_begun and not entered.is_set():
                await asyncio.sleep(0.01)
            self.has_begun = True
            return await super().read()

        has_begun = False

    calls = []

    async def make_room(self, offset):
        calls.append(offset)
        if len(calls) == 2:
            raise UploadExpired("The upload has ended.")

    monkeypatch.setattr(Allowance, "make_room", make_room)
    task = asyncio.create_task(place.intake.take(upload, Body(song[:10_000], song[10_000:20_000], song[20_000:])))
    await asyncio.to_thread(entered.wait, 10)
    await asyncio.sleep(0.2)
    leave.set()
    with pytest.raises(UploadExpired):
        await task
    await place.intake.close()  # when all threads are through
    assert wrong == []


async def test_a_disk_under_its_reserve_takes_no_upload(make_place, change_settings, song):
    free = os.statvfs(".").f_bavail * os.statvfs(".").f_frsize
    place = await make_place(change_settings(free_space_reserve_bytes=free * 2))
    for known in (True, False):
        with pytest.raises(StorageFull):
            await place.upload(song, known=known)
    assert not place.intake.has_room()
    assert place.rows("uploads") == []


@pytest.mark.parametrize("known", [True, False])
async def test_the_disk_runs_into_its_reserve_while_an_upload_comes(
    make_place, change_settings, song, monkeypatch, known
):
    place = await make_place(change_settings(free_space_reserve_bytes=1000))
    monkeypatch.setattr("service.uploads.quota.RESERVE_STEP_BYTES", 50_000)
    upload = await place.create(len(song) if known else None)
    monkeypatch.setattr(Spool, "free_bytes", lambda self: 500)
    monkeypatch.setattr("service.uploads.quota.FREE_SPACE_FRESH_S", 0.0)
    with pytest.raises(StorageFull):
        await place.intake.take(upload, Bytes(*pieces(song, 10_000)))
    assert place.states == ["refused"]
    assert place.spool_files == []


async def test_closing_waits_for_what_is_ending(place, song, monkeypatch):
    adopt = LocalBlobs.adopt

    def slow(self, part, key):
        time.sleep(0.3)
        adopt(self, part, key)

    monkeypatch.setattr(LocalBlobs, "adopt", slow)
    upload = await place.create(len(song))
    task = asyncio.create_task(place.intake.take(upload, Bytes(song)))
    await asyncio.sleep(0.1)
    task.cancel()
    await place.intake.close()
    assert place.states == ["finished"], "the end of an upload does not depend on its request"
    with pytest.raises(asyncio.CancelledError):
        await task
