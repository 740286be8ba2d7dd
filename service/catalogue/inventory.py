"""What the catalogue says the disk has, for who looks from outside of the service.

Plain connections, no handles of the app: these functions block, and run beside a service as well as without one.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

BUSY_S = 5.0


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The catalogue at `path`, to read from. What a crash left in its log counts."""
    with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as connection:
        connection.execute("PRAGMA query_only = ON")
        yield connection


def copy(path: Path, target: Path) -> None:
    """Copy the catalogue to a new file `target`, as it is at one moment; others may write meanwhile."""
    with opened(path) as source, closing(sqlite3.connect(target)) as copied:
        source.backup(copied)


def list_blobs(connection: sqlite3.Connection) -> Iterator[tuple[str, bytes, int]]:
    """Key, SHA-256 and size of every blob that has tracks, in the order of keys."""
    yield from connection.execute("SELECT key, sha256, size FROM blobs WHERE state = 'ready' ORDER BY key")


def is_ready(connection: sqlite3.Connection, key: str) -> bool:
    """Whether there is such a blob, and it has tracks."""
    return bool(connection.execute("SELECT 1 FROM blobs WHERE key = ? AND state = 'ready'", (key,)).fetchone())


def may_have_file(connection: sqlite3.Connection, key: str) -> bool:
    """Whether a blob of that name may be on the disk: it is one, was one, or is becoming one."""
    found = connection.execute(
        """
        SELECT 1 WHERE EXISTS (SELECT 1 FROM blobs WHERE key = :key)
            OR EXISTS (SELECT 1 FROM uploads WHERE upload_id = :key AND state = 'receiving')
            OR EXISTS (SELECT 1 FROM reserved_keys WHERE key = :key)
        """,
        {"key": key},
    )
    return found.fetchone() is not None


def list_pictures(connection: sqlite3.Connection) -> Iterator[bytes]:
    """The digest of every cover."""
    for (digest,) in connection.execute("SELECT digest FROM covers ORDER BY digest"):
        yield digest


def has_picture(connection: sqlite3.Connection, digest: bytes) -> bool:
    """Whether there is such a cover."""
    return bool(connection.execute("SELECT 1 FROM covers WHERE digest = ?", (digest,)).fetchone())


def offsets(connection: sqlite3.Connection) -> dict[str, int]:
    """What each unfinished upload was promised to have."""
    return dict(connection.execute("""SELECT upload_id, "offset" FROM uploads WHERE state = 'receiving'"""))


def faults(connection: sqlite3.Connection) -> list[str]:
    """What is wrong with the catalogue in itself: pages, references, accounts that are not the sum of their rows."""
    found = [f"the database: {text}" for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        found.append(f"row {row} of {table} refers to a row of {parent} that is not there")
    lacking = connection.execute(
        """
        SELECT track_id FROM tracks LEFT JOIN blobs USING (key)
        WHERE blobs.state IS NOT 'ready' OR blobs.sha256 != tracks.sha256 OR blobs.size != tracks.size
        """
    )
    found += [f"track {track_id} has a blob that is not what it says" for (track_id,) in lacking]
    accounts = connection.execute(
        """
        SELECT name, used_bytes, used_tracks, reserved_bytes,
               (SELECT ifnull(sum(size), 0) FROM tracks WHERE tracks.user_id = users.user_id),
               (SELECT count(*) FROM tracks WHERE tracks.user_id = users.user_id),
               (SELECT ifnull(sum(reserved_bytes), 0) FROM uploads
                WHERE uploads.user_id = users.user_id AND state = 'receiving')
        FROM users
        """
    )
    for name, *figures in accounts:
        said, counted = tuple(figures[:3]), tuple(figures[3:])
        if said != counted:
            found.append(f"the account of {name} says (bytes, tracks, reserved) {said}, and its rows {counted}")
    return found
