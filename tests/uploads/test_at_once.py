"""A small file that comes whole: the same receipt with fewer steps, and nothing half done."""

import asyncio
import errno
import hashlib
import os
from dataclasses import replace

import pytest

from service.catalogue import blobs, uploads
from service.errors import (
    ClientGone,
    DatabaseFull,
    DigestMismatch,
    NotAnMp3,
    QuotaExceeded,
    StorageFailed,
    StorageFull,
    TooLarge,
)
from service.metrics import Metrics
from service.storage import local
from service.storage.local import LocalBlobs
from service.storage.spool import Part, Spool
from service.uploads import at_once, reserved
from service.uploads.intake import Intake
from service.uploads.model import NewUpload
from tests.uploads.conftest import BOOT, Bytes, Slow, pieces


class Crash(BaseException):
    """No `except` of the service's sees it, as if the process were gone."""


@pytest.fixture
def song(content_of) -> bytes:
    content = content_of("cbr128")
    assert len(content) <= at_once.MOST_BYTES
    return content


@pytest.fixture
def whole(place):
    """A function that takes a whole file."""

    async def take(content: bytes, *, step: int = 20_000, intake=place.intake, is_named: bool = False, **new):
        length = new.pop("length", len(content))
        body = Bytes(*pieces(content, step))
        asked = NewUpload(new.pop("filename", "song.mp3"), length=length, **new)
        return await intake.take_whole(place.user_id, asked, body, at_most=len(content), is_named=is_named)

    return take


def nothing_is_left(place) -> bool:
    return place.spool_files == place.blob_files == [] and place.account == (0, 0, 0) and place.states == []


async def test_it_is_a_track_and_leaves_no_upload(place, whole, song):
    row = await whole(song, title="Song")
    assert (row["sha256"], row["size"], row["title"]) == (hashlib.sha256(song).digest(), len(song), "Song")
    assert place.account == (len(song), 0, 1)
    assert place.blobs.path(row["key"]).read_bytes() == song
    assert (place.spool_files, place.states) == ([], [])
    assert [job["kind"] for job in place.rows("jobs")] == ["describe"]


@pytest.mark.parametrize(("at_most", "is_at_once"), [(0, True), (1, False), (None, False)])
async def test_what_is_larger_or_of_unknown_length_has_a_row_from_its_first_byte_on(
    place, song, monkeypatch, at_most, is_at_once
):
    monkeypatch.setattr(at_once, "MOST_BYTES", len(song))
    more = at_most if at_most is None else len(song) + at_most
    await place.intake.take_whole(place.user_id, NewUpload("song.mp3"), Bytes(song), at_most=more)
    assert place.states == ([] if is_at_once else ["finished"])


async def test_what_is_late_has_a_row(place, song, monkeypatch):
    monkeypatch.setattr(at_once, "WITHIN_S", 0.01)
    await place.intake.take_whole(place.user_id, NewUpload("song.mp3"), Slow(song), at_most=len(song))
    assert place.states == ["finished"]


async def test_what_breaks_off_is_kept(place, song):
    body = Bytes(song[:30_000], ClientGone("gone"))
    with pytest.raises(ClientGone):
        await place.intake.take_whole(place.user_id, NewUpload("song.mp3", length=len(song)), body, at_most=len(song))
    [row] = place.rows("uploads")
    assert (row["state"], row["offset"]) == ("receiving", 30_000)


async def test_equal_bytes_share_a_blob_and_name_the_first_track(place, whole, song):
    first, second = await whole(song), await whole(song)
    assert (second["key"], second["copy_of"]) == (first["key"], first["track_id"])
    assert sorted(row["state"] for row in place.rows("blobs")) == ["deleting", "ready"]
    assert place.account == (2 * len(song), 0, 2)


async def test_bytes_that_were_lost_are_replaced_by_equal_ones(place, whole, song):
    first = await whole(song)
    place.blobs.path(first["key"]).unlink()
    second = await whole(song)
    assert place.blobs.path(second["key"]).read_bytes() == song


async def test_a_whole_file_ends_what_broke_off_under_its_name(place, whole, song):
    for name in ("song.mp3", "other.mp3"):
        body = Bytes(song[:30_000], ClientGone("gone"))
        with pytest.raises(ClientGone):
            await place.intake.take_whole(place.user_id, NewUpload(name, length=len(song)), body, at_most=len(song))
    await whole(song)
    assert place.states == ["receiving", "receiving"]
    await whole(song, is_named=True)
    assert place.states == ["receiving", "terminated"]


