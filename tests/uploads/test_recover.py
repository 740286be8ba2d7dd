"""Start-up after a crash: each half-done state is repaired, and told offsets never go back."""

import hashlib
import os
import secrets

import pytest

from service.catalogue import uploads
from service.errors import ClientGone, NotAnMp3
from service.storage.spool import Spool
from service.uploads.model import NewUpload
from tests.uploads.conftest import Bytes


@pytest.fixture
def song(content_of) -> bytes:
    return content_of("cbr128")


async def begun(place, song, durable: int, written: int):
    """An upload with so many durable bytes, and so many in its part."""
    # A name of its own: of a file that breaks off again and again only the latest piece is kept.
    upload = await place.intake.create(place.user_id, NewUpload(f"{secrets.token_hex(4)}.mp3", length=len(song)))
    if durable:
        with pytest.raises(ClientGone):
            await place.intake.take(upload, Bytes(song[:durable], ClientGone("gone")))
    if written:
        place.spool.path(upload.upload_id).write_bytes(song[:written])
    return upload


async def goes_on(place, upload, song, offset: int) -> None:
    found = await uploads.find(place.database, upload.upload_id)
    assert (found.state, found.offset) == ("receiving", offset)
    track = await place.intake.take(found, Bytes(song[offset:]))
    assert track["sha256"] == hashlib.sha256(song).digest()
    assert place.account == (len(song), 0, 1)


async def test_a_row_without_a_part_begins_at_nothing(place, song):
    upload = await begun(place, song, 0, 0)
    await place.recover()
    await goes_on(place, upload, song, 0)


async def test_after_a_crash_of_the_process_all_bytes_count(place, song):
    upload = await begun(place, song, 0, 40_000)
    await place.recover()
    await goes_on(place, upload, song, 40_000)


async def test_after_a_crash_of_the_machine_only_flushed_bytes_count(place, song):
    upload = await begun(place, song, 30_000, 40_000)
    await place.recover("another boot")
    assert place.spool.path(upload.upload_id).stat().st_size == 30_000
    await goes_on(place, upload, song, 30_000)


async def test_a_crash_of_the_process_after_one_of_the_machine(place, song):
    upload = await begun(place, song, 30_000, 40_000)
    await place.recover("another boot")
    place.spool.path(upload.upload_id).write_bytes(song[:50_000])
    await place.recover("another boot")
    await goes_on(place, upload, song, 50_000)


@pytest.mark.parametrize("left", [None, 0, 29_999])
async def test_an_upload_whose_told_bytes_are_missing_is_lost(place, song, left):
    upload = await begun(place, song, 30_000, 0)
    path = place.spool.path(upload.upload_id)
    path.unlink() if left is None else os.truncate(path, left)
    await place.recover()
    assert place.states == ["lost"]
    assert place.account == (0, 0, 0)
    assert place.spool_files == []


async def test_a_blob_without_its_transaction_is_finished(place, song):
    upload = await begun(place, song, 0, len(song))
    place.blobs.adopt(place.spool.path(upload.upload_id), upload.upload_id)
    await place.recover()
    assert place.states == ["finished"]
    assert place.account == (len(song), 0, 1)
    assert place.rows("tracks")[0]["sha256"] == hashlib.sha256(song).digest()
    assert [path.read_bytes() for path in place.blob_files] == [song]
    await place.recover()
    assert place.account == (len(song), 0, 1)


@pytest.mark.parametrize("damage", ["short", "long", "junk", "empty"])
async def test_a_blob_the_disk_has_changed_is_no_track(place, song, damage, content_of):
    upload = await begun(place, song, 0, len(song))
    path = place.spool.path(upload.upload_id)
    changed = {"short": song[:-1], "long": song + song, "junk": content_of("random_1"), "empty": b""}
    path.write_bytes(changed[damage])
    place.blobs.adopt(path, upload.upload_id)
    await place.recover()
    assert place.states == ["lost"]
    assert place.rows("tracks") == []
    assert place.blob_files == []
    assert place.account == (0, 0, 0)


async def test_a_blob_of_bytes_that_another_track_has_shares_its_blob(place, song):
    first = await place.upload(song)
    upload = await begun(place, song, 0, len(song))
    place.blobs.adopt(place.spool.path(upload.upload_id), upload.upload_id)
    await place.recover()
    assert {row["key"] for row in place.rows("tracks")} == {first["key"]}


async def test_spool_files_without_a_row_go(place, song):
    place.spool.create("f" * 32).close()
    upload = await begun(place, song, 0, 100)
    await place.recover()
    assert list(place.spool.sizes()) == [upload.upload_id]


async def test_spool_files_of_ended_uploads_go(place, song):
    upload = await begun(place, song, 0, 100)
    await place.database.write(lambda connection: uploads.end(connection, upload.upload_id, "expired", now=1))
    await place.recover()
    assert place.spool_files == []


async def test_finished_uploads_are_left_alone(place, song):
    await place.upload(song)
    before = place.rows("uploads"), place.rows("tracks"), place.rows("blobs")
    await place.recover("another boot")
    assert [tuple(row) for row in before[0]] == [tuple(row) for row in place.rows("uploads")]
    assert [tuple(row) for row in before[1]] == [tuple(row) for row in place.rows("tracks")]
    assert [tuple(row) for row in before[2]] == [tuple(row) for row in place.rows("blobs")]


async def test_one_part_that_cannot_be_read_does_not_keep_the_service_down(place, song, monkeypatch):
    bad, good = await begun(place, song, 0, 10_000), await begun(place, song, 0, 20_000)
    open_part = Spool.open

    def fail(self, upload_id):
        if upload_id == bad.upload_id:
            raise OSError(5, "Input/output error")
        return open_part(self, upload_id)

    monkeypatch.setattr(Spool, "open", fail)
    await place.recover()
    assert (await uploads.find(place.database, good.upload_id)).offset == 20_000
    assert (await uploads.find(place.database, bad.upload_id)).state == "receiving"


async def test_a_recovered_upload_of_junk_is_refused_when_it_goes_on(place, content_of):
    junk = content_of("random_1")
    upload = await place.create(len(junk))
    place.spool.path(upload.upload_id).write_bytes(junk[:100_000])
    await place.recover()
    found = await uploads.find(place.database, upload.upload_id)
    with pytest.raises(NotAnMp3):
        await place.intake.take(found, Bytes(junk[100_000:]))
    assert place.states == ["refused"]


async def test_only_what_a_crash_tore_costs_a_start_its_time(place, song, monkeypatch):
    flushes = []
    for _ in range(20):
        await begun(place, song, 30_000, 30_000)
    torn = await begun(place, song, 30_000, 40_000)
    monkeypatch.setattr("os.fdatasync", flushes.append)
    await place.recover("another boot")
    assert len(flushes) == 1
    assert {row["boot_id"] for row in place.rows("uploads")} == {"another boot"}
    assert {row["offset"] for row in place.rows("uploads")} == {30_000}
    assert place.spool.size(torn.upload_id) == 30_000
