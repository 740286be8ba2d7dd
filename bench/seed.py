"""Fills the service's catalogue with tracks, straight into the SQLite file: the listing needs many, not their bytes."""

import hashlib
import json
import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from ulid import ULID

from service.catalogue.search import UNKNOWN, indexed, refresh

_WORDS = (
    "amber brass coral dune ember fjord gale harbour isle jetty kelp lagoon mast north oar port quay reef sail tide"
)
_SIZE = 4_000_000
_REPORT = json.dumps({"frames": 9570, "junk_bytes": 0, "gaps": 0, "truncated": False})


def find_database(data: Path) -> Path:
    """The catalogue among the files of a data directory, whatever it is called."""
    for path in data.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                if file.read(15) == b"SQLite format 3":
                    return path
    raise FileNotFoundError(f"no SQLite file in {data}")


def fill(database: Path, count: int) -> None:
    """Adds tracks of the first user, each with a blob of its own. The service must not be running."""
    with closing(sqlite3.connect(database)) as connection:
        user_id = connection.execute("SELECT user_id FROM users LIMIT 1").fetchone()[0]
        tracks = list(_tracks(user_id, count))
        _insert(connection, "blobs", [_blob(track) for track in tracks])
        _insert(connection, "tracks", tracks)
        while refresh(connection):
            pass
        connection.execute(
            "UPDATE users SET used_bytes = used_bytes + ?, used_tracks = used_tracks + ? WHERE user_id = ?",
            (count * _SIZE, count, user_id),
        )
        connection.commit()
        connection.execute("ANALYZE")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _insert(connection: sqlite3.Connection, table: str, rows: list[dict[str, Any]]) -> None:
    names = list(rows[0])
    marks = ", ".join(f":{name}" for name in names)
    connection.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", rows)


def _tracks(user_id: str, count: int) -> Iterator[dict[str, Any]]:
    words = _WORDS.split()
    chance = random.Random(7)
    first_at = time.time() - 86_400 * 365
    for number in range(count):
        at = first_at + number * 300
        title = f"{' '.join(chance.sample(words, 3)).capitalize()} {number}"
        row = {
            "track_id": str(ULID.from_timestamp(at)),
            "user_id": user_id,
            "key": f"bench/{number:08d}",
            "sha256": hashlib.sha256(str(number).encode()).digest(),
            "size": _SIZE,
            "filename": f"{title.lower().replace(' ', '-')}.mp3",
            "title": title,
            "artist": chance.choice(words).capitalize(),
            "album": chance.choice(words).capitalize(),
            "duration": chance.uniform(60, 600),
            "bitrate": 128_000,
            "mode": "cbr",
            "channels": 2,
            "sample_rate": 44_100,
            "audio": _REPORT,
            "state": "ready",
            "created_at": int(at * 1e6),
            "updated_at": int(at * 1e6),
        }
        yield {**row, **indexed({**UNKNOWN, **row})}


def _blob(track: dict[str, Any]) -> dict[str, Any]:
    return {**{name: track[name] for name in ("key", "sha256", "size", "created_at")}, "state": "ready"}
