"""Whatever is asked, found by whichever way, is what a plain list of the tracks gives; and no way is a scan."""

from functools import cmp_to_key
from itertools import product

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.catalogue import listing, search, selection
from service.catalogue.listing import SORTS, Listing, _read, count_tracks, ordered
from service.catalogue.selection import Selection, column_of
from service.errors import NotFound
from tests.catalogue.test_listing import walk
from tests.rows import add_track

NAMES = ("", "Motörhead", "motorhead", "MOTÖRHEAD", "The Who", "Who's Next", "love", "Lovers & the night")
RANGES = {
    "duration": [59.5, 60.0, 1 / 3],
    "size": [1, 2, 3],
    "bitrate": [128_000, 320_000],
    "created_at": [5, 6],
    "year": [0, 1999, 2000],
}
VALUES = {
    **dict.fromkeys(("title", "artist", "album", "album_artist", "composer"), NAMES),
    "filename": ["a.mp3", "Motör.mp3", "x-love.mp3"],
    "genre": ["", "Jazz", "jazz", "Pop"],
    "mode": ["cbr", "vbr"],
    "channels": [1, 2],
    "sample_rate": [44_100, 48_000],
    "metadata": ["available", "pending"],
    "has_cover": [0, 1],
    "sha256": [b"a" * 32, b"b" * 32],
    "state": ["ready", "analysing", "trashed"],
    "label:mood": ["calm", "Calm", "love me"],
}
COLUMNS = {
    name: values for name, values in (VALUES | RANGES).items() if name not in ("has_cover", "label:mood", "year")
}
SEARCHES = ["mot", "love", "the", "who next", "l n", "mp3", "NIGHT lover", "zzz"]
LISTED = st.lists(
    st.fixed_dictionaries(
        {
            **{name: st.sampled_from(values) for name, values in COLUMNS.items()},
            "year": st.sampled_from([None, 0, 1999, 2000]),
            "labels": st.sampled_from(["{}", '{"mood":"calm"}', '{"mood":"Calm","x":"night"}', '{"mood":"love me"}']),
            "cover": st.sampled_from([None, b"c"]),
            "frames_sha256": st.sampled_from([None, b"f", b"g"]),
            "sound_id": st.sampled_from([None, "s", "t"]),
            "user_id": st.sampled_from(["u1", "u1", "u1", "u2"]),
        }
    ),
    max_size=14,
)
CONDITION = st.one_of(
    *(st.tuples(st.just(name), st.just("="), st.sampled_from(values)) for name, values in VALUES.items()),
    *(
        st.tuples(st.just(name), st.sampled_from(["=", "<", "<=", ">", ">="]), st.sampled_from(values))
        for name, values in RANGES.items()
    ),
    st.tuples(st.just("same_as"), st.just("="), st.just("0")),
    st.tuples(st.just("words"), st.just("="), st.sampled_from(SEARCHES).map(search.fold).map(tuple)),
)
CONDITIONS = st.lists(CONDITION, max_size=3, unique_by=lambda condition: condition[:2]).map(tuple)
SORT = st.lists(st.sampled_from(SORTS), min_size=1, max_size=3, unique=True).flatmap(
    lambda columns: st.tuples(*(st.tuples(st.just(column), st.booleans()) for column in columns))
)


def lower(text):
    return "".join(chr(ord(each) + 32) if "A" <= each <= "Z" else each for each in text)


def matches(row, conditions, rows) -> bool:
    def holds(column, operator, value):
        if column == "state":
            return row["state"] == value
        if column == "words":
            texts = [row[name] for name in ("title", "artist", "album", "album_artist", "filename")]
            words = [word for text in (*texts, *orjson.loads(row["labels"]).values()) for word in search.fold(text)]
            return all(any(each.startswith(word) for each in words) for word in value)
        if column == "same_as":
            other = next(each for each in rows if each["track_id"] == value)
            same = (
                row[name] is not None and row[name] == other[name] for name in ("sha256", "frames_sha256", "sound_id")
            )
            return row is not other and any(same)
        if column == "has_cover":
            return (row["cover"] is not None) == bool(value)
        own = orjson.loads(row["labels"]).get(column[6:]) if column.startswith("label:") else row[column]
        if own is None:
            return False
        if isinstance(own, str) and column != "filename" and ":" not in column:
            own, value = lower(own), lower(value)
        return {"=": own == value, "<": own < value, "<=": own <= value, ">": own > value, ">=": own >= value}[operator]

    is_trashed = ("state", "=", "trashed") in conditions
    return (
        row["user_id"] == "u1"
        and (row["state"] == "trashed") == is_trashed
        and all(holds(*each) for each in conditions)
    )


def in_order(rows, sort):
    def value(row, name):
        own = row[name]
        return -1 if own is None else lower(own) if isinstance(own, str) and name != "track_id" else own

    def compare(one, other):
        for name, down in ordered(sort):
            a, b = value(one, name), value(other, name)
            if a != b:
                return (1 if a > b else -1) * (-1 if down else 1)
        return 0

    return sorted(rows, key=cmp_to_key(compare))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LISTED, CONDITIONS, SORT, st.integers(1, 5), st.sampled_from([0, 1, 3, 2000]), st.sampled_from([0, 3, 5000]),
       st.sampled_from([0, 5, 50_000]), st.sampled_from([20, 200, 10**6]))  # fmt: skip
