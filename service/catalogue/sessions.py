"""The sessions of the catalogue: who is logged in, from where, and until when."""

import sqlite3
from dataclasses import dataclass, fields

from service.catalogue.database import Database

MAX_PER_USER = 1000


@dataclass(frozen=True, slots=True)
class Session:
    """One row without its secret. ``expires_at`` is the absolute end; times are microseconds."""

    session_id: str
    user_id: str
    address: str
    user_agent: str
    created_at: int
    last_seen_at: int
    expires_at: int


COLUMNS = ", ".join(each.name for each in fields(Session))


def insert(connection: sqlite3.Connection, session: Session, secret_sha256: bytes) -> None:
    """Add a session. Of more than `MAX_PER_USER` those that were not seen for longest end."""
    connection.execute(
        f"INSERT INTO sessions ({COLUMNS}, secret_sha256) VALUES ({', '.join('?' * len(fields(Session)))}, ?)",
        [*(getattr(session, each.name) for each in fields(Session)), secret_sha256],
    )
    connection.execute(
        """
        DELETE FROM sessions WHERE session_id IN (
            SELECT session_id FROM sessions WHERE user_id = ? ORDER BY last_seen_at DESC, session_id DESC
            LIMIT -1 OFFSET ?
        )
        """,
        (session.user_id, MAX_PER_USER),
    )


def end(connection: sqlite3.Connection, user_id: str, session_id: str) -> bool:
    """End one session of the user; False when there is none."""
    done = connection.execute("DELETE FROM sessions WHERE user_id = ? AND session_id = ?", (user_id, session_id))
    return done.rowcount == 1


def end_all(connection: sqlite3.Connection, user_id: str, *, but: str = "") -> int:
    """End every session of the user but one; how many."""
    return connection.execute("DELETE FROM sessions WHERE user_id = ? AND session_id != ?", (user_id, but)).rowcount


def end_overdue(connection: sqlite3.Connection, *, now: int, idle: int) -> int:
    """Remove what is over: past the absolute end, or not seen for `idle` microseconds; how many."""
    return connection.execute(
        "DELETE FROM sessions WHERE expires_at <= ? OR last_seen_at <= ?", (now, now - idle)
    ).rowcount


def touch(connection: sqlite3.Connection, session_id: str, *, now: int) -> None:
    """Note that the session is alive."""
    connection.execute(
        "UPDATE sessions SET last_seen_at = max(last_seen_at, ?) WHERE session_id = ?", (now, session_id)
    )


async def find_with_user(database: Database, secret_sha256: bytes, *, now: int, idle: int) -> sqlite3.Row | None:
    """A session that lives and whose user is not disabled: its columns and ``name``, ``is_admin``; or None."""
    return await database.find(
        """
        SELECT session_id, user_id, last_seen_at, expires_at, name, is_admin FROM sessions JOIN users USING (user_id)
        WHERE secret_sha256 = ? AND expires_at > ? AND last_seen_at > ? AND disabled_at IS NULL
        """,
        (secret_sha256, now, now - idle),
    )


async def all_of_user(database: Database, user_id: str, *, now: int, idle: int) -> list[Session]:
    """The sessions of the user that live, the newest first."""
    rows = await database.read(
        f"""
        SELECT {COLUMNS} FROM sessions WHERE user_id = ? AND expires_at > ? AND last_seen_at > ?
        ORDER BY created_at DESC, session_id DESC
        """,
        (user_id, now, now - idle),
    )
    return [Session(**dict(row)) for row in rows]
