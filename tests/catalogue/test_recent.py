import pytest

from service.catalogue.recent import RecentTracks
from service.errors import NotFound
from tests.rows import add_track, add_user


@pytest.fixture
async def database(database):
    await database.write(add_user)
    for number in range(4):
        await database.write(lambda connection, number=number: add_track(connection, number))
    return database


@pytest.fixture
def recent(database):
    return RecentTracks(database, lambda row: row["title"], capacity=2)


def track_id(number):
    return f"{number:026d}"


async def test_a_track_is_remembered_for_its_user_alone(recent):
    assert recent.find("u1", track_id(1)) is None
    assert await recent.get("u1", track_id(1)) == "song 1"
    assert recent.find("u1", track_id(1)) == "song 1"
    assert recent.find("u2", track_id(1)) is None
    with pytest.raises(NotFound):
        await recent.get("u2", track_id(1))


async def test_only_the_last_ones_are_remembered(recent):
    for number in (1, 2, 1, 3):
        await recent.get("u1", track_id(number))
    assert [recent.find("u1", track_id(number)) for number in (1, 2, 3)] == ["song 1", None, "song 3"]


async def test_what_was_forgotten_while_it_was_read_is_not_remembered(database):
    recent = RecentTracks(database, lambda row: recent.forget("u1", row["track_id"]) or row["title"])
    assert await recent.get("u1", track_id(1)) == "song 1"  # may be the old one: it was asked before the change
    assert recent.find("u1", track_id(1)) is None


async def test_a_trashed_track_is_not_there(database, recent):
    await database.write(lambda connection: connection.execute("UPDATE tracks SET trashed_at = 1, state = 'trashed'"))
    with pytest.raises(NotFound):
        await recent.get("u1", track_id(1))
