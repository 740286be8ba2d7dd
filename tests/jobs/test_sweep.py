import asyncio
import os
from functools import partial

import pytest

from service.catalogue import clock, sessions, tracks
from service.errors import StorageFailed
from service.jobs import sweep
from service.jobs.sweep import COVER_GRACE, Sweeper, Swept, sweep_for_ever
from service.storage.covers import LocalCovers
from service.storage.local import LocalBlobs
from service.storage.open_blobs import OpenBlobs
from tests.rows import add_track, add_user

NOW = 100 * clock.DAY


@pytest.fixture
async def database(database):
    await database.write(add_user)
    return database


@pytest.fixture
def blobs(tmp_path):
    return LocalBlobs(tmp_path / "blobs")


@pytest.fixture
def add(database, blobs):
    """A function that adds a track and its file; the file's path."""

    async def add(number, **changes):
        row = await database.write(lambda connection: add_track(connection, number, **changes))
        blobs.path(row["key"]).write_bytes(b"x" * row["size"])
        return blobs.path(row["key"])

    return add


@pytest.fixture
def sweeper(database, blobs):
    return Sweeper(database, blobs, trash_days=7, session_idle_days=14)


def trashed(days):
    return {"state": "trashed", "trashed_at": NOW - int(days * clock.DAY)}


async def test_the_trash_is_kept_for_its_days(sweeper, add, database):
    kept, fresh, old = await add(1), await add(2, **trashed(6.9)), await add(3, **trashed(7.1))
    assert await sweeper.sweep(NOW) == Swept(tracks=1, blobs=1)
    assert [path.exists() for path in (kept, fresh, old)] == [True, True, False]
    assert len(await database.read("SELECT * FROM blobs")) == 2
    assert await sweeper.sweep(NOW) == Swept()


async def test_more_than_a_batch_goes_in_one_sweep(sweeper, add, database, monkeypatch):
    monkeypatch.setattr(sweep, "BATCH", 2)
    for number in range(5):
        await add(number, **trashed(8))
    assert await sweeper.sweep(NOW) == Swept(tracks=5, blobs=5)
    assert tuple(await database.find("SELECT used_bytes, used_tracks FROM users")) == (0, 0)


async def test_a_sweep_goes_on_where_a_crash_ended_the_last_one(sweeper, add, database):
    before_unlink, after_unlink = await add(1), await add(2)
    await database.write(lambda connection: connection.execute("DELETE FROM tracks"))
    await database.write(lambda connection: connection.execute("UPDATE blobs SET state = 'deleting'"))
    after_unlink.unlink()
    assert await sweeper.sweep(NOW) == Swept(blobs=2)
    assert not before_unlink.exists()
    assert await database.read("SELECT * FROM blobs") == []


async def test_a_shared_blob_stays_until_its_last_track_goes(sweeper, add, database):
    path = await add(1, **trashed(8))
    await add(2, key=f"{1:032x}", size=1001)
    assert await sweeper.sweep(NOW) == Swept(tracks=1)
    assert path.exists()


async def test_a_file_that_cannot_be_removed_stays_for_the_next_sweep(sweeper, add, database, caplog):
    stuck, other = await add(1, **trashed(8)), await add(2, **trashed(8))
    stuck.unlink()
    stuck.mkdir()
    assert await sweeper.sweep(NOW) == Swept(tracks=2, blobs=1)
    assert not other.exists()
    assert "cannot be deleted" in caplog.text
    stuck.rmdir()
    assert await sweeper.sweep(NOW) == Swept(blobs=1)


async def test_the_space_of_a_blob_that_was_served_becomes_free(database, blobs, add):
    open_blobs = OpenBlobs(blobs)
    await add(1, **trashed(8))
    blob = await open_blobs.open(f"{1:032x}", 1001)
    descriptor = blob.descriptor
    sweeper = Sweeper(database, blobs, trash_days=7, session_idle_days=14, open_blobs=open_blobs)
    await sweeper.sweep(NOW)
    assert os.pread(descriptor, 1, 0) == b"x", "an answer that has begun goes on"
    open_blobs.give_back(blob)
    with pytest.raises(OSError):
        os.fstat(descriptor)


