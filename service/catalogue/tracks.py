"""The tracks of the catalogue: what is listed, served and described."""

import sqlite3
from dataclasses import dataclass
from typing import Any

import orjson


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


def insert(connection: sqlite3.Connection, track: NewTrack) -> sqlite3.Row:
    """Add a track whose blob is there; its row."""
    row: sqlite3.Row = connection.execute(
        """
        INSERT INTO tracks (track_id, user_id, key, sha256, size, filename, title, duration, bitrate, mode, channels,
                            sample_rate, audio, state, created_at, updated_at)
        VALUES (:track_id, :user_id, :key, :sha256, :size, :filename, :title, :duration, :bitrate, :mode, :channels,
                :sample_rate, :audio, 'ready', :created_at, :created_at)
        RETURNING *
        """,
        {
            **{name: getattr(track, name) for name in NewTrack.__slots__},
            "audio": orjson.dumps(track.audio).decode(),
        },
    ).fetchone()
    return row
