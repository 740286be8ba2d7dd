import pytest

from service.catalogue import collections
from service.catalogue.collections import MAX_PER_USER, SORTS
from service.catalogue.listing import Listing
from service.errors import Conflict, NotFound, PreconditionFailed

pytestmark = pytest.mark.usefixtures("users")


@pytest.fixture
def make(write):
    """A function that makes a collection of u1 with this number in its id; its row."""

    async def run(number, name="Mix", user_id="u1"):
        return await write(collections.create, user_id, f"c{number}", name, "words", now=number)

    return run


@pytest.fixture
def page(database):
    """A function that reads a page of u1: the ids, and the page."""

    async def read(**asked):
        page = await collections.page_collections(database, Listing(user_id="u1", **asked))
        return [row["collection_id"] for row in page.rows], page

    return read


def anything(_row):
    """A check that lets every change pass."""


def refuse(_row):
    raise PreconditionFailed("no")


async def test_a_new_collection_is_empty(make, database):
    row = await make(5)
    assert dict(row) == {
        "collection_id": "c5",
        "user_id": "u1",
        "name": "Mix",
        "description": "words",
        "track_count": 0,
        "duration_us": 0,
        "size": 0,
        "next_item": 1,
        "version": 1,
        "revision": 0,
        "created_at": 5,
        "updated_at": 5,
    }
    assert dict(await collections.get_collection(database, "u1", "c5")) == dict(row)


async def test_a_change_makes_a_version_and_nothing_makes_none(make, write):
    await make(1)
    row = await write(collections.change, "u1", "c1", {"name": "Jazz"}, now=9, check=anything)
    assert (row["name"], row["description"], row["version"], row["updated_at"]) == ("Jazz", "words", 2, 9)
    row = await write(collections.change, "u1", "c1", {"description": ""}, now=10, check=anything)
    assert (row["name"], row["description"], row["version"]) == ("Jazz", "", 3)
    for patch in ({}, {"name": "Jazz"}):
        row = await write(collections.change, "u1", "c1", patch, now=11, check=anything)
        assert (row["version"], row["updated_at"]) == (3, 10)


async def test_a_check_that_fails_changes_nothing(make, write, database):
    row = await make(1)
    with pytest.raises(PreconditionFailed):
        await write(collections.change, "u1", "c1", {"name": "Jazz"}, now=9, check=refuse)
    with pytest.raises(PreconditionFailed):
        await write(collections.delete, "u1", "c1", check=refuse)
    assert dict(await collections.get_collection(database, "u1", "c1")) == dict(row)


async def test_a_deleted_collection_is_gone(make, write, database):
    await make(1)
    await write(collections.delete, "u1", "c1", check=anything)
    with pytest.raises(NotFound):
        await collections.get_collection(database, "u1", "c1")


async def test_another_users_collection_is_none(make, write, database, page):
    await make(1, user_id="u2")
    with pytest.raises(NotFound):
        await collections.get_collection(database, "u1", "c1")
    with pytest.raises(NotFound):
        await write(collections.change, "u1", "c1", {"name": "x"}, now=1, check=anything)
    with pytest.raises(NotFound):
        await write(collections.delete, "u1", "c1", check=anything)
    assert (await page())[0] == []


async def test_a_user_has_only_so_many(make, write):
    def fill(connection):
        for number in range(MAX_PER_USER - 1):
            collections.create(connection, "u1", f"f{number}", "x", "", now=1)

    await write(fill)
    await make(1)
    with pytest.raises(Conflict) as caught:
        await make(2)
    assert caught.value.facts == {"limit": MAX_PER_USER}
    await make(3, user_id="u2")


NAMES = {1: "b", 2: "A", 3: "c", 4: "a", 5: "B"}


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ((("name", False),), [2, 4, 1, 5, 3]),
        ((("name", True),), [3, 5, 1, 4, 2]),
        ((("created_at", True),), [5, 4, 3, 2, 1]),
        ((("updated_at", False),), [1, 3, 4, 5, 2]),
        ((("name", False), ("created_at", True)), [4, 2, 5, 1, 3]),
    ],
)
async def test_pages_in_every_order_there_and_back(make, write, page, sort, order):
    for number, name in NAMES.items():
        await make(number, name)
    await write(collections.change, "u1", "c2", {"description": "new"}, now=9, check=anything)
    found, whole = await page(sort=sort, is_counted=True)
    assert ([int(each[1:]) for each in found], whole.count, whole.before, whole.after) == (order, 5, None, None)
    first, one = await page(sort=sort, limit=2)
    second, two = await page(sort=sort, limit=2, position=one.after)
    third, three = await page(sort=sort, limit=2, position=two.after)
    assert (first + second + third, three.after) == (found, None)
    back, again = await page(sort=sort, limit=2, position=three.before, is_backwards=True)
    assert (back, again.after) == (second, two.after)
    assert (await page(sort=sort, limit=2, position=again.before, is_backwards=True))[0] == first


async def test_a_name_is_found_in_any_case(make, page):
    for number, name in NAMES.items():
        await make(number, name)
    found, whole = await page(conditions=(("name", "=", "B"),), is_counted=True)
    assert (found, whole.count) == (["c5", "c1"], 2)


@pytest.mark.parametrize("is_descending", [False, True])
@pytest.mark.parametrize("column", SORTS)
async def test_no_sort_looks_at_all_collections(database, column, is_descending):
    def explain(connection):
        seen = []
        connection.set_trace_callback(seen.append)
        where, values = "user_id = :user_id", {"user_id": "u1"}
        listing = Listing(user_id="u1", sort=((column, is_descending),), position=("x", "c1"))
        collections.read_page(connection, "collections", "collection_id", where, values, listing)
        connection.set_trace_callback(None)
        return [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {seen[0]}")]

    plan = await database.run_reading(explain)
    sign = "<" if is_descending else ">"
    index = f"collections_by_{column} (user_id=? AND ({column},collection_id){sign}(?,?))"
    assert plan == [f"SEARCH collections USING INDEX {index}"]
