"""Uploads in the catalogue: the account of a user's bytes never lies, whatever is done in whatever order."""

import asyncio
import random
from dataclasses import replace

import pytest

from service.catalogue import uploads, users
from service.catalogue.tracks import NewTrack
from service.catalogue.uploads import Upload
from service.errors import NotFound, QuotaExceeded, TooManyUploads, UploadExpired

QUOTA = 10_000


@pytest.fixture
async def database(database):
    for name in ("anne", "bonny"):
        await database.write(lambda connection, name=name: users.insert(connection, name, name, "-", now=0))
    return database


def upload_of(number, reserved=0, **more):
    values = {
        "upload_id": f"{number:032x}",
        "user_id": "anne",
        "state": "receiving",
        "filename": "song.mp3",
        "title": None,
        "offset": 0,
        "length": reserved or None,
        "claimed_sha256": None,
        "metadata": None,
        "concat": None,
        "reserved_bytes": reserved,
        "boot_id": "boot",
        "created_at": 1,
        "updated_at": 1,
        "expires_at": 100,
    }
    return Upload(**{**values, **more})


def track_of(upload, size, sha256=bytes(32)):
    return NewTrack(
        track_id=f"t{upload.upload_id}",
        user_id=upload.user_id,
        key=upload.upload_id,
        sha256=sha256,
        size=size,
        filename="song.mp3",
        title="song",
        duration=1.0,
        bitrate=128_000,
        mode="cbr",
        channels=2,
        sample_rate=44_100,
        audio={},
        created_at=7,
    )


async def create(database, upload, **limits):
    limits = {"default_quota_bytes": QUOTA, "quota_tracks": 100, "max_open_uploads": 100, **limits}
    await database.write(lambda connection: uploads.create(connection, upload, **limits))
    return upload


async def finish(database, upload, size, sha256=bytes(32)):
    track = track_of(upload, size, sha256)
    return await database.write(lambda connection: uploads.finish(connection, upload.upload_id, track))


async def account(database, user_id="anne"):
    user = await users.get(database, user_id)
    return user.used_bytes, user.reserved_bytes, user.used_tracks


async def test_a_row_comes_back_as_it_went_in(database):
    upload = await create(database, upload_of(1, 5, title="Title", claimed_sha256=bytes(32)))
    assert await uploads.find(database, upload.upload_id) == upload
    assert await uploads.find(database, "f" * 32) is None


async def test_an_upload_is_its_owners_only(database):
    upload = await create(database, upload_of(1))
    assert await uploads.get(database, upload.upload_id, "anne") == upload
    for user_id, upload_id in (("bonny", upload.upload_id), ("anne", "f" * 32)):
        with pytest.raises(NotFound) as caught:
            await uploads.get(database, upload_id, user_id)
        assert str(caught.value) == "There is no such upload."


async def test_reserving_goes_to_the_byte_and_not_over_it(database):
    await create(database, upload_of(1, QUOTA - 1))
    await create(database, upload_of(2, 1))
    with pytest.raises(QuotaExceeded) as caught:
        await create(database, upload_of(3, 1))
    assert caught.value.facts == {"quota_bytes": QUOTA, "used_bytes": 0, "reserved_bytes": QUOTA}
    assert await uploads.find(database, upload_of(3).upload_id) is None
    assert await account(database) == (0, QUOTA, 0)


async def test_a_users_own_quota_comes_before_the_setting(database):
    await database.write(lambda connection: connection.execute("UPDATE users SET quota_bytes = 5 WHERE name = 'anne'"))
    with pytest.raises(QuotaExceeded):
        await create(database, upload_of(1, 6))
    await create(database, upload_of(2, 5))
    await create(database, upload_of(3, QUOTA, user_id="bonny"))


async def test_growing_reserves_for_the_owner(database):
    upload = await create(database, upload_of(1))
    grow = lambda size: database.write(  # noqa: E731
        lambda connection: uploads.reserve_more(connection, upload.upload_id, size, QUOTA)
    )
    await grow(QUOTA)
    with pytest.raises(QuotaExceeded):
        await grow(1)
    assert await account(database) == (0, QUOTA, 0)
    assert (await uploads.find(database, upload.upload_id)).reserved_bytes == QUOTA


