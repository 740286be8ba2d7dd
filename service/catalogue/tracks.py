"""The tracks of the catalogue: what is listed, served and described.

A text is known three ways: what a user gave (``title_given``), what the file's tags say (``title_tagged``), and what
counts (``title``), which is the first of the two that there is. So a user's word can be taken back.
"""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from service.catalogue import blobs
from service.catalogue.database import Database
from service.errors import Conflict, Invalid, NotFound

TEXTS = ("title", "artist", "album")
MAX_LABELS = 32

Check = Callable[[sqlite3.Row], None]
"""Looks at a row before it is changed, and raises when it must not be."""


@dataclass(frozen=True, slots=True)
class NewTrack:
    """What a finished upload puts into the catalogue. `audio` is the inspector's report as JSON members."""

    track_id: str
    user_id: str
    key: str
    sha256: bytes
    size: int
    filename: str
    title: str
    duration: float
    bitrate: int
    mode: str
    channels: int
    sample_rate: int
    audio: dict[str, Any]
    created_at: int
    title_given: str | None = None


def title_of(filename: str) -> str:
    """The title of a track nobody has named: its file name without the suffix."""
    stem = filename[:-4] if filename.lower().endswith(".mp3") else filename
    return stem.strip() or filename


def insert(connection: sqlite3.Connection, track: NewTrack) -> sqlite3.Row:
    """Add a track whose blob is there; its row."""
    row: sqlite3.Row = connection.execute(
        """
        INSERT INTO tracks (track_id, user_id, key, sha256, size, filename, title, title_given, duration, bitrate, mode,
                            channels, sample_rate, audio, state, created_at, updated_at)
        VALUES (:track_id, :user_id, :key, :sha256, :size, :filename, :title, :title_given, :duration, :bitrate, :mode,
                :channels, :sample_rate, :audio, 'ready', :created_at, :created_at)
        RETURNING *
        """,
        {
            **{name: getattr(track, name) for name in NewTrack.__slots__},
            "duration": round(track.duration, 6),  # a microsecond is finer than a sample, and reads the same everywhere
            "audio": orjson.dumps(track.audio).decode(),
        },
    ).fetchone()
    return row


async def get_track(database: Database, user_id: str, track_id: str) -> sqlite3.Row:
    """The user's own track, also when it is in the trash.

    Raises:
        NotFound: there is none, or it is another user's.
    """
    row = await database.find("SELECT * FROM tracks WHERE track_id = ? AND user_id = ?", (track_id, user_id))
    if row is None:
        raise NotFound("There is no such track.")
    return row


def change(
    connection: sqlite3.Connection, user_id: str, track_id: str, patch: Mapping[str, Any], *, now: int, check: Check
) -> sqlite3.Row:
    """Apply a merge patch of `TEXTS` and ``labels``; the row as it is then. What changes nothing makes no new version.

    Raises:
        NotFound: there is no such track of this user.
        Conflict: it is in the trash.
        Invalid: it would have too many labels.
    """
    row = _own(connection, user_id, track_id)
    check(row)
    if row["trashed_at"] is not None:
        raise Conflict("The track is in the trash; restore it first.")
    values: dict[str, Any] = {}
    for name in TEXTS:
        if name in patch:
            values |= _text(row, name, patch[name])
    if "labels" in patch:
        values["labels"] = orjson.dumps(_labels(orjson.loads(row["labels"]), patch["labels"])).decode()
    if all(row[name] == value for name, value in values.items()):
        return row
    return _update(connection, track_id, values, now)


def give_title(connection: sqlite3.Connection, track_id: str, title: str, *, now: int | None = None) -> sqlite3.Row:
    """Name a track; its row then. Without `now` it stays as old as it is: the name belongs to its upload."""
    row: sqlite3.Row = connection.execute(
        """
        UPDATE tracks SET title = :title, title_given = :title, version = version + 1,
                          updated_at = ifnull(:now, updated_at)
        WHERE track_id = :track_id RETURNING *
        """,
        {"title": title, "track_id": track_id, "now": now},
    ).fetchone()
    return row


def trash(connection: sqlite3.Connection, user_id: str, track_id: str, *, now: int, check: Check) -> sqlite3.Row:
    """Put the track into the trash, where it still counts for the quota; nothing changes when it is there already.

    Raises:
        NotFound: there is no such track of this user.
    """
    row = _own(connection, user_id, track_id)
    check(row)
    if row["trashed_at"] is not None:
        return row
    return _update(connection, track_id, {"state": "trashed", "trashed_at": now}, now)


def restore(connection: sqlite3.Connection, user_id: str, track_id: str, *, now: int, check: Check) -> sqlite3.Row:
    """Take the track out of the trash.

    Raises:
        NotFound: there is no such track of this user.
        Conflict: it is not in the trash.
    """
    row = _own(connection, user_id, track_id)
    check(row)
    if row["trashed_at"] is None:
        raise Conflict("The track is not in the trash.")
    return _update(connection, track_id, {"state": "ready", "trashed_at": None}, now)


def purge(connection: sqlite3.Connection, *, trashed_before: int, limit: int) -> int:
    """Forget tracks that are in the trash since before that moment, and release what they took; how many there were.

    A blob that no track has any more becomes ``deleting`` in the same transaction.
    """
    rows = connection.execute(
        "SELECT track_id, user_id, key, size FROM tracks WHERE trashed_at < ? ORDER BY trashed_at LIMIT ?",
        (trashed_before, limit),
    ).fetchall()
    connection.executemany("DELETE FROM tracks WHERE track_id = ?", [(row["track_id"],) for row in rows])
    connection.executemany(
        "UPDATE users SET used_bytes = used_bytes - ?, used_tracks = used_tracks - 1 WHERE user_id = ?",
        [(row["size"], row["user_id"]) for row in rows],
    )
    blobs.release(connection, {row["key"] for row in rows})
    return len(rows)


def _own(connection: sqlite3.Connection, user_id: str, track_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM tracks WHERE track_id = ? AND user_id = ?", (track_id, user_id)
    ).fetchone()
    if row is None:
        raise NotFound("There is no such track.")
    return row


def _update(connection: sqlite3.Connection, track_id: str, values: Mapping[str, Any], now: int) -> sqlite3.Row:
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    row: sqlite3.Row = connection.execute(
        f"""
        UPDATE tracks SET {assignments}, version = version + 1, updated_at = :updated_at
        WHERE track_id = :track_id RETURNING *
        """,
        {**values, "updated_at": now, "track_id": track_id},
    ).fetchone()
    return row


def _text(row: sqlite3.Row, name: str, given: str | None) -> dict[str, str | None]:
    candidates = (given, row[f"{name}_tagged"], title_of(row["filename"]) if name == "title" else "")
    return {f"{name}_given": given, name: next(each for each in candidates if each is not None)}


def _labels(labels: dict[str, str], patch: Mapping[str, str | None] | None) -> dict[str, str]:
    merged = {**labels, **patch} if patch is not None else {}
    kept = {name: text for name, text in sorted(merged.items()) if text is not None}
    if len(kept) > MAX_LABELS:
        raise Invalid(errors=[{"pointer": "/labels", "detail": f"A track may have {MAX_LABELS} labels."}])
    return kept
