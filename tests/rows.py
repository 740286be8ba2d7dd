"""Rows for tests that need a catalogue but no uploads: users, and tracks with blobs."""

import sqlite3
from hashlib import sha256
from typing import Any

from service.catalogue import jobs, search, tracks, users
from service.catalogue.tracks import NewTrack


def add_user(connection: sqlite3.Connection, user_id: str = "u1") -> str:
    users.insert(connection, user_id, f"name of {user_id}", "hash", now=0)
    return user_id


def add_track(connection: sqlite3.Connection, number: int, user_id: str = "u1", **changes: Any) -> sqlite3.Row:
    """A track with a blob of its own, unless `key` names one that is there; counted for its user as `finish` does.

    `changes` are any columns; those an upload does not set are written afterwards.
    """
    values: dict[str, Any] = {
        "track_id": f"{number:026d}",
        "user_id": user_id,
        "key": f"{number:032x}",
        "sha256": sha256(str(number).encode()).digest(),
        "size": 1000 + number,
        "filename": f"song {number}.mp3",
        "title": f"song {number}",
        "duration": 60.5,
        "bitrate": 128_000,
        "mode": "cbr",
        "channels": 2,
        "sample_rate": 44_100,
        "audio": {"frames": 10, "junk_bytes": 0, "gaps": 0, "truncated": False},
        "created_at": 1_000_000 + number,
    }
    changes.setdefault("state", "ready")
    new = {name: changes.pop(name, values[name]) for name in values}
    connection.execute(
        "INSERT OR IGNORE INTO blobs (key, sha256, size, state, created_at) VALUES (?, ?, ?, 'ready', 0)",
        (new["key"], new["sha256"], new["size"]),
    )
    row = tracks.insert(connection, NewTrack(**new))
    connection.execute(
        "UPDATE users SET used_bytes = used_bytes + ?, used_tracks = used_tracks + 1 WHERE user_id = ?",
        (new["size"], user_id),
    )
    for name, value in changes.items():
        connection.execute(f"UPDATE tracks SET {name} = ? WHERE track_id = ?", (value, row["track_id"]))
    search.refresh(connection)  # as every transaction of the service ends
    found: sqlite3.Row = connection.execute("SELECT * FROM tracks WHERE track_id = ?", (row["track_id"],)).fetchone()
    return found


def take_job(connection, kind, **more):
    """The one job that is next, or None."""
    return next(iter(jobs.take(connection, kind, **more)), None)