def test_every_walk_is_that_of_a_plain_list(fresh, rows, conditions, sort, limit, few, narrow, many, patience):
    connection = fresh()
    connection.execute("INSERT INTO covers VALUES (?, 1, 1, 0)", (b"c",))
    for number, row in enumerate(rows):
        if row["state"] == "trashed":
            row["trashed_at"] = 9
        add_track(connection, number, key=row["sha256"].hex(), **row)
    same = {"frames_sha256": b"f", "sound_id": "s", "sha256": b"a" * 32}
    add_track(connection, 99, track_id="0", key=same["sha256"].hex(), **same)
    listed = [dict(row) for row in connection.execute("SELECT * FROM tracks")]
    expected = [row["track_id"] for row in in_order([r for r in listed if matches(r, conditions, listed)], sort)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(selection, "FEW", few)
        patched.setattr(listing, "FEW", few)
        patched.setattr(listing, "NARROW", narrow)
        patched.setattr(listing, "MANY", many)
        patched.setattr(selection, "MANY", many)
        patched.setattr(listing, "_PATIENCE", patience)
        found = walk(connection, lambda at: Listing("u1", conditions, sort=sort, limit=limit, position=at))
        assert found == expected
        assert count_tracks(connection, Selection("u1", conditions)) == len(expected)


ASKED = [
    (),
    *(((name, "=", values[0]),) for name, values in VALUES.items()),
    *(((name, operator, values[0]),) for name, values in RANGES.items() for operator in ("=", "<", "<=", ">", ">=")),
    (("words", "=", ("love",)),),
    (("same_as", "=", f"{1:026d}"),),
    (("duration", "<", 61.0), ("size", ">", 1)),
    (("genre", "=", "Jazz"), ("mode", "=", "cbr"), ("bitrate", ">=", 1), ("bitrate", "<", 400_000)),
    (("words", "=", ("lov", "n")), ("genre", "=", "Jazz"), ("year", ">", 1999), ("label:mood", "=", "calm")),
]
SORTED = [
    *(((name, True),) for name in SORTS),
    *(((one, True), (two, False)) for one, two in product(SORTS, SORTS[:4]) if one != two),
]


def plans(connection, asked) -> list[tuple[str, list[str]]]:
    """Every statement that `asked` runs, with SQLite's plan of it."""
    statements = []
    connection.set_trace_callback(statements.append)
    asked()
    connection.set_trace_callback(None)
    return [
        (sql, [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")])
        for sql in statements
        if sql.lstrip().startswith(("SELECT", "WITH"))
    ]


@pytest.mark.parametrize(
    ("few", "narrow", "patience"), [(0, -1, 10**6), (1500, -1, 10**6), (0, 5000, 10**6), (0, 5000, 1), (0, -1, 1)]
)
@pytest.mark.parametrize("conditions", ASKED, ids=lambda asked: " ".join(part for each in asked for part in each[:2]))
def test_no_filter_with_any_sort_reads_or_sorts_more_than_it_must(
    fresh, monkeypatch, conditions, few, narrow, patience
):
    monkeypatch.setattr(selection, "FEW", few)
    monkeypatch.setattr(listing, "NARROW", narrow)
    monkeypatch.setattr(listing, "_PATIENCE", patience)
    connection = fresh()
    for number in range(1, 4):
        add_track(connection, number, title="love n", genre="Jazz", year=2000, labels='{"mood":"calm"}')
    for sort in SORTED:
        first = Listing("u1", conditions, sort=sort, limit=1)
        after = _read(connection, first).after
        for listed in (first, Listing("u1", conditions, sort=sort, limit=1, position=after)):
            for sql, plan in plans(connection, lambda listed=listed: _read(connection, listed)):
                assert not [line for line in plan if line.startswith(("SCAN tracks", "SCAN other"))], sql
                is_narrow = (narrow > 0 or patience == 1) and any(
                    line.startswith("SEARCH tracks USING") and line.count(" AND ") > 1 for line in plan
                )
                is_bounded = "json_each('" in sql or "UNION" in sql or is_narrow
                assert is_bounded or not [line for line in plan if "TEMP B-TREE" in line], (sql, plan)
                for line in plan:
                    if line.startswith("SEARCH tracks USING") and "tracks_by_" in line and "sha256" not in line:
                        assert "user_id=?" in line, sql


@pytest.mark.parametrize("column", [column_of(name) for name in SORTS])
def test_a_walk_is_a_seek_and_tests_without_a_look_at_the_rows(fresh, column):
    connection = fresh()
    add_track(connection, 1)
    tests = "+duration > 1 AND +size > 1 AND +bitrate > 1 AND +sort_year > 1 AND word_bits & 3 AND mark_bits & 3"
    sql = f"""
        SELECT number, created_at, track_id FROM tracks INDEXED BY tracks_by_{column}
        WHERE user_id = 'u1' AND is_trashed = 0 AND {tests}
        ORDER BY {", ".join(f"{each} DESC" for each in dict.fromkeys((column, "created_at", "track_id")))}
    """
    code = connection.execute(f"EXPLAIN {sql}").fetchall()
    indexes = {row["p1"] for row in code if row["opcode"] == "OpenRead" and str(row["p4"]).startswith("k(")}
    assert {row["p1"] for row in code if row["opcode"] == "Column"} == indexes != set()
    assert not [row for row in code if row["opcode"].startswith("Sorter")]


def test_no_sorted_column_can_be_null(fresh):
    columns = {row["name"]: row["notnull"] for row in fresh().execute("PRAGMA table_xinfo(tracks)")}
    assert all(columns[column_of(name)] for name in SORTS)


def test_an_unknown_other_track_is_refused(fresh):
    connection = fresh()
    add_track(connection, 2, "u2")
    for track_id in ("nothing", f"{2:026d}"):
        with pytest.raises(NotFound):
            _read(connection, Listing("u1", (("same_as", "=", track_id),)))
