"""Pages of tracks. Every sort is walked through equal, empty and oddly cased values while rows come and go."""

import random

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.catalogue.listing import FIELDS, SORTS, Listing, _read, ordered, page_tracks
from service.schemas.tracks import TrackSchema, dump_track
from tests.rows import add_track, add_user

TEXTS = ["", "a", "A", "b", "B", "é", "É", "Ab", "aB", "\U0001f3b5", "z\x1e{", '"quoted"\\', "100%s"]

titles = st.one_of(st.sampled_from(TEXTS), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
rows = st.fixed_dictionaries(
    {
        "title": titles,
        "artist": titles,
        "album": titles,
        "genre": st.sampled_from(["", "Jazz", "jazz", "Pop"]),
        "year": st.sampled_from([None, 0, 1999, 2000]),
        "bitrate": st.sampled_from([128_000, 320_000]),
        "duration": st.sampled_from([0.0, 0.1 + 0.2, 60.0, 60.000001, 3599.999999, 1 / 3]),
        "size": st.integers(1, 3),
        "created_at": st.integers(10**15, 10**15 + 2),
    }
)
sorts = st.lists(st.sampled_from(SORTS), min_size=1, max_size=3, unique=True).flatmap(
    lambda columns: st.tuples(*(st.tuples(st.just(column), st.booleans()) for column in columns))
)


def ids(page) -> list[str]:
    return [orjson.loads(item)["id"] for item in page.items]


def walk(connection, listing_of, between=lambda: None) -> list[str]:
    """All ids of all pages, forwards; `listing_of(position)` is the listing."""
    found, position = [], None
    while True:
        page = _read(connection, listing_of(position))
        found += ids(page)
        position = page.after
        if position is None:
            return found
        between()


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rows, max_size=12), st.lists(rows, max_size=6), sorts, st.integers(1, 5), st.randoms())
def test_every_old_row_is_seen_exactly_once_while_rows_come(fresh, old, new, sort, limit, chance):
    connection = fresh()
    numbers = list(range(100, 200))
    chance.shuffle(numbers)
    for row in old:
        add_track(connection, numbers.pop(), **row)
    arriving = list(new)

    def arrive():
        if arriving:
            add_track(connection, numbers.pop(), **arriving.pop())

    before = {row[0] for row in connection.execute("SELECT track_id FROM tracks")}
    found = walk(connection, lambda position: Listing("u1", sort=sort, limit=limit, position=position), arrive)
    assert len(found) == len(set(found))
    assert before <= set(found)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rows, min_size=1, max_size=12), sorts, st.integers(1, 5))
def test_pages_are_in_order_and_lead_back_the_same_way(fresh, old, sort, limit):
    connection = fresh()
    for number, row in enumerate(old):
        add_track(connection, number, **row)
    order = ", ".join(f"{column} {'DESC' if down else 'ASC'}" for column, down in ordered(sort))
    expected = [row[0] for row in connection.execute(f"SELECT track_id FROM tracks ORDER BY {order}")]
    pages = [_read(connection, Listing("u1", sort=sort, limit=limit))]
    assert pages[0].before is None
    while pages[-1].after is not None:
        pages.append(_read(connection, Listing("u1", sort=sort, limit=limit, position=pages[-1].after)))
    assert [each for page in pages for each in ids(page)] == expected
    back = [pages[-1]]
    while back[-1].before is not None:
        position = back[-1].before
        back.append(_read(connection, Listing("u1", sort=sort, limit=limit, position=position, is_backwards=True)))
    assert [ids(page) for page in reversed(back)] == [ids(page) for page in pages]
    if len(back) > 1:
        assert back[-1].after is not None  # and forth again
        again = _read(connection, Listing("u1", sort=sort, limit=limit, position=back[-1].after))
        assert ids(again) == ids(pages[1])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=rows, labels=st.dictionaries(st.text("abc_-9", min_size=1), titles), number=st.integers(0, 10**9))
def test_the_listing_says_of_a_track_what_the_schema_says(fresh, row, labels, number):
    connection = fresh()
    row["duration"] = round(row["duration"], 6)  # as an upload stores it
    track = add_track(
        connection, number, **row, filename='"ü%d\\.mp3', labels=orjson.dumps(labels).decode(), updated_at=number
    )
    item = orjson.loads(_read(connection, Listing("u1")).items[0])
    assert item == TrackSchema().dump(track) == dump_track(track)
    assert list(item) == list(FIELDS) == list(TrackSchema().dump(track))


def test_fewer_fields_are_the_same_members(fresh):
    connection = fresh()
    track = dump_track(add_track(connection, 1))
    for name in FIELDS:
        page = _read(connection, Listing("u1", fields=(name,), is_counted=True))
        assert [orjson.loads(item) for item in page.items] == [{name: track[name]}]


def test_only_own_tracks_and_none_of_the_trash(fresh):
    connection = fresh()
    add_track(connection, 1)
    add_track(connection, 2, "u2")
    add_track(connection, 3, state="trashed", trashed_at=5)
    assert ids(_read(connection, Listing("u1"))) == [f"{1:026d}"]
    assert ids(_read(connection, Listing("u1", conditions=(("state", "=", "ready"),)))) == [f"{1:026d}"]
    assert ids(_read(connection, Listing("u1", conditions=(("state", "=", "trashed"),)))) == [f"{3:026d}"]
    assert ids(_read(connection, Listing("u1", conditions=(("state", "=", "analysing"),)))) == []


@pytest.mark.parametrize(
    ("condition", "numbers"),
    [
        (("artist", "=", "NINA"), [2, 3]),
        (("filename", "=", "song 4.mp3"), [4]),
        (("sha256", "=", b"x" * 32), [5]),
        (("size", ">", 1004), [5]),
        (("size", ">=", 1004), [4, 5]),
        (("size", "<", 1002), [1]),
        (("duration", "<=", 60.0), [1]),
        (("channels", "=", 1), [4]),
        (("mode", "=", "vbr"), [3]),
        (("bitrate", ">", 128_000), [2]),
        (("created_at", ">", 1_000_004), [5]),
    ],
)
def test_filters(fresh, condition, numbers):
    connection = fresh()
    for number, changes in enumerate(
        [
            {"duration": 60.0},
            {"artist": "Nina", "bitrate": 192_000},
            {"artist": "nina", "mode": "vbr"},
            {"channels": 1},
            {"sha256": b"x" * 32},
        ],
        1,
    ):
        add_track(connection, number, **changes)
    page = _read(connection, Listing("u1", conditions=(condition,), sort=(("size", False),), limit=2, is_counted=True))
    assert [int(each) for each in ids(page)] == numbers[:2]
    assert page.count == len(numbers)


def test_a_page_behind_the_end_is_empty(fresh):
    connection = fresh()
    add_track(connection, 1)
    page = _read(connection, Listing("u1", position=(0, "")))
    assert (page.items, page.before, page.after) == ([], None, None)


async def test_page_tracks_reads_what_was_written_before(database):
    await database.write(add_user)
    numbers = random.sample(range(100), 10)
    for number in numbers:
        await database.write(lambda connection, number=number: add_track(connection, number))
        assert int(ids(await page_tracks(database, Listing("u1", limit=1)))[0]) == max(
            numbers[: numbers.index(number) + 1]
        )
