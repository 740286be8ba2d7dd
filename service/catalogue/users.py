"""The users of the catalogue. Password hashes leave this file only towards who verifies them."""

import sqlite3
from dataclasses import dataclass, fields

from service.catalogue.database import Database
from service.errors import Conflict, NotFound


@dataclass(frozen=True, slots=True)
class User:
    """One row without its hash. ``quota_bytes`` is None where the setting holds; times are microseconds."""

    user_id: str
    name: str
    is_admin: bool
    quota_bytes: int | None
    used_bytes: int
    used_tracks: int
    reserved_bytes: int
    created_at: int
    updated_at: int
    disabled_at: int | None


COLUMNS = ", ".join(each.name for each in fields(User))


def _user(row: sqlite3.Row) -> User:
    values = {each.name: row[each.name] for each in fields(User)}
    return User(**{**values, "is_admin": bool(values["is_admin"])})


def insert(
    connection: sqlite3.Connection,
    user_id: str,
    name: str,
    password_hash: str,
    *,
    now: int,
    is_admin: bool = False,
    quota_bytes: int | None = None,
) -> None:
    """Add a user.

    Raises:
        Conflict: the name is taken; names differ by more than the case of their letters.
    """
    if connection.execute("SELECT 1 FROM users WHERE name = ?", (name,)).fetchone():
        raise Conflict(f"There is a user {name!r} already.")
    connection.execute(
        """
        INSERT INTO users (user_id, name, password_hash, is_admin, quota_bytes, created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        """,
        (user_id, name, password_hash, int(is_admin), quota_bytes, now, now),
    )


def insert_first(connection: sqlite3.Connection, user_id: str, name: str, password_hash: str, *, now: int) -> bool:
    """Add an administrator when there is no user at all; False when there is one."""
    if connection.execute("SELECT 1 FROM users LIMIT 1").fetchone():
        return False
    insert(connection, user_id, name, password_hash, now=now, is_admin=True)
    return True


def set_password_hash(connection: sqlite3.Connection, user_id: str, password_hash: str, *, now: int) -> None:
    """Give the user another hash."""
    connection.execute(
        "UPDATE users SET password_hash = ?, updated_at = ? WHERE user_id = ?", (password_hash, now, user_id)
    )


def has_password_hash(connection: sqlite3.Connection, user_id: str, password_hash: str) -> bool:
    """Whether the hash, verified a moment ago, still is the one of a user who is not disabled."""
    row = connection.execute(
        "SELECT 1 FROM users WHERE user_id = ? AND password_hash = ? AND disabled_at IS NULL", (user_id, password_hash)
    ).fetchone()
    return row is not None


def disable(connection: sqlite3.Connection, user_id: str, *, now: int) -> None:
    """From now on the user is nobody: sessions end, tokens sleep."""
    connection.execute(
        "UPDATE users SET disabled_at = ifnull(disabled_at, ?), updated_at = ? WHERE user_id = ?", (now, now, user_id)
    )
    connection.execute("DELETE FROM sessions WHERE user_id = ?", (user_id,))


def enable(connection: sqlite3.Connection, user_id: str, *, now: int) -> None:
    """The user may log in again, and the tokens work again."""
    connection.execute("UPDATE users SET disabled_at = NULL, updated_at = ? WHERE user_id = ?", (now, user_id))


async def probe(database: Database) -> None:
    """Read a row, whichever; raises what the database raises when it cannot be read."""
    await database.read("SELECT 1 FROM users LIMIT 1")


async def is_empty(database: Database) -> bool:
    """Whether there is no user at all."""
    return await database.find("SELECT 1 FROM users LIMIT 1") is None


async def find_for_login(database: Database, name: str) -> tuple[User, str] | None:
    """The user of that name, whatever its case, and the password hash."""
    row = await database.find(f"SELECT {COLUMNS}, password_hash FROM users WHERE name = ?", (name,))
    return (_user(row), row["password_hash"]) if row else None


async def get(database: Database, user_id: str) -> User:
    """The user.

    Raises:
        NotFound: there is none.
    """
    row = await database.find(f"SELECT {COLUMNS} FROM users WHERE user_id = ?", (user_id,))
    if row is None:
        raise NotFound("There is no such user.")
    return _user(row)


async def get_by_name(database: Database, name: str) -> User:
    """The user of that name, whatever its case.

    Raises:
        NotFound: there is none.
    """
    row = await database.find(f"SELECT {COLUMNS} FROM users WHERE name = ?", (name,))
    if row is None:
        raise NotFound(f"There is no user {name!r}.")
    return _user(row)


async def all_users(database: Database) -> list[User]:
    """Every user, by name."""
    return [_user(row) for row in await database.read(f"SELECT {COLUMNS} FROM users ORDER BY name")]