async def test_sweeping_goes_on_after_a_failure(sweeper, monkeypatch, caplog):
    sweeps = []

    async def failing():
        sweeps.append(1)
        if len(sweeps) == 1:
            raise StorageFailed("no disk")
        if len(sweeps) == 2:
            raise KeyError("what nobody thought of")
        return Swept(tracks=3)

    monkeypatch.setattr(sweeper, "sweep", failing)
    with caplog.at_level("INFO"):
        task = asyncio.create_task(sweep_for_ever(sweeper, 0.001))
        async with asyncio.timeout(5):
            while "3 tracks" not in caplog.text:
                await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert "no disk" in caplog.text
    assert "what nobody thought of" in caplog.text


@pytest.mark.parametrize("over", [{"expires_at": NOW}, {"last_seen_at": NOW - 14 * clock.DAY}])
async def test_sessions_that_are_over_go(sweeper, database, over):
    for number, changes in enumerate(({}, over)):
        times = {"created_at": 0, "last_seen_at": NOW - 13 * clock.DAY, "expires_at": NOW + 1, **changes}
        session = sessions.Session(session_id=f"s{number}", user_id="u1", address="", user_agent="", **times)
        await database.write(partial(sessions.insert, session=session, secret_sha256=bytes([number])))
    assert await sweeper.sweep(NOW) == Swept(sessions=1)
    assert [row[0] for row in await database.read("SELECT session_id FROM sessions")] == ["s0"]


PICTURES = [bytes([number]) * 32 for number in range(5)]


@pytest.fixture
async def pictures(database, blobs):
    """The store of covers with five pictures that no track shows."""
    covers = LocalCovers(blobs.directory.parent / "covers")
    for digest in PICTURES:
        covers.put(digest, {64: b"picture"})
        await database.write(partial(tracks.add_cover, cover=tracks.Cover(digest, 1, 1), now=NOW - 2 * COVER_GRACE))
    return covers


async def shown(database):
    return [row[0] for row in await database.read("SELECT digest FROM covers ORDER BY digest")]


async def test_all_pictures_that_no_track_shows_go_in_one_sweep(database, blobs, pictures, monkeypatch):
    monkeypatch.setattr(sweep, "BATCH", 2)
    sweeper = Sweeper(database, blobs, trash_days=7, session_idle_days=14, covers=pictures)
    assert await sweeper.sweep(NOW) == Swept(covers=5)
    assert await shown(database) == []
    assert list(pictures.directory.rglob("*.jpg")) == []


async def test_a_picture_that_cannot_be_removed_stays_for_the_next_sweep(database, blobs, pictures, monkeypatch):
    monkeypatch.setattr(sweep, "BATCH", 2)
    delete = pictures.delete

    def failing(digest):
        if digest == PICTURES[1]:
            raise OSError(5, "disk")
        delete(digest)

    sweeper = Sweeper(database, blobs, trash_days=7, session_idle_days=14, covers=pictures)
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "delete", failing)
        assert await sweeper.sweep(NOW) == Swept(covers=4)
    assert await shown(database) == [PICTURES[1]]
    assert await sweeper.sweep(NOW) == Swept(covers=1)


async def test_a_young_picture_may_be_on_its_way_to_a_track(database, blobs, pictures):
    young = tracks.Cover(b"y" * 32, 1, 1)
    await database.write(partial(tracks.add_cover, cover=young, now=NOW - COVER_GRACE // 2))
    sweeper = Sweeper(database, blobs, trash_days=7, session_idle_days=14, covers=pictures)
    await sweeper.sweep(NOW)
    assert await shown(database) == [young.digest]
