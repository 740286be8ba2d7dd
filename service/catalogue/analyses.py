"""What decoding found of a track: numbers for its report, the peaks of its waveform, a fingerprint of its sound."""

import sqlite3
from dataclasses import dataclass
from typing import Any

import orjson

from service.catalogue.database import Database


@dataclass(frozen=True, slots=True)
class Analysis:
    """``report`` has JSON members; ``peaks`` are 8-bit minimum and maximum by turns, each pair of so many samples."""

    report: dict[str, Any]
    sample_rate: int
    samples_per_point: int
    peaks: bytes
    fingerprint: bytes | None


def save(connection: sqlite3.Connection, track_id: str, analysis: Analysis, *, now: int) -> None:
    """Note it in the place of an older one."""
    connection.execute(
        """
        INSERT OR REPLACE INTO analyses
            (track_id, report, sample_rate, samples_per_point, peaks, fingerprint, created_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        """,
        (
            track_id,
            orjson.dumps(analysis.report).decode(),
            analysis.sample_rate,
            analysis.samples_per_point,
            analysis.peaks,
            analysis.fingerprint,
            now,
        ),
    )


async def find(database: Database, user_id: str, track_id: str) -> sqlite3.Row | None:
    """What is known of the user's own track, or None."""
    return await database.find(
        "SELECT analyses.* FROM analyses JOIN tracks USING (track_id) WHERE track_id = ? AND user_id = ?",
        (track_id, user_id),
    )


async def of_like_duration(
    database: Database, user_id: str, track_id: str, *, duration: float, tolerance: float, limit: int
) -> list[sqlite3.Row]:
    """Track ids, sound ids and fingerprints of the user's other tracks that last about as long, the most alike first.

    They are chosen by the index alone: a fingerprint lies behind 64 KiB of peaks, and there may be many thousands.
    """
    return await database.read(
        """
        SELECT track_id, sound_id, fingerprint
        FROM (SELECT track_id FROM tracks INDEXED BY tracks_by_duration
              WHERE user_id = :user_id AND is_trashed = 0 AND track_id != :track_id
                AND duration BETWEEN :duration - :tolerance AND :duration + :tolerance
              ORDER BY abs(duration - :duration), track_id LIMIT :limit)
        CROSS JOIN tracks USING (track_id)
        CROSS JOIN analyses USING (track_id)
        WHERE fingerprint IS NOT NULL
        """,
        {"user_id": user_id, "track_id": track_id, "duration": duration, "tolerance": tolerance, "limit": limit},
    )
