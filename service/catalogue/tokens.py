"""The API tokens of the catalogue."""

import sqlite3
from dataclasses import dataclass, fields
from typing import Any

from service.catalogue.database import Database
from service.errors import Conflict, NotFound

MAX_PER_USER = 200


@dataclass(frozen=True, slots=True)
class Token:
    """One row without its secret. ``scopes`` in the order they were given; times are microseconds, None is never."""

    token_id: str
    user_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: int
    expires_at: int | None
    last_used_at: int | None = None


COLUMNS = ", ".join(each.name for each in fields(Token))


def _token(row: sqlite3.Row) -> Token:
    values: dict[str, Any] = dict(row)
    return Token(**{**values, "scopes": tuple(values["scopes"].split())})


def is_taken(connection: sqlite3.Connection, token_id: str) -> bool:
    """Whether there is a token of that id."""
    return connection.execute("SELECT 1 FROM tokens WHERE token_id = ?", (token_id,)).fetchone() is not None


def insert(connection: sqlite3.Connection, token: Token, secret_sha256: bytes) -> None:
    """Add a token whose id is not taken.

    Raises:
        Conflict: the user has `MAX_PER_USER` tokens.
    """
    count = connection.execute("SELECT count(*) FROM tokens WHERE user_id = ?", (token.user_id,)).fetchone()[0]
    if count >= MAX_PER_USER:
        raise Conflict(f"There are {MAX_PER_USER} tokens already; revoke one first.", limit=MAX_PER_USER)
    values = [" ".join(token.scopes) if each.name == "scopes" else getattr(token, each.name) for each in fields(Token)]
    connection.execute(
        f"INSERT INTO tokens ({COLUMNS}, secret_sha256) VALUES ({', '.join('?' * len(values))}, ?)",
        [*values, secret_sha256],
    )


def expiry(connection: sqlite3.Connection, token_id: str) -> int | None:
    """When the token ends; None for never.

    Raises:
        NotFound: there is no such token.
    """
    row = connection.execute("SELECT expires_at FROM tokens WHERE token_id = ?", (token_id,)).fetchone()
    if row is None:
        raise NotFound("There is no such token.")
    expires_at: int | None = row[0]
    return expires_at


def delete(connection: sqlite3.Connection, token_id: str, *, user_id: str | None = None) -> bool:
    """Revoke a token, of that user only where one is given; False when there is none."""
    done = connection.execute(
        "DELETE FROM tokens WHERE token_id = :token_id AND user_id = ifnull(:user_id, user_id)",
        {"token_id": token_id, "user_id": user_id},
    )
    return done.rowcount == 1


def touch(connection: sqlite3.Connection, token_id: str, *, now: int) -> None:
    """Note that the token was used."""
    connection.execute(
        "UPDATE tokens SET last_used_at = max(ifnull(last_used_at, 0), ?) WHERE token_id = ?", (now, token_id)
    )


async def find_with_user(database: Database, token_id: str, *, now: int) -> sqlite3.Row | None:
    """A token that has not expired and whose user is not disabled: its columns and ``name``, ``is_admin``; or None."""
    return await database.find(
        """
        SELECT token_id, secret_sha256, user_id, scopes, expires_at, last_used_at, users.name, is_admin
        FROM tokens JOIN users USING (user_id)
        WHERE token_id = :token_id AND ifnull(expires_at, :now + 1) > :now AND disabled_at IS NULL
        """,
        {"token_id": token_id, "now": now},
    )


async def get_of_user(database: Database, token_id: str, user_id: str) -> Token:
    """The user's own token.

    Raises:
        NotFound: there is none, or it is another user's.
    """
    row = await database.find(f"SELECT {COLUMNS} FROM tokens WHERE token_id = ? AND user_id = ?", (token_id, user_id))
    if row is None:
        raise NotFound("There is no such token.")
    return _token(row)


async def all_of_user(database: Database, user_id: str) -> list[Token]:
    """The tokens of the user, expired ones too, the newest first."""
    rows = await database.read(
        f"SELECT {COLUMNS} FROM tokens WHERE user_id = ? ORDER BY created_at DESC, token_id", (user_id,)
    )
    return [_token(row) for row in rows]
