"""The sweeper ends and forgets uploads whose time is over, and nothing else."""

import asyncio

import pytest

from service.catalogue import clock, uploads
from service.errors import ClientGone, NotFound, OffsetMismatch, UploadExpired
from service.jobs.sweep import Sweeper, Swept
from service.uploads.model import Request
from tests.uploads.conftest import Bytes

LIFE = 86_400 * clock.SECOND
HOUR = 3600 * clock.SECOND


@pytest.fixture
def sweeper(place):
    return Sweeper(place.database, place.blobs, trash_days=7, session_idle_days=14, intake=place.intake)


@pytest.fixture
def later():
    """The moment an upload of now has expired."""
    return clock.now() + LIFE + HOUR


async def begin(place, content, **more):
    """An upload of which the first half has come."""
    upload = await place.create(len(content), **more)
    half = Request(Bytes(content[: len(content) // 2]), offset=0)
    return (await place.intake.append(place.user_id, upload.upload_id, half)).upload


async def test_an_unfinished_upload_ends_and_gives_back_what_it_had(place, sweeper, content_of, later):
    content = content_of("vbr")
    upload = await begin(place, content)
    assert place.account == (0, len(content), 0)
    assert await sweeper.sweep(later - 2 * HOUR) == Swept()
    assert place.states == ["receiving"]
    assert await sweeper.sweep(later) == Swept(uploads=1)
    assert (place.states, place.account, place.spool_files) == (["expired"], (0, 0, 0), [])
    with pytest.raises(UploadExpired):
        await place.intake.look(place.user_id, upload.upload_id)


async def test_an_expired_upload_is_gone_for_a_while_and_then_unknown(place, sweeper, content_of):
    upload = await begin(place, content_of("vbr"))
    await place.database.write(lambda connection: connection.execute("UPDATE uploads SET expires_at = 1"))
    assert await sweeper.sweep() == Swept(uploads=1)
    assert await sweeper.sweep() == Swept()
    with pytest.raises(UploadExpired):
        await place.intake.look(place.user_id, upload.upload_id)
    assert await sweeper.sweep(clock.now() + uploads.REMEMBERED + HOUR) == Swept(forgotten=1)
    with pytest.raises(NotFound):
        await place.intake.look(place.user_id, upload.upload_id)


async def test_a_finished_upload_is_forgotten_and_its_track_stays(place, sweeper, content_of, later):
    row = await place.upload(content_of("vbr"))
    assert await sweeper.sweep(later - 2 * HOUR) == Swept()
    assert await sweeper.sweep(later) == Swept(forgotten=1)
    assert place.rows("uploads") == []
    assert [each["track_id"] for each in place.rows("tracks")] == [row["track_id"]]
    assert len(place.blob_files) == 1


async def test_a_finished_upload_answers_for_a_whole_life_however_long_it_took(place, sweeper, content_of):
    content = content_of("vbr")
    upload = await begin(place, content)
    await place.database.write(lambda connection: connection.execute("UPDATE uploads SET expires_at = 1"))
    rest = Request(Bytes(content[upload.offset :]), offset=upload.offset)
    await place.intake.append(place.user_id, upload.upload_id, rest)
    assert await sweeper.sweep(clock.now() + LIFE - HOUR) == Swept()


async def test_an_append_moves_the_end_forward(place, sweeper, content_of, later):
    content = content_of("vbr")
    upload = await begin(place, content)
    await place.database.write(lambda connection: connection.execute("UPDATE uploads SET expires_at = 1"))
    more = Request(Bytes(content[upload.offset : upload.offset + 10]), offset=upload.offset)
    outcome = await place.intake.append(place.user_id, upload.upload_id, more)
    assert outcome.upload.expires_at > clock.now() + LIFE - HOUR
    assert await sweeper.sweep(clock.now()) == Swept()
    assert (await place.intake.look(place.user_id, upload.upload_id)).upload.offset == upload.offset + 10


async def test_an_upload_is_never_ended_under_a_running_append(place, sweeper, content_of, later):
    content = content_of("vbr")
    upload = await begin(place, content)
    reading, may_end = asyncio.Event(), asyncio.Event()

    class Slow(Bytes):
        async def read(self):
            reading.set()
            await may_end.wait()
            return await super().read()

    rest = Request(Slow(content[upload.offset :]), offset=upload.offset)
    append = asyncio.create_task(place.intake.append(place.user_id, upload.upload_id, rest))
    await reading.wait()
    assert await sweeper.sweep(later) == Swept()
    may_end.set()
    assert (await append).track["size"] == len(content)


async def test_an_upload_that_moved_on_since_the_sweeper_looked_stays(place, sweeper, content_of, later):
    """What a sweep has read may be old when its turn comes; the bytes acknowledged meanwhile must not go."""
    content = content_of("vbr")
    upload = await begin(place, content)
    stale = (await uploads.expired(place.database, later))[0]
    assert stale.upload_id == upload.upload_id
    assert not await place.intake.expire(stale.upload_id, clock.now())
    assert (await place.intake.look(place.user_id, upload.upload_id)).upload.offset == upload.offset
    rest = Request(Bytes(content[upload.offset :]), offset=upload.offset)
    await place.intake.append(place.user_id, upload.upload_id, rest)
    assert not await place.intake.expire(stale.upload_id, later)
    assert place.states == ["finished"]


async def test_uploads_of_all_ends_are_forgotten_together(place, sweeper, content_of, later):
    content = content_of("vbr")
    kept = await begin(place, content)
    terminated, broken = await begin(place, content), await place.create(len(content))
    await place.intake.terminate(place.user_id, terminated.upload_id)
    with pytest.raises(ClientGone):
        await place.intake.append(place.user_id, broken.upload_id, Request(Bytes(content[:9], ClientGone()), offset=0))
    await place.upload(content)
    moved = later + clock.DAY
    await place.database.write(
        lambda connection: connection.execute(
            "UPDATE uploads SET expires_at = ? WHERE upload_id = ?", (moved + 1, kept.upload_id)
        )
    )
    assert await sweeper.sweep(moved) == Swept(uploads=1, forgotten=2)
    assert place.states == ["expired", "receiving"]
    with pytest.raises(OffsetMismatch):
        await place.intake.append(place.user_id, kept.upload_id, Request(Bytes(b""), offset=1))
    assert [path.stat().st_size for path in place.spool_files] == [kept.offset]
