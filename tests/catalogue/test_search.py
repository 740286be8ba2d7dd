"""Words and marks: what they are made of, and that the index has them of every track as it is, whoever changed it."""

import sqlite3
from functools import partial

import orjson
import pytest
from alembic import command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.catalogue import migrations, search
from service.catalogue.database import Database, write_together
from service.catalogue.facets import FACETS, _count
from service.catalogue.listing import Listing, _read
from service.catalogue.migrations import migrate
from tests.catalogue.test_listing import ids
from tests.rows import add_track, add_user


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Motörhead \u2013 Ace of Spades", ["motorhead", "ace", "of", "spades"]),
        ("MOTO\u0308RHEAD motorhead", ["motorhead"]),
        ("Straße ŁÓDŹ Øresund Þórr æon İI", ["strasse", "lodz", "oresund", "thorr", "aeon", "ii"]),
        ("Rock'n'Roll AC/DC 2.0", ["rock", "n", "roll", "ac", "dc", "2", "0"]),
        ("東京事変", ["東", "京", "事", "変"]),
        ("㍿ソ", ["株", "式", "会", "社", "ソ"]),
        ("\ufb01n \uff12\uff10\uff10\uff11", ["fin", "2001"]),
        ("§ ¿? \u200b '\"*()-:^", []),
        ("", []),
    ],
)
def test_words_are_folded(text, words):
    assert search.fold(text) == words


def test_what_any_character_is_folded_to_is_a_word():
    for codepoint in range(0x30000):
        for word in search.fold(chr(codepoint)):
            assert search.fold(word) == [word], hex(codepoint)


@given(st.text())
def test_a_folded_word_is_a_word(text):
    for word in search.fold(text):
        assert search.fold(word) == [word]
        assert search.fold(word.upper())[:1] in ([], [word]) or len(search.fold(word.upper())) >= 1


@given(st.lists(st.text(min_size=1)).map(lambda texts: search.fold(" ".join(texts))))
def test_the_bits_of_a_beginning_are_bits_of_the_word(words):
    for word in words:
        for length in range(1, len(word) + 1):
            beginning = search.word_bits([word[:length]])
            assert search.word_bits(words) & beginning == beginning


def test_bits_tell_apart_what_a_third_of_all_tracks_may_have():
    for name, values in {
        "mode": ["cbr", "vbr", "abr"],
        "channels": [1, 2],
        "sample_rate": [44_100, 48_000, 22_050],
        "metadata": ["available", "pending", "unavailable"],
        "has_cover": [0, 1],
    }.items():
        bits = [search.mark_bits([(name, value)]) for value in values]
        assert [each.bit_count() for each in bits] == [1] * len(values)
        assert all(0 < each < 1 << 16 for each in bits)
        assert len({*bits}) == len(values)


def found(connection, text, user_id="u1", **conditions):
    asked = (("words", "=", tuple(search.fold(text))), *((name, "=", value) for name, value in conditions.items()))
    return [int(each) for each in ids(_read(connection, Listing(user_id, asked, sort=(("created_at", False),))))]


@pytest.mark.parametrize(
    "text", ["motor", "MOTÖR", "spa ac", "now", "kil by", "live", "roadie", "moto 01 mp3", "calm", "ace motorhead"]
)
def test_a_track_is_found_by_beginnings_of_its_words(fresh, text):
    connection = fresh()
    add_track(
        connection,
        1,
        title="Ace of Spades",
        artist="Motörhead",
        album="Now",
        album_artist="Killed by",
        labels='{"mood":"calm"}',
        filename="01 live Roadie.mp3",
    )
    add_track(connection, 2, title="Ace", artist="motley", album="Other")
    assert found(connection, text) == [1]


@pytest.mark.parametrize("text", ["otor", "motorheads", "motor other", "genre", "jazz", "AND", "xmood"])
def test_a_track_is_not_found_by_what_it_does_not_say(fresh, text):
    connection = fresh()
    add_track(connection, 1, artist="Motörhead", genre="Jazz", labels='{"xmood":"y"}')
    add_track(connection, 2, title="Other")
    assert found(connection, text) == []