@pytest.mark.parametrize(
    ("content", "new", "error"),
    [(b"no music at all " * 500, {}, NotAnMp3), (None, {"claimed_sha256": bytes(32)}, DigestMismatch)],
)
async def test_what_is_refused_leaves_nothing(place, whole, song, content, new, error):
    with pytest.raises(error):
        await whole(content or song, **new)
    assert nothing_is_left(place)


@pytest.mark.parametrize(
    ("limits", "facts"),
    [
        ({"quota_bytes": 300_000}, {"quota_bytes", "used_bytes", "reserved_bytes"}),
        ({"quota_tracks": 1}, {"quota_tracks", "used_tracks"}),
    ],
)
async def test_quota_is_told_and_holds_beside_what_is_open(place, whole, song, limits, facts):
    settings = replace(place.settings, **limits)
    intake = Intake(place.database, place.spool, place.blobs, settings, Metrics(), boot_id=BOOT)
    open_one = await intake.create(place.user_id, NewUpload("open.mp3", length=len(song)))
    with pytest.raises(QuotaExceeded) as caught:
        await whole(song, intake=intake)
    assert caught.value.facts.keys() == facts
    assert (place.account, place.blob_files) == ((0, len(song), 0), [])
    await intake.terminate(place.user_id, open_one.upload_id)
    await whole(song, intake=intake)
    assert place.account == (len(song), 0, 1)
    await intake.close()


@pytest.mark.parametrize(
    ("call", "number", "error"),
    [("append", errno.ENOSPC, StorageFull), ("append", errno.EIO, StorageFailed), ("sync", errno.EIO, StorageFailed)],
)
async def test_a_disk_that_fails_is_told_and_nothing_stays(place, whole, song, monkeypatch, call, number, error):
    def fail(*_):
        raise OSError(number, "fault")

    with monkeypatch.context() as patched:
        patched.setattr(Part, call, fail)
        with pytest.raises(error):
            await whole(song)
    assert nothing_is_left(place)
    await whole(song)


async def test_a_part_that_cannot_be_removed_goes_at_the_next_start(place, whole, song, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "fault")

    with monkeypatch.context() as patched:
        patched.setattr(Part, "sync", fail)
        patched.setattr(Spool, "delete", fail)
        with pytest.raises(StorageFailed):
            await whole(song)
    assert len(place.spool_files) == 1
    await place.recover()
    assert nothing_is_left(place)


async def test_a_full_database_has_committed_nothing(place, whole, song, monkeypatch):
    def fail(*_, **__):
        raise DatabaseFull("full")

    with monkeypatch.context() as patched:
        patched.setattr(uploads, "take_at_once", fail)
        with pytest.raises(DatabaseFull):
            await whole(song)
    assert nothing_is_left(place)


class Stalling(Bytes):
    """What there is, and then nothing for ever."""

    async def read(self) -> bytes:
        return await super().read() or await asyncio.Future()

    def at_end(self) -> bool:
        return False


@pytest.mark.parametrize(
    ("content", "limits", "error"),
    [(b"no music at all " * 9000, {}, NotAnMp3), (b"", {"quota_bytes": 1000}, QuotaExceeded)],
)
async def test_who_is_refused_while_more_is_waited_for_leaves_no_reader_behind(place, content, limits, error):
    intake = Intake(
        place.database, place.spool, place.blobs, replace(place.settings, **limits), Metrics(), boot_id=BOOT
    )
    tasks = asyncio.all_tasks()
    body = Stalling(*pieces(content, 50_000))
    with pytest.raises(error):
        await intake.take_whole(place.user_id, NewUpload("song.mp3", length=200_000), body, at_most=200_000)
    assert asyncio.all_tasks() == tasks
    await intake.close()


async def test_small_files_have_no_limit_of_their_own(place, song):
    settings = replace(place.settings, max_upload_bytes=len(song) - 1)
    intake = Intake(place.database, place.spool, place.blobs, settings, Metrics(), boot_id=BOOT)
    with pytest.raises(TooLarge):
        await intake.take_whole(place.user_id, NewUpload("song.mp3"), Bytes(song), at_most=len(song))
    assert (place.account, place.blob_files) == ((0, 0, 0), [])
    await intake.close()


