import random
import sqlite3
from contextlib import closing

import orjson
import pytest

from service.catalogue import collections, items, tracks
from service.catalogue.items import MAX_ITEMS
from service.catalogue.listing import Listing
from service.errors import Conflict, NotFound, PreconditionFailed
from tests.rows import add_track

pytestmark = pytest.mark.usefixtures("users")


@pytest.fixture
async def songs(write):
    """The ids of nine tracks of u1."""
    return [(await write(add_track, number, duration=60.000001 * number))["track_id"] for number in range(1, 10)]


@pytest.fixture
async def mix(write):
    """The id of an empty collection of u1."""
    return (await write(collections.create, "u1", "mix", "Mix", "", now=1))["collection_id"]


@pytest.fixture
def add(write, songs, mix):
    """A function that adds songs by their numbers; what was added."""

    async def run(*numbers, position=None):
        track_ids = [songs[number - 1] for number in numbers]
        return (await write(items.add, "u1", mix, track_ids, position, now=2, check=anything))[1]

    return run


@pytest.fixture
def arrange(write, mix):
    """A function that gives the collection an order."""
    return lambda **order: write(items.arrange, "u1", mix, **order, now=3, check=anything)


@pytest.fixture
def shown(database, mix):
    """A function that gives the numbers of the songs shown, with whose positions it checks."""

    async def read():
        page = await read_page(database, mix)
        assert [item.position for item in page.items] == list(range(1, len(page.items) + 1))
        return [number_of(item) for item in page.items]

    return read


@pytest.fixture
def sums(database):
    """A function that checks the sums of every collection; those of the mix."""

    async def read():
        rows = await database.read(
            """
            SELECT collection_id, track_count, duration_us, collections.size, ifnull(found.tracks, 0) AS found_tracks,
                   ifnull(found.duration, 0) AS found_duration, ifnull(found.size, 0) AS found_size
            FROM collections LEFT JOIN (
                SELECT collection_id, count(*) AS tracks, sum(duration) AS duration, sum(tracks.size) AS size
                FROM collection_items JOIN tracks USING (track_id) WHERE trashed_at IS NULL GROUP BY collection_id
            ) AS found USING (collection_id)
            """
        )
        for row in rows:
            assert row["track_count"] == row["found_tracks"]
            assert row["duration_us"] == round(row["found_duration"] * 1_000_000)
            assert row["size"] == row["found_size"]
        return next((row["track_count"], row["duration_us"], row["size"]) for row in rows if row[0] == "mix")

    return read


def read_page(database, collection_id, **asked):
    listing = {"user_id": "u1", "sort": (("position", False),), "fields": ("id",), "limit": 1000, **asked}
    return items.page_items(database, collection_id, Listing(**listing))


def number_of(item):
    return int(orjson.loads(item.track)["id"])


def anything(_row):
    """A check that lets every change pass."""


def refuse(_row):
    raise PreconditionFailed("no")


async def test_tracks_stand_in_the_order_in_which_they_came(add, shown, sums):
    await add(3)
    await add(1, 2, 3)
    assert await shown() == [3, 1, 2, 3]
    assert await sums() == (4, 540_000_009, 4009)


async def test_a_page_shows_one_moment(add, database, write, mix, path, monkeypatch):
    await add(1, 2, 3)
    position = items._position

    def meanwhile(connection, row):
        if not done:
            done.append(True)
            with closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("DELETE FROM collection_items WHERE item_id < 3")
        return position(connection, row)

    done = []
    monkeypatch.setattr(items, "_position", meanwhile)
    page = await read_page(database, mix, position=None)
    assert [(item.position, number_of(item)) for item in page.items] == [(1, 1), (2, 2), (3, 3)]
    assert [(item.position, number_of(item)) for item in (await read_page(database, mix)).items] == [(1, 3)]


