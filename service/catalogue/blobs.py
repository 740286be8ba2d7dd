"""The blobs of the catalogue: ``ready`` ones belong to tracks, ``deleting`` ones have only their file left to lose."""

import sqlite3
from collections.abc import Iterable, Mapping

from service.catalogue.database import Database


def release(connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Mark those of the blobs that no track has any more; from then on they take no new reference."""
    connection.executemany(
        """
        UPDATE blobs SET state = 'deleting'
        WHERE key = ? AND state = 'ready' AND NOT EXISTS (SELECT 1 FROM tracks WHERE tracks.key = blobs.key)
        """,
        [(key,) for key in keys],
    )


def note_crc32s(connection: sqlite3.Connection, crc32s: Mapping[str, int]) -> None:
    """Keep what was found out about blobs, by key."""
    connection.executemany("UPDATE blobs SET crc32 = ? WHERE key = ?", [(crc, key) for key, crc in crc32s.items()])


async def page_deleting(database: Database, limit: int, after: str = "") -> list[str]:
    """Keys of blobs whose files are to be removed, in order, behind `after`."""
    rows = await database.read(
        "SELECT key FROM blobs WHERE state = 'deleting' AND key > ? ORDER BY key LIMIT ?", (after, limit)
    )
    return [row["key"] for row in rows]


def forget(connection: sqlite3.Connection, keys: Iterable[str]) -> None:
    """Remove blobs whose files are gone."""
    connection.executemany("DELETE FROM blobs WHERE key = ? AND state = 'deleting'", [(key,) for key in keys])