async def test_a_blob_that_could_not_be_taken_back_is_found_by_the_next_start(place, whole, song, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "fault")

    rename = os.rename
    with monkeypatch.context() as patched:
        patched.setattr(local, "flush_directory", fail)
        patched.setattr(os, "rename", lambda *names: fail() if "blobs" in str(names[0]) else rename(*names))
        with pytest.raises(StorageFailed):
            await whole(song)
    monkeypatch.setattr(reserved, "AT_A_TIME", 1)
    place.intake._at_once.keys._spare.clear()
    await whole(song[:-1])  # new names are reserved
    await place.recover()
    known = {row["key"] for row in place.rows("blobs")}
    assert {path.name for path in place.blob_files} <= known


async def test_a_database_that_reserves_no_names_is_unhealthy(place, whole, song, monkeypatch):
    def fail(*_, **__):
        raise StorageFailed("no disk")

    with monkeypatch.context() as patched:
        patched.setattr(blobs, "reserve", fail)
        for _ in range(3):
            with pytest.raises(StorageFailed):
                await whole(song)
    assert not place.intake.is_healthy()


@pytest.mark.parametrize("is_committed", [True, False])
async def test_where_nobody_knows_whether_it_was_committed_the_next_start_does(
    place, whole, song, monkeypatch, is_committed
):
    write = place.database.write

    async def fail(work):
        if getattr(work, "func", None) is uploads.take_at_once:
            if is_committed:
                await write(work)
            raise StorageFailed("The database could not commit.")
        return await write(work)

    with monkeypatch.context() as patched:
        patched.setattr(place.database, "write", fail)
        with pytest.raises(StorageFailed):
            await whole(song)
    assert len(place.blob_files) == 1
    await whole(song[:-1])  # others go on, and take no note of it
    await place.recover()
    states = sorted(row["state"] for row in place.rows("blobs"))
    assert states == (["ready", "ready"] if is_committed else ["deleting", "ready"])


async def test_a_crash_between_blob_and_row_leaves_a_blob_to_delete(place, whole, song, monkeypatch):
    adopted = asyncio.Event()
    adopt = LocalBlobs.adopt
    loop = asyncio.get_running_loop()

    def stop_here(blobs, part, key):
        adopt(blobs, part, key)
        loop.call_soon_threadsafe(adopted.set)
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(LocalBlobs, "adopt", stop_here)
        task = asyncio.create_task(whole(song))
        await adopted.wait()
        with pytest.raises(Crash):
            await task
    assert len(place.blob_files) == 1
    await place.recover()
    [row] = place.rows("blobs")
    assert (row["state"], row["key"]) == ("deleting", place.blob_files[0].name)
    assert place.rows("reserved_keys") == []


async def test_names_are_reserved_many_at_a_time_and_forgotten_when_they_are_used(place, whole, song, monkeypatch):
    monkeypatch.setattr(reserved, "AT_A_TIME", 3)
    for _ in range(3):
        await whole(song)
    assert len(place.rows("reserved_keys")) == 3
    await whole(song)
    left = {row["key"] for row in place.rows("reserved_keys")}
    assert len(left) == 3
    assert len(left & {row["key"] for row in place.rows("blobs")}) == 1  # the one just used
    await place.recover()
    assert place.rows("reserved_keys") == []
    assert len(place.rows("blobs")) == 4


async def test_many_at_once_are_all_taken(place, whole, song, monkeypatch):
    monkeypatch.setattr(reserved, "AT_A_TIME", 4)
    rows = await asyncio.gather(*(whole(song + bytes(number)) for number in range(8)))
    assert len({row["key"] for row in rows}) == 8
    assert place.account[2] == 8


async def test_what_was_not_used_is_given_back_at_the_end(place, whole, song, monkeypatch):
    await whole(song)
    with monkeypatch.context() as patched:
        patched.setattr(LocalBlobs, "delete", broken)
        patched.setattr(LocalBlobs, "adopt", broken)
        with pytest.raises(StorageFailed):
            await whole(song + b"other")  # nobody knows what has become of its name
    await place.intake.close()
    assert len(place.rows("reserved_keys")) == 1
    await place.intake.close()


def broken(*_):
    raise OSError(errno.EIO, "fault")