@pytest.mark.parametrize(
    ("position", "order"), [(1, [9, 8, 1, 2, 3]), (2, [1, 9, 8, 2, 3]), (4, [1, 2, 3, 9, 8]), (77, [1, 2, 3, 9, 8])]
)
async def test_tracks_are_put_where_they_shall_stand(add, shown, position, order):
    await add(1, 2, 3)
    added = await add(9, 8, position=position)
    assert await shown() == order
    assert [(item.item_id, item.position) for item in added] == [(4, order.index(9) + 1), (5, order.index(8) + 1)]
    assert [number_of(item) for item in added] == [9, 8]


@pytest.mark.parametrize("position", [1, 2, 3])
async def test_there_is_always_room_at_a_place(add, shown, position):
    """Every insertion halves a gap; a hundred of them would not fit between two integers."""
    await add(1, 2, 3)
    expected = [1, 2, 3]
    for number in range(100):
        await add(number % 9 + 1, position=position)
        expected.insert(position - 1, number % 9 + 1)
    assert await shown() == expected
    await add(*[5] * 500, position=position)
    expected[position - 1 : position - 1] = [5] * 500
    assert await shown() == expected


async def test_ranks_never_leave_what_an_integer_holds(add, shown, write):
    await add(1, 2)
    for base in (-(1 << 63), (1 << 63) - 100):
        await write(
            lambda connection, base=base: connection.execute(f"UPDATE collection_items SET rank = {base} + item_id")
        )
        await add(3, position=1)
        await add(4)
    assert await shown() == [3, 1, 2, 3, 4, 4]


async def test_an_item_is_removed_and_its_number_never_comes_back(add, shown, sums, write, mix):
    await add(1, 2, 1)
    row = await write(items.remove, "u1", mix, 3, now=5, check=anything)
    assert (row["version"], row["updated_at"]) == (3, 5)
    assert await shown() == [1, 2]
    assert (await add(1))[0].item_id == 4
    assert (await sums())[0] == 3
    with pytest.raises(NotFound):
        await write(items.remove, "u1", mix, 3, now=5, check=anything)


# --- the whole order


async def test_items_are_arranged_anew(add, arrange, shown, sums):
    await add(1, 2, 3, 1)
    row = await arrange(item_ids=[4, 3, 2, 1])
    assert await shown() == [1, 3, 2, 1]
    assert (row["version"], row["updated_at"], row["track_count"]) == (3, 3, 4)
    await arrange(item_ids=[2, 4])
    assert await shown() == [2, 1]
    await arrange(item_ids=[])
    assert await shown() == []
    assert await sums() == (0, 0, 0)


async def test_an_order_of_tracks_keeps_the_items_there_are(add, arrange, database, mix, songs, sums):
    await add(1, 2, 3, 2)
    await arrange(track_ids=[songs[number - 1] for number in (2, 5, 2, 2, 1)])
    page = await read_page(database, mix)
    assert [(item.item_id, number_of(item)) for item in page.items] == [(2, 2), (5, 5), (4, 2), (6, 2), (1, 1)]
    assert (await sums())[0] == 5


async def test_the_order_there_is_makes_no_new_version(add, arrange, songs):
    await add(1, 2)
    assert (await arrange(item_ids=[1, 2]))["version"] == 2
    assert (await arrange(track_ids=songs[:2]))["version"] == 2


async def test_an_order_names_only_what_is_there(add, arrange, shown):
    await add(1, 2)
    with pytest.raises(NotFound):
        await arrange(item_ids=[2, 3])
    with pytest.raises(NotFound):
        await arrange(track_ids=["nothing"])
    assert await shown() == [1, 2]


# --- the trash


@pytest.fixture
def trash(write, songs):
    return lambda number: write(tracks.trash, "u1", songs[number - 1], now=7, check=anything)


@pytest.fixture
def restore(write, songs):
    return lambda number: write(tracks.restore, "u1", songs[number - 1], now=8, check=anything)


async def test_what_is_in_the_trash_is_hidden_and_comes_back_to_its_place(
    add, shown, sums, trash, restore, database, mix
):
    await add(1, 2, 3, 2)
    before = await sums()
    await trash(2)
    assert await shown() == [1, 3]
    assert await sums() == (2, 240_000_004, 2004)
    await add(9, position=2)
    assert await shown() == [1, 9, 3]
    await restore(2)
    assert await shown() == [1, 2, 9, 3, 2]
    assert (await sums())[0] == before[0] + 1
    row = await collections.get_collection(database, "u1", mix)
    assert (row["version"], row["revision"], row["updated_at"]) == (3, 2, 2)


