from dataclasses import fields

import orjson
import pytest

from service.catalogue import jobs, tracks, uploads
from service.catalogue.tracks import Cover, Description
from service.errors import Conflict, Invalid, NotFound, PreconditionFailed
from tests.rows import add_track, take_job

pytestmark = pytest.mark.usefixtures("users")


@pytest.fixture
async def track(write):
    return await write(add_track, 1)


def anything(_row):
    """A check that lets every change pass."""


def refuse(_row):
    raise PreconditionFailed("no")


async def used(database, user_id="u1"):
    return tuple(await database.find("SELECT used_bytes, used_tracks FROM users WHERE user_id = ?", (user_id,)))


async def test_a_track_is_its_owners_alone(database, track):
    assert (await tracks.get_track(database, "u1", track["track_id"]))["title"] == "song 1"
    for user_id, track_id in [("u2", track["track_id"]), ("u1", "nothing"), ("u1", "\0"), ("u1", "")]:
        with pytest.raises(NotFound):
            await tracks.get_track(database, user_id, track_id)


@pytest.mark.parametrize(
    ("filename", "title"),
    [("song.mp3", "song"), ("Song.MP3", "Song"), ("a.wav", "a.wav"), (".mp3", ".mp3"), ("a.mp3.mp3", "a.mp3")],
)
def test_a_track_nobody_named_has_the_name_of_its_file(filename, title):
    assert tracks.title_of(filename) == title


async def test_a_given_word_can_be_taken_back(write, track):
    track_id = track["track_id"]
    row = await write(
        tracks.change, "u1", track_id, {"title": "Mine", "artist": "Me", "album": "Ours"}, now=9, check=anything
    )
    assert (row["title"], row["artist"], row["album"], row["version"], row["updated_at"]) == (
        "Mine",
        "Me",
        "Ours",
        2,
        9,
    )
    row = await write(tracks.change, "u1", track_id, {"title": None, "artist": None}, now=10, check=anything)
    assert (row["title"], row["artist"], row["album"]) == ("song 1", "", "Ours")
    assert orjson.loads(row["given"]) == {"album": "Ours"}


async def test_what_the_file_says_comes_back_when_a_word_is_taken_back(write):
    track = await write(add_track, 2, title="Mine", given='{"title":"Mine"}')
    tags = {"title": "Tagged", "artist": "T", "year": 1999, "bpm": 120.5}
    row = await write(tracks.describe, track["track_id"], Description(tags), now=8)
    assert (row["title"], row["artist"], row["year"]) == ("Mine", "T", 1999)
    row = await write(tracks.change, "u1", track["track_id"], {"title": None, "year": 2001}, now=9, check=anything)
    assert (row["title"], row["year"], orjson.loads(row["tags"])) == ("Tagged", 2001, tags)
    row = await write(tracks.change, "u1", track["track_id"], {"artist": "", "year": None}, now=9, check=anything)
    assert (row["artist"], row["year"]) == ("", 1999)
    assert orjson.loads(row["given"]) == {"artist": ""}


async def test_describing_counts_as_a_revision_and_not_as_a_version(write, track):
    row = await write(tracks.describe, track["track_id"], Description({}, reason="unreadable"), now=8)
    assert (row["version"], row["revision"], row["updated_at"]) == (1, 1, 8)
    assert (row["metadata"], row["metadata_reason"], row["title"]) == ("unavailable", "unreadable", "song 1")


async def test_a_track_that_has_gone_is_not_described(write):
    assert await write(tracks.describe, "gone", Description({}), now=8) is None