@pytest.mark.parametrize("text", ["foo-bar", '"', "(", "a AND", "*", "NEAR(a b)", "words:a", "§own", "a^2", "\\", "%_"])
def test_nothing_is_syntax(fresh, text):
    connection = fresh()
    add_track(connection, 1, title=f"x {text} y")
    assert found(connection, f"x {text}") == [1]


def test_only_own_tracks_are_found(fresh):
    connection = fresh()
    add_track(connection, 1, "u2", title="secret")
    assert found(connection, "secret") == []
    assert found(connection, "secret", "u2") == [1]


def test_no_term_is_of_two_users_or_of_the_trash_too(fresh):
    connection = fresh()
    add_track(connection, 1)
    add_track(connection, 1_000, "u2", title="song 1", filename="song 1.mp3")
    add_track(connection, 1_001, title="song 1", filename="song 1.mp3", state="trashed", trashed_at=9)
    connection.execute("CREATE VIRTUAL TABLE terms USING fts5vocab('searched', 'row')")
    counts = connection.execute("SELECT term, doc FROM terms").fetchall()
    assert {row["doc"] for row in counts} == {1}
    assert len(counts) == 3 * len(
        set(connection.execute("SELECT words || ' ' || marks FROM tracks").fetchone()[0].split())
    )


def test_marks_are_too_short_for_the_index_of_beginnings(fresh):
    owner = search.owner_mark("u1", is_trashed=False)
    assert len(owner) == len(search.mark(owner, "genre", "Jazz")) == len(search.mark(owner, "year", 1999)) == 3
    sql = fresh().execute("SELECT sql FROM sqlite_schema WHERE name = 'searched'").fetchone()[0]
    assert "prefix = '4 5 6 7 8 9'" in sql


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("title"), st.sampled_from(["love", "Löve", "hate", ""])),
        st.tuples(
            st.sampled_from(["artist", "album", "album_artist", "genre"]), st.sampled_from(["", "Nina", "nina", "Zoë"])
        ),
        st.tuples(st.just("labels"), st.sampled_from(["{}", '{"a":"night"}'])),
        st.tuples(st.just("year"), st.sampled_from([None, 1999, 2000])),
        st.tuples(st.just("cover"), st.sampled_from([None, b"c"])),
        st.tuples(st.just("trashed_at"), st.sampled_from([None, 5])),
        st.tuples(st.just("DELETE"), st.none()),
        st.tuples(st.just("INSERT"), st.none()),
        st.tuples(st.just("COMMIT"), st.none()),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES)
def test_whoever_changes_a_track_its_words_marks_and_counts_are_right_after_the_commit(fresh, changes):
    connection = fresh()
    connection.execute("INSERT INTO covers VALUES (?, 1, 1, 0)", (b"c",))
    add_track(connection, 1)
    connection.execute("BEGIN")
    for name, value in changes:
        if name == "COMMIT":
            search.refresh(connection)
            connection.execute("COMMIT")
            connection.execute("BEGIN")
        elif name == "DELETE":
            connection.execute("DELETE FROM tracks WHERE number = (SELECT max(number) FROM tracks)")
        elif name == "INSERT":
            number = connection.execute("SELECT ifnull(max(created_at), 0) + 1 FROM tracks").fetchone()[0]
            connection.execute(
                """
                INSERT INTO tracks (track_id, user_id, key, sha256, size, filename, title, duration, bitrate, mode,
                                    channels, sample_rate, audio, state, created_at, updated_at)
                SELECT ?1, 'u1', key, sha256, 1, 'raw', 'raw', 1, 1, 'cbr', 1, 1, '{}', 'ready', ?2, 0
                FROM blobs LIMIT 1
                """,
                (f"raw {number}", number),
            )
        else:
            connection.execute(f"UPDATE tracks SET {name} = ? WHERE number = 1", (value,))
    search.refresh(connection)
    connection.execute("COMMIT")
    connection.execute("INSERT INTO searched (searched, rank) VALUES ('integrity-check', 1)")
    assert connection.execute("SELECT count(*) FROM unsearched").fetchone()[0] == 0
    rows = [dict(row) for row in connection.execute("SELECT * FROM tracks")]
    for row in rows:
        assert search.indexed(row).items() <= row.items()
    for name in FACETS:
        counts = {}
        for row in rows:
            if row["trashed_at"] is None and row[name] not in ("", None):
                value = row[name].lower() if name != "year" else row[name]
                counts[value] = counts.get(value, 0) + 1
        kept = orjson.loads(orjson.dumps(_count(connection, "u1", (), (name,), 500)))[name]
        assert {each["value"].lower() if name != "year" else each["value"]: each["count"] for each in kept} == counts


