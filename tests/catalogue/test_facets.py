"""Counts of facets: whichever way they are found, they are those of a plain list of the tracks."""

from collections import Counter

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.catalogue import facets, selection, tracks
from service.catalogue.facets import FACETS, _count
from tests.catalogue.test_selection import CONDITIONS, LISTED, lower, matches
from tests.rows import add_track, add_user

MOST = st.sampled_from(
    [(("has_cover", "=", 0),), (("mode", "=", "cbr"),), (("words", "=", ("l",)),), (("genre", "=", ""),)]
)


def folded(value):
    return lower(value) if isinstance(value, str) else value


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LISTED, st.one_of(MOST, CONDITIONS), st.sampled_from([0, 3, 300_000]), st.sampled_from([1, 64]))
def test_counts_are_those_of_a_plain_list(fresh, rows, conditions, some, sample):
    connection = fresh()
    connection.execute("INSERT INTO covers VALUES (?, 1, 1, 0)", (b"c",))
    add_track(connection, 99, track_id="0", key="k")
    for number, row in enumerate(rows):
        if row["state"] == "trashed":
            row["trashed_at"] = 9
        add_track(connection, number, key=row["sha256"].hex(), **row)
    listed = [dict(row) for row in connection.execute("SELECT * FROM tracks")]
    found = [row for row in listed if matches(row, conditions, listed)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(facets, "_SOME", some)
        patched.setattr(selection, "_SAMPLE", sample)
        counts = orjson.loads(orjson.dumps(_count(connection, "u1", conditions, FACETS, 500)))
    for name in FACETS:
        expected = Counter(folded(row[name]) for row in found if row[name] not in ("", None))
        assert {folded(each["value"]): each["count"] for each in counts[name]} == expected
        assert [each["count"] for each in counts[name]] == sorted(expected.values(), reverse=True)


def test_what_most_tracks_have_is_counted_by_the_others(fresh, monkeypatch):
    connection = fresh()
    for number in range(200):
        add_track(connection, number, genre="Jazz" if number % 2 else "Pop", mode="vbr" if number == 7 else "cbr")
    monkeypatch.setattr(facets, "_of_some", None)
    monkeypatch.setattr(facets, "_of_many", None)
    counts = _count(connection, "u1", (("mode", "=", "cbr"),), ("genre",), 5)
    assert orjson.loads(orjson.dumps(counts)) == {
        "genre": [{"value": "Pop", "count": 100}, {"value": "Jazz", "count": 99}]
    }


async def test_who_cannot_wait_gets_all_or_nothing(database, write, monkeypatch):
    await write(add_user)
    for number in range(30):
        await write(add_track, number, artist=f"artist {number}", genre="Jazz")
    asked = ("u1", (("genre", "=", "Jazz"),), ("artist",), 50)
    assert orjson.dumps(await facets.count_soon(database, *asked)) == orjson.dumps(
        await facets.count_facets(database, *asked)
    )
    monkeypatch.setattr(facets, "_SOON", 10)
    assert await facets.count_soon(database, *asked) == {}
    assert await database.read("SELECT 1")
    assert not await database.run_reading(lambda connection: connection.total_changes)  # which begins anew


async def test_a_facet_is_spelt_as_it_came_last(database, write):
    await write(add_user)
    for number in range(3):
        await write(add_track, number, artist="the beatles")
    for number in range(3):
        await write(change, f"{number:026d}", artist="The Beatles")
    for conditions in ((), (("mode", "=", "cbr"),)):
        counted = await facets.count_facets(database, "u1", conditions, ("artist",), 5)
        assert orjson.loads(orjson.dumps(counted)) == {"artist": [{"value": "The Beatles", "count": 3}]}


def change(connection, track_id, **patch):
    tracks.change(connection, "u1", track_id, patch, now=1, check=lambda _row: None)