async def test_a_cover_of_the_users_choice_goes_before_that_of_the_file(write, track, database):
    async def unshown(created_before, after=b""):
        return await tracks.page_unshown_covers(database, created_before=created_before, after=after, limit=10)

    mine, tagged = Cover(b"m" * 32, 10, 10), Cover(b"t" * 32, 20, 20)
    track_id = track["track_id"]
    assert (await write(tracks.describe, track_id, Description({}, cover=tagged), now=8))["cover"] == tagged.digest
    row = await write(tracks.give_cover, "u1", track_id, mine, now=9, check=anything)
    assert (row["cover"], row["cover_tagged"], row["version"]) == (mine.digest, tagged.digest, 2)
    assert (await write(tracks.describe, track_id, Description({}, cover=tagged), now=10))["cover"] == mine.digest
    assert await unshown(100) == []
    row = await write(tracks.give_cover, "u1", track_id, None, now=11, check=anything)
    assert row["cover"] == tagged.digest
    assert await unshown(9) == []
    assert await unshown(10) == [mine.digest]
    assert await unshown(10, after=mine.digest) == []
    await write(tracks.forget_covers, [mine.digest])
    assert await unshown(10) == []


async def test_a_look_that_failed_by_the_machine_leaves_what_an_earlier_one_found(write, track):
    known = await write(tracks.describe, track["track_id"], Description({"title": "Known"}), now=8)
    failed = Description({}, reason="killed", is_by_file=False)
    row = await write(tracks.describe, track["track_id"], failed, now=9)
    assert all(row[name] == known[name] for name in ("title", "tags", "metadata", "metadata_reason", "revision"))
    broken = Description({}, reason="broken")
    assert (await write(tracks.describe, track["track_id"], broken, now=9))["metadata"] == "unavailable"


async def test_a_track_is_ready_when_no_job_has_to_look_at_it(write):
    track = await write(add_track, 1, state="analysing")
    track_id = track["track_id"]

    async def settled():
        await write(tracks.settle, track_id, now=9)
        return (await write(tracks.get_row, track_id))["state"]

    await write(jobs.queue, "describe", [track_id], now=0)
    assert await settled() == "analysing"
    job = await write(take_job, "describe", now=5)
    assert await settled() == "analysing"
    await write(jobs.fail, job, problem="no")
    assert await settled() == "ready"


async def test_labels_are_merged(write, track):
    track_id = track["track_id"]

    async def labels(patch):
        row = await write(tracks.change, "u1", track_id, {"labels": patch}, now=9, check=anything)
        return orjson.loads(row["labels"])

    assert await labels({"mood": "calm", "use": "jingle"}) == {"mood": "calm", "use": "jingle"}
    assert await labels({"mood": None, "new": "x"}) == {"new": "x", "use": "jingle"}
    assert await labels({}) == {"new": "x", "use": "jingle"}
    assert await labels(None) == {}
    assert len(await labels({f"n{number}": "" for number in range(32)})) == 32
    with pytest.raises(Invalid):
        await labels({"one-more": ""})
    assert len(await labels({"n0": None, "one-more": ""})) == 32


async def test_what_changes_nothing_makes_no_new_version(write, track):
    row = await write(tracks.change, "u1", track["track_id"], {"labels": {}, "artist": None}, now=9, check=anything)
    assert (row["version"], row["updated_at"]) == (track["version"], track["updated_at"])


async def test_a_check_that_refuses_leaves_the_track_alone(database, write, track):
    for change in (tracks.trash, tracks.restore):
        with pytest.raises(PreconditionFailed):
            await write(change, "u1", track["track_id"], now=9, check=refuse)
    with pytest.raises(PreconditionFailed):
        await write(tracks.change, "u1", track["track_id"], {"title": "x"}, now=9, check=refuse)
    assert dict(await tracks.get_track(database, "u1", track["track_id"])) == dict(track)


async def test_nobody_changes_anothers_track(write, track):
    for change in (tracks.trash, tracks.restore):
        with pytest.raises(NotFound):
            await write(change, "u2", track["track_id"], now=9, check=anything)
    with pytest.raises(NotFound):
        await write(tracks.change, "u2", track["track_id"], {"title": "x"}, now=9, check=anything)


