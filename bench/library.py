"""A library as big ones are: few artists, genres and words make most of it, and the rest is a long tail.

Words are made up of syllables but for the commonest ten, which are found in a large share of all tracks.
"""

import hashlib
import json
import random
import sqlite3
from bisect import bisect
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import accumulate
from pathlib import Path
from typing import Any

from ulid import ULID

from service.catalogue.search import UNKNOWN, indexed

_ONSETS = [*"bcdfghjklmnprstvwz", "br", "st", "tr", "kl", "sch"]
_VOWELS = [*"aeiouöéü", "ai", "ou"]
_COMMON = ["the", "of", "love", "you", "night", "and", "in", "time", "blue", "motörhead"]
_GENRES = ["Rock", "Pop", "Jazz", "Classical", "Electronic", "Hip-Hop", "Folk", "Metal", "Blues", "Podcast"]
_MOODS = ["calm", "loud", "sad"]
_FIRST_AT = 1_400_000_000_000_000
_BATCH = 5_000


class _Uneven:
    """Picks from a list; the first is the commonest, the n-th comes about 1/n as often."""

    def __init__(self, chance: random.Random, items: Sequence[str], power: float) -> None:
        self._chance = chance
        self._items = items
        self._sums = list(accumulate(1 / (rank + 1) ** power for rank in range(len(items))))

    def __call__(self) -> str:
        return self._items[bisect(self._sums, self._chance.random() * self._sums[-1])]


def fill(database: Path, users: dict[str, int], seed: int = 7) -> None:
    """Add that many tracks for each user, who exists. Takes about three minutes and 1.7 GB for a million."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.executescript(
            "PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000; PRAGMA temp_store = MEMORY; BEGIN"
        )
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'tracks' AND sql IS NOT NULL"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        for user_id, count in users.items():
            _fill(connection, user_id, count, random.Random(seed))
        for _, sql in indexes:
            connection.execute(sql)
        # As `refresh` would do at the end of each transaction, in one stroke.
        connection.execute(
            "INSERT INTO searched (rowid, words, marks) SELECT number, words, marks FROM searchable ORDER BY 1"
        )
        connection.execute("DELETE FROM unsearched")
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _fill(connection: sqlite3.Connection, user_id: str, count: int, chance: random.Random) -> None:
    rows: list[dict[str, Any]] = []
    for row in tracks(user_id, count, chance):
        rows.append(row)
        if len(rows) == _BATCH:
            insert(connection, rows)
            rows.clear()
    if rows:
        insert(connection, rows)
    connection.execute("UPDATE users SET used_tracks = used_tracks + ? WHERE user_id = ?", (count, user_id))


def insert(connection: sqlite3.Connection, rows: list[dict[str, Any]]) -> None:
    """Add tracks, each with a blob of its own."""
    connection.executemany(
        "INSERT OR IGNORE INTO blobs (key, sha256, size, state, created_at) VALUES (:key, :sha256, :size, 'ready', 0)",
        rows,
    )
    names = list(rows[0])
    connection.executemany(
        f"INSERT INTO tracks ({', '.join(names)}) VALUES ({', '.join(f':{name}' for name in names)})", rows
    )


def tracks(user_id: str, count: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    """Rows of the table, the oldest first."""

    def word() -> str:
        return "".join(
            chance.choice(_ONSETS) + chance.choice(_VOWELS) for _ in range(chance.choice((1, 2, 2, 2, 3, 3, 4)))
        )

    invented = sorted({word() for _ in range(40_000)} - set(_COMMON))
    chance.shuffle(invented)
    words = _Uneven(chance, [*_COMMON, *invented], 0.9)

    def name(*lengths: int) -> str:
        return " ".join(words().title() for _ in range(chance.choice(lengths)))

    artists = _Uneven(chance, [name(1, 2, 2, 3) for _ in range(20_000)], 0.8)
    albums = _Uneven(chance, [name(1, 2, 3) for _ in range(80_000)], 0.6)
    genres = _Uneven(chance, [*_GENRES, *(name(1, 2) for _ in range(190))], 1.0)
    for number in range(count):
        created_at = _FIRST_AT + number * 300_000_000 + chance.randrange(300_000_000)
        title, artist, duration = (
            name(1, 2, 3, 3, 4, 5).capitalize(),
            artists(),
            round(chance.lognormvariate(5.4, 0.5), 6),
        )
        bitrate = chance.choice((128_000, 128_000, 192_000, 256_000, 320_000, 320_000))
        unique = hashlib.sha256(f"{user_id} {number}".encode()).digest()
        row = {
            **UNKNOWN,
            "track_id": str(ULID.from_bytes((created_at // 1000).to_bytes(6, "big") + unique[:10])),
            "user_id": user_id,
            "key": unique[:16].hex(),
            "sha256": unique,
            "size": int(duration * bitrate / 8),
            "filename": f"{number % 20 + 1:02} {title}.mp3",
            "title": title,
            "artist": artist,
            "album": albums(),
            "album_artist": artist if chance.random() < 0.7 else "",
            "genre": genres(),
            "composer": artists() if chance.random() < 0.2 else "",
            "year": int(chance.triangular(1950, 2026, 2015)) if chance.random() < 0.9 else None,
            "track_number": number % 20 + 1,
            "labels": json.dumps({"mood": chance.choice(_MOODS)}) if chance.random() < 0.2 else "{}",
            "duration": duration,
            "bitrate": bitrate,
            "mode": chance.choice(("cbr", "cbr", "vbr", "abr")),
            "channels": 2 if chance.random() < 0.95 else 1,
            "sample_rate": 44_100 if chance.random() < 0.9 else 48_000,
            "audio": '{"frames":9570,"junk_bytes":0,"gaps":0,"truncated":false}',
            "metadata": "available",
            "state": "ready",
            "created_at": created_at,
            "updated_at": created_at,
        }
        row["tags"] = json.dumps({name: row[name] for name in ("title", "artist", "album", "genre", "year")})
        yield {**row, **indexed(row)}
