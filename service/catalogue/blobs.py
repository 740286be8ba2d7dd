"""The blobs of the catalogue: ``ready`` ones belong to tracks, ``deleting`` ones have only their file left to lose."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import orjson

from service.catalogue.database import Database


def reserve(connection: sqlite3.Connection, keys: Sequence[str], taken: Sequence[str]) -> None:
    """From now on these keys, and those that are taken of earlier ones, may have a file before a blob has them."""
    connection.execute(
        "DELETE FROM reserved_keys WHERE key NOT IN (SELECT value FROM json_each(?))", (orjson.dumps(taken).decode(),)
    )
    connection.execute("INSERT INTO reserved_keys (key) SELECT value FROM json_each(?)", (orjson.dumps(keys).decode(),))


async def list_reserved(database: Database) -> list[str]:
    """All keys that were reserved and are no blob's."""
    rows = await database.read("SELECT key FROM reserved_keys WHERE key NOT IN (SELECT key FROM blobs)")
    return [row["key"] for row in rows]


def end_reservations(connection: sqlite3.Connection, left: Sequence[str], *, now: int) -> None:
    """Nobody uses a reserved key any more; those that are `left` have a file, which is to be removed."""
    connection.execute(
        """
        INSERT INTO blobs (key, sha256, size, state, created_at)
        SELECT value, x'', 0, 'deleting', ? FROM json_each(?)
        """,
        (now, orjson.dumps(left).decode()),
    )
    connection.execute("DELETE FROM reserved_keys")


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