async def test_offsets_only_grow(database):
    upload = await create(database, upload_of(1, 100))
    for offset, expected in ((50, 50), (20, 50), (60, 60)):
        await database.write(
            lambda connection, offset=offset: uploads.record_offset(
                connection, upload.upload_id, offset, now=5, expires_at=90
            )
        )
        found = await uploads.find(database, upload.upload_id)
        assert (found.offset, found.updated_at, found.expires_at) == (expected, 5, 100)


@pytest.mark.parametrize("state", ["refused", "terminated", "expired", "lost"])
async def test_an_end_releases_what_was_reserved_once(database, state):
    upload = await create(database, upload_of(1, 100))
    problem = {"code": "not-an-mp3", "bytes_examined": 4}
    end = lambda: database.write(  # noqa: E731
        lambda connection: uploads.end(connection, upload.upload_id, state, now=9, problem=problem)
    )
    assert await end() is True
    assert await end() is False
    found = await uploads.find(database, upload.upload_id)
    assert (found.state, found.problem, found.reserved_bytes, found.updated_at) == (state, problem, 0, 9)
    assert await account(database) == (0, 0, 0)


async def test_an_ended_upload_takes_nothing_more(database):
    upload = await create(database, upload_of(1, 100))
    await database.write(lambda connection: uploads.end(connection, upload.upload_id, "expired", now=9))
    for work in (
        lambda connection: uploads.reserve_more(connection, upload.upload_id, 1, QUOTA),
        lambda connection: uploads.record_offset(connection, upload.upload_id, 1, now=1, expires_at=1),
        lambda connection: uploads.finish(connection, upload.upload_id, track_of(upload, 100)),
    ):
        with pytest.raises(UploadExpired):
            await database.write(work)
    assert await account(database) == (0, 0, 0)


async def test_finishing_settles_the_account(database):
    upload = await create(database, upload_of(1, 100))
    row = await finish(database, upload, 80)
    assert row["track_id"] == f"t{upload.upload_id}"
    found = await uploads.find(database, upload.upload_id)
    assert (found.state, found.offset, found.length, found.track_id) == ("finished", 80, 80, row["track_id"])
    assert await account(database) == (80, 0, 1)
    with pytest.raises(UploadExpired):
        await finish(database, upload, 80)
    assert await account(database) == (80, 0, 1)


async def test_equal_bytes_share_the_first_blob_and_the_other_is_to_be_deleted(database):
    first, second = await create(database, upload_of(1, 9)), await create(database, upload_of(2, 9, user_id="bonny"))
    assert (await finish(database, first, 9))["key"] == first.upload_id
    assert (await finish(database, second, 9))["key"] == first.upload_id
    states = {row["key"]: row["state"] for row in await database.read("SELECT * FROM blobs")}
    assert states == {first.upload_id: "ready", second.upload_id: "deleting"}


async def test_a_blob_that_is_being_deleted_takes_no_new_track(database):
    first, second = await create(database, upload_of(1, 9)), await create(database, upload_of(2, 9))
    await finish(database, first, 9)
    await database.write(lambda connection: connection.execute("UPDATE blobs SET state = 'deleting'"))
    assert (await finish(database, second, 9))["key"] == second.upload_id


async def test_open_uploads_and_tracks_together_are_limited(database):
    upload = await create(database, upload_of(1))
    await create(database, upload_of(2))
    with pytest.raises(TooManyUploads):
        await create(database, upload_of(3), max_open_uploads=2)
    with pytest.raises(QuotaExceeded) as caught:
        await create(database, upload_of(3), quota_tracks=2)
    assert caught.value.facts["quota_tracks"] == 2
    await finish(database, upload, 1)
    with pytest.raises(QuotaExceeded):
        await create(database, upload_of(3), quota_tracks=2)
    await create(database, upload_of(3), quota_tracks=3, max_open_uploads=2)


async def test_the_newest_open_upload_of_a_name_is_found(database):
    await create(database, upload_of(1, created_at=5, updated_at=14))
    newest = await create(database, upload_of(2, created_at=9))
    await create(database, upload_of(3, created_at=11, filename="other.mp3"))
    await create(database, upload_of(4, created_at=12, user_id="bonny"))
    ended = await create(database, upload_of(5, created_at=13))
    await database.write(lambda connection: uploads.end(connection, ended.upload_id, "expired", now=14))
    await create(database, upload_of(6, created_at=15, concat="partial"))
    assert await uploads.find_open(database, "anne", "song.mp3") == newest
    assert await uploads.find_open(database, "anne", "missing.mp3") is None