async def test_into_the_trash_and_back(database, write, track):
    track_id = track["track_id"]
    row = await write(tracks.trash, "u1", track_id, now=9, check=anything)
    assert (row["state"], row["trashed_at"], row["version"]) == ("trashed", 9, 2)
    assert await used(database) == (1001, 1), "the trash counts for the quota"
    again = await write(tracks.trash, "u1", track_id, now=10, check=anything)
    assert (again["trashed_at"], again["version"]) == (9, 2)
    with pytest.raises(Conflict):
        await write(tracks.change, "u1", track_id, {"title": "x"}, now=9, check=anything)
    row = await write(tracks.restore, "u1", track_id, now=11, check=anything)
    assert (row["state"], row["trashed_at"], row["version"]) == ("ready", None, 3)
    with pytest.raises(Conflict):
        await write(tracks.restore, "u1", track_id, now=12, check=anything)


async def test_purging_releases_quota_and_only_blobs_without_tracks(database, write):
    first = await write(add_track, 1, state="trashed", trashed_at=5)
    shared = await write(add_track, 2, "u2", key=first["key"], sha256=first["sha256"], size=first["size"])
    await write(add_track, 3, state="trashed", trashed_at=6)
    await write(add_track, 4, state="trashed", trashed_at=7)
    assert await write(tracks.purge, trashed_before=7, limit=10) == 2
    assert await used(database) == (1004, 1)
    assert await used(database, "u2") == (first["size"], 1)
    states = {row["key"]: row["state"] for row in await database.read("SELECT key, state FROM blobs")}
    assert states == {shared["key"]: "ready", f"{3:032x}": "deleting", f"{4:032x}": "ready"}
    assert await write(tracks.purge, trashed_before=7, limit=10) == 0


async def test_purging_stops_at_its_limit(write):
    for number in range(3):
        await write(add_track, number, state="trashed", trashed_at=number)
    assert [await write(tracks.purge, trashed_before=9, limit=2) for _ in range(3)] == [2, 1, 0]


async def test_a_blob_being_deleted_takes_no_new_track(database, write):
    row = await write(add_track, 1, state="trashed", trashed_at=1)
    await write(tracks.purge, trashed_before=2, limit=1)
    known = {
        "has_checksums": 0,
        "is_announced": 0,
        "upload_id": "f" * 32,
        "user_id": "u1",
        "state": "receiving",
        "filename": "a.mp3",
        "offset": 0,
        "reserved_bytes": 0,
        "boot_id": "boot",
        "created_at": 1,
        "updated_at": 1,
        "expires_at": 99,
    }
    upload = uploads.Upload(**{each.name: known.get(each.name) for each in fields(uploads.Upload)})
    await write(uploads.create, upload, default_quota_bytes=10**9, quota_tracks=9, max_open_uploads=9)
    new = {each.name: row[each.name] for each in fields(tracks.NewTrack) if each.name in row.keys()}  # noqa: SIM118
    new |= {"key": "f" * 32, "track_id": "new", "audio": {}}
    finished = await write(uploads.finish, upload.upload_id, tracks.NewTrack(**new))
    assert finished["key"] == "f" * 32


async def test_an_upload_outlives_its_purged_track(database, write, track):
    await database.write(
        lambda connection: connection.execute(
            """
            INSERT INTO uploads (upload_id, user_id, state, filename, reserved_bytes, boot_id, created_at, updated_at,
                                 expires_at, track_id)
            VALUES ('up', 'u1', 'finished', 'a', 0, 'b', 1, 1, 1, ?)
            """,
            (track["track_id"],),
        )
    )
    await write(tracks.trash, "u1", track["track_id"], now=1, check=anything)
    await write(tracks.purge, trashed_before=2, limit=1)
    assert (await database.find("SELECT track_id FROM uploads"))["track_id"] is None


async def test_durations_are_stored_to_the_microsecond(write):
    assert (await write(add_track, 1, duration=1 / 3))["duration"] == 0.333333


async def test_a_title_given_with_the_upload_is_a_given_word(write, track):
    row = await write(tracks.give_title, track["track_id"], "Named")
    assert (row["title"], orjson.loads(row["given"]), row["version"]) == ("Named", {"title": "Named"}, 2)
    row = await write(tracks.change, "u1", track["track_id"], {"title": None}, now=9, check=anything)
    assert row["title"] == "song 1"