def test_a_change_outside_of_the_service_is_found_after_its_next_write(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    add_user(connection)
    write_together(connection, [lambda writer: add_track(writer, 1, title="before")])
    connection.execute("UPDATE tracks SET title = 'afterwards'")
    assert found(connection, "after") == []
    write_together(connection, [lambda _: None])
    assert found(connection, "after") == [1]
    assert found(connection, "before") == []
    connection.close()


def test_a_write_that_fails_leaves_the_index_as_it_was(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.row_factory = sqlite3.Row
    add_user(connection)

    def fail(writer):
        writer.execute("UPDATE tracks SET title = 'other'")
        raise ValueError

    def add(writer):
        add_track(writer, 2, title="second")

    write_together(connection, [lambda writer: add_track(writer, 1, title="first")])
    results = write_together(connection, [fail, add])
    assert isinstance(results[0], ValueError)
    assert (found(connection, "first"), found(connection, "second"), found(connection, "other")) == ([1], [2], [])
    connection.close()


_upgrade = command.upgrade


@pytest.mark.parametrize("revision", ["0002", "0006"])
async def test_tracks_of_an_older_schema_are_found_counted_and_still_referred_to(tmp_path, monkeypatch, revision):
    path = tmp_path / "catalogue.db"
    with monkeypatch.context() as patched:
        patched.setattr(migrations, "newest", lambda: revision)
        patched.setattr("alembic.command.upgrade", lambda config, _head: _upgrade(config, revision))
        migrate(path)
    connection = sqlite3.connect(path)
    connection.executescript(
        """
        INSERT INTO users (user_id, name, password_hash, created_at, updated_at) VALUES ('u', 'u', 'h', 0, 0);
        INSERT INTO blobs (key, sha256, size, state, created_at) VALUES ('k', x'00', 1, 'ready', 0);
        INSERT INTO tracks (track_id, user_id, key, sha256, size, filename, title, artist, year, duration, bitrate,
                            mode, channels, sample_rate, audio, state, created_at, updated_at)
        VALUES ('t', 'u', 'k', x'00', 1, 'a.mp3', 'Mine', 'Nina', 1999, 1.0, 1, 'cbr', 2, 44100, '{}', 'ready', 5, 5);
        INSERT INTO jobs (kind, track_id, state, due_at, created_at) VALUES ('describe', 't', 'waiting', 0, 0);
        """
    )
    if revision == "0006":  # as its service would have left it
        connection.executescript(
            """
            UPDATE tracks SET words = ' nina', marks = '§0';
            INSERT INTO searched (rowid, words, marks) SELECT number, words, marks FROM tracks;
            DELETE FROM unsearched;
            """
        )
    connection.close()
    migrate(path)
    database = await Database.open(path)
    try:
        page = await database.run_reading(partial(_read, listing=Listing("u", (("words", "=", ("nin",)),))))
        assert ids(page) == ["t"]
        counts = await database.run_reading(lambda reader: _count(reader, "u", (), ("artist", "year"), 5))
        assert orjson.loads(orjson.dumps(counts)) == {
            "artist": [{"value": "Nina", "count": 1}],
            "year": [{"value": 1999, "count": 1}],
        }
        assert await database.read("PRAGMA foreign_key_check") == []
        with pytest.raises(sqlite3.IntegrityError):
            await database.write(lambda writer: writer.execute("UPDATE jobs SET track_id = 'nothing'"))
        await database.write(lambda writer: writer.execute("DELETE FROM tracks"))
        assert await database.read("SELECT 1 FROM jobs") == []
    finally:
        await database.close()