async def test_unannounced_uploads_of_a_name_are_listed_the_newest_first(database):
    for number, (created_at, is_announced) in enumerate([(5, 0), (9, 0), (11, 1)], start=1):
        await create(database, upload_of(number, created_at=created_at, is_announced=is_announced))
    found = await uploads.list_unannounced(database, "anne", "song.mp3")
    assert [each.created_at for each in found] == [9, 5]


async def test_what_broke_off_reserves_what_is_there_until_its_length_counts_again(database):
    upload = await create(database, upload_of(1, 100))
    await database.write(
        lambda connection: uploads.record_offset(connection, upload.upload_id, 30, now=1, expires_at=200)
    )
    await database.write(lambda connection: uploads.shrink(connection, upload.upload_id))
    assert await account(database) == (0, 30, 0)
    found = await uploads.find(database, upload.upload_id)
    await database.write(lambda connection: uploads.set_length(connection, found, 100, QUOTA))
    assert await account(database) == (0, 100, 0)


async def test_what_is_over_is_found_and_forgotten_but_never_while_it_receives(database):
    open_, ended = await create(database, upload_of(1)), await create(database, upload_of(2))
    await database.write(lambda connection: uploads.end(connection, ended.upload_id, "refused", now=2))
    assert [each.upload_id for each in await uploads.expired(database, 100)] == [open_.upload_id]
    await create(database, upload_of(3, expires_at=10**15))
    over = await uploads.expired(database, 2 + uploads.REMEMBERED)
    assert {each.upload_id for each in over} == {open_.upload_id, ended.upload_id}
    await database.write(lambda connection: uploads.forget(connection, [each.upload_id for each in over]))
    assert await uploads.find(database, open_.upload_id) is not None
    assert await uploads.find(database, ended.upload_id) is None


async def test_the_account_is_the_sum_of_its_uploads_and_tracks_in_any_order(database):
    dice = random.Random(5)
    live = []
    for number in range(300):
        work = dice.choice(["create", "create", "grow", "end", "finish", "offset"])
        one = dice.choice(live) if live and work != "create" else None
        try:
            if one is None:
                live.append(await create(database, upload_of(number, dice.choice([0, 10, 500, 3000]))))
            elif work == "grow":
                await database.write(
                    lambda connection, one=one: uploads.reserve_more(connection, one.upload_id, 700, QUOTA)
                )
            elif work == "offset":
                await database.write(
                    lambda connection, one=one: uploads.record_offset(
                        connection, one.upload_id, 3, now=1, expires_at=200
                    )
                )
            elif work == "end":
                await database.write(
                    lambda connection, one=one: uploads.end(connection, one.upload_id, "expired", now=1)
                )
            else:
                await finish(database, one, dice.randrange(1, 200), dice.randbytes(32))
        except (QuotaExceeded, UploadExpired):
            pass
        used, reserved, count = await account(database)
        sums = await database.find(
            "SELECT (SELECT ifnull(sum(size), 0) FROM tracks),"
            " (SELECT ifnull(sum(reserved_bytes), 0) FROM uploads WHERE state = 'receiving'),"
            " (SELECT count(*) FROM tracks)"
        )
        assert (used, reserved, count) == tuple(sums)
        assert used + reserved <= QUOTA + 200, "only a finished upload larger than it reserved can go over"


async def test_uploads_at_once_never_reserve_more_than_there_is(database):
    outcomes = await asyncio.gather(
        *(create(database, upload_of(number, 900)) for number in range(40)), return_exceptions=True
    )
    assert sum(isinstance(each, Upload) for each in outcomes) == QUOTA // 900
    assert await account(database) == (0, QUOTA // 900 * 900, 0)


async def test_unfinished_ones_are_listed(database):
    one = await create(database, upload_of(1))
    two = await create(database, upload_of(2))
    await database.write(lambda connection: uploads.end(connection, one.upload_id, "lost", now=2))
    assert await uploads.all_receiving(database) == [two]
    await database.write(lambda connection: uploads.rejoin(connection, two.upload_id, offset=4, boot_id="next"))
    assert await uploads.find(database, two.upload_id) == replace(two, offset=4, boot_id="next")