async def test_trashing_twice_hides_once(add, sums, trash):
    await add(1, 1, 2)
    await trash(1)
    await trash(1)
    assert (await sums())[0] == 1


async def test_an_order_keeps_hidden_items_behind_what_they_stood_behind(add, arrange, shown, trash, restore):
    await add(1, 2, 3, 4, 5)
    for number in (1, 3, 4):
        await trash(number)
    await arrange(item_ids=[5, 2])
    assert await shown() == [5, 2]
    for number in (1, 3, 4):
        await restore(number)
    assert await shown() == [1, 5, 2, 3, 4]


async def test_hidden_items_stay_when_what_they_stood_behind_leaves(add, arrange, shown, trash, restore):
    await add(1, 2, 3)
    await trash(3)
    await arrange(item_ids=[1])
    await restore(3)
    assert await shown() == [1, 3]


async def test_a_hidden_item_can_be_named_and_removed(add, arrange, shown, sums, trash, restore, songs, write, mix):
    await add(1, 2, 3)
    await trash(2)
    await arrange(track_ids=[songs[1], songs[2], songs[0]])
    await write(items.remove, "u1", mix, 3, now=9, check=anything)
    assert (await sums())[0] == 1
    await restore(2)
    assert await shown() == [2, 1]
    await trash(2)
    await write(items.remove, "u1", mix, 2, now=9, check=anything)
    await restore(2)
    assert await shown() == [1]
    assert (await sums())[0] == 1


async def test_a_purged_track_leaves(add, shown, sums, trash, write, database):
    await add(1, 2, 1)
    await trash(1)
    await write(tracks.purge, trashed_before=100, limit=10)
    assert await shown() == [2]
    assert (await sums())[0] == 1
    assert len(await database.read("SELECT * FROM collection_items")) == 1


async def test_a_track_in_the_trash_cannot_be_added(add, arrange, trash, songs, shown):
    await add(1)
    await trash(2)
    with pytest.raises(Conflict):
        await add(3, 2)
    with pytest.raises(Conflict):
        await arrange(track_ids=[songs[0], songs[1]])
    assert await shown() == [1]


async def test_a_collection_that_is_deleted_takes_its_items_and_no_track(add, write, mix, database, songs):
    await add(1, 2)
    await write(collections.delete, "u1", mix, check=anything)
    assert await database.read("SELECT * FROM collection_items") == []
    assert len(await database.read("SELECT * FROM tracks")) == len(songs)


# --- whose, and how many


async def test_of_other_users_there_is_nothing(add, write, database, songs, mix):
    await add(1)
    foreign = (await write(add_track, 50, "u2"))["track_id"]
    theirs = (await write(collections.create, "u2", "theirs", "Theirs", "", now=1))["collection_id"]
    for user_id, collection_id, track_id in (("u1", mix, foreign), ("u1", theirs, songs[0]), ("u2", mix, foreign)):
        with pytest.raises(NotFound):
            await write(items.add, user_id, collection_id, [track_id], None, now=1, check=anything)
        with pytest.raises(NotFound):
            await write(items.arrange, user_id, collection_id, track_ids=[track_id], now=1, check=anything)
    with pytest.raises(NotFound):
        await write(items.remove, "u2", mix, 1, now=1, check=anything)
    for reading in (
        items.get_item(database, "u2", mix, 1, ("id",)),
        items.all_tracks(database, "u2", mix),
        read_page(database, mix, user_id="u2"),
        items.get_item(database, "u1", mix, 2, ("id",)),
    ):
        with pytest.raises(NotFound):
            await reading


async def test_a_check_that_fails_changes_nothing(add, write, mix, songs, shown):
    await add(1, 2)
    for change in (
        lambda connection: items.add(connection, "u1", mix, songs, None, now=1, check=refuse),
        lambda connection: items.arrange(connection, "u1", mix, item_ids=[], now=1, check=refuse),
        lambda connection: items.remove(connection, "u1", mix, 1, now=1, check=refuse),
    ):
        with pytest.raises(PreconditionFailed):
            await write(change)
    assert await shown() == [1, 2]


async def test_a_collection_is_full_at_last(add, arrange, songs, trash, shown):
    await add(*[1] * (MAX_ITEMS - 1))
    await add(2)
    with pytest.raises(Conflict):
        await add(3)
    await trash(1)
    assert await shown() == [2]
    with pytest.raises(Conflict):
        await add(3)
    with pytest.raises(Conflict):
        await arrange(track_ids=songs[1:3])


# --- pages


async def test_pages_lead_through_all_items_and_back(add, database, mix):
    await add(*[number % 9 + 1 for number in range(25)])
    everything = (await read_page(database, mix)).items
    for is_descending in (False, True):
        seen, position = [], None
        pages = []
        while True:
            page = await read_page(database, mix, sort=(("position", is_descending),), limit=4, position=position)
            pages.append(page)
            seen += page.items
            position = page.after
            if position is None:
                break
        assert seen == (everything[::-1] if is_descending else everything)
        back = await read_page(
            database, mix, sort=(("position", is_descending),), limit=4, position=pages[3].before, is_backwards=True
        )
        assert back.items == pages[2].items
        first = await read_page(
            database, mix, sort=(("position", is_descending),), limit=8, position=pages[2].before, is_backwards=True
        )
        assert (len(first.items), first.before) == (8, None)


async def test_items_that_come_before_a_page_move_nothing(add, database, mix):
    await add(1, 2, 3, 4, 5)
    page = await read_page(database, mix, limit=2)
    await add(9, position=1)
    rest = await read_page(database, mix, position=page.after)
    assert [(item.position, number_of(item)) for item in rest.items] == [(4, 3), (5, 4), (6, 5)]


async def test_a_page_of_items_is_read_from_indexes(database, mix, songs, write):
    seen = []

    def explain(connection):
        def note(sql):
            if sql.lstrip().startswith("SELECT"):
                seen.append(sql)

        connection.set_trace_callback(note)
        try:
            listing = Listing(user_id="u1", sort=(("rank", False),), fields=("id",), position=(5, 5))
            items._read_page(connection, mix, listing)
        finally:
            connection.set_trace_callback(None)
        return [row["detail"] for sql in seen for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")]

    await write(items.add, "u1", mix, songs, None, now=2, check=anything)
    plan = await database.run_reading(explain)
    assert len(seen) == 4
    assert [step for step in plan if ("SCAN" in step and "json_each" not in step) or "TEMP B-TREE" in step] == []
    assert any(
        "collection_items_by_rank (collection_id=? AND is_hidden=? AND (rank,item_id)>(?,?))" in step for step in plan
    )


async def test_random_changes_agree_with_a_list(add, arrange, write, mix, shown, sums, trash, restore, songs):
    chance = random.Random(4)
    model, trashed = [], set()
    for _ in range(150):
        kind = chance.choice(["add", "add", "remove", "arrange", "trash", "restore"])
        number = chance.randint(1, 9)
        visible = [each for each in model if each[1] not in trashed]
        if kind == "add" and number not in trashed:
            position = chance.randint(1, len(visible) + 1)
            item = (await add(number, position=position))[0]
            place = model.index(visible[position - 1]) if position <= len(visible) else len(model)
            model.insert(place, (item.item_id, number))
        elif kind == "remove" and visible:
            gone = chance.choice(visible)
            await write(items.remove, "u1", mix, gone[0], now=1, check=anything)
            model.remove(gone)
        elif kind == "arrange" and not trashed:
            chance.shuffle(model)
            await arrange(item_ids=[each[0] for each in model])
        elif kind == "trash" and len(trashed) < 3:
            await trash(number)
            trashed.add(number)
        elif kind == "restore" and trashed:
            number = trashed.pop()
            await restore(number)
        assert await shown() == [each[1] for each in model if each[1] not in trashed]
    await sums()
