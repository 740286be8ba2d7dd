"""Collections of the catalogue: the named lists themselves; ``items`` has what stands in them."""

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any

from service.catalogue.database import Database
from service.catalogue.listing import Listing
from service.catalogue.rows import Rows, read_page
from service.errors import Conflict, NotFound

MAX_PER_USER = 1000

SORTS = ("created_at", "updated_at", "name")
"""What a page can be sorted by; each has an index that ends in the id."""

Check = Callable[[sqlite3.Row], None]
"""Looks at a collection before it is changed, and raises when it must not be."""


def create(
    connection: sqlite3.Connection, user_id: str, collection_id: str, name: str, description: str, *, now: int
) -> sqlite3.Row:
    """Add an empty collection; its row.

    Raises:
        Conflict: the user has `MAX_PER_USER` collections.
    """
    count = connection.execute("SELECT count(*) FROM collections WHERE user_id = ?", (user_id,)).fetchone()[0]
    if count >= MAX_PER_USER:
        raise Conflict(f"There are {MAX_PER_USER} collections already; delete one first.", limit=MAX_PER_USER)
    row: sqlite3.Row = connection.execute(
        """
        INSERT INTO collections (collection_id, user_id, name, description, created_at, updated_at)
        VALUES (?, ?, ?, ?, ?, ?) RETURNING *
        """,
        (collection_id, user_id, name, description, now, now),
    ).fetchone()
    return row


def own(connection: sqlite3.Connection, user_id: str, collection_id: str) -> sqlite3.Row:
    """The user's own collection.

    Raises:
        NotFound: there is none, or it is another user's.
    """
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM collections WHERE collection_id = ? AND user_id = ?", (collection_id, user_id)
    ).fetchone()
    if row is None:
        raise NotFound("There is no such collection.")
    return row


async def get_collection(database: Database, user_id: str, collection_id: str) -> sqlite3.Row:
    """The user's own collection.

    Raises:
        NotFound: there is none, or it is another user's.
    """
    return await database.run_reading(lambda connection: own(connection, user_id, collection_id))


def change(
    connection: sqlite3.Connection,
    user_id: str,
    collection_id: str,
    patch: Mapping[str, str],
    *,
    now: int,
    check: Check,
) -> sqlite3.Row:
    """Give it another ``name`` or ``description``; its row then. What changes nothing makes no new version.

    Raises:
        NotFound: there is no such collection of this user.
    """
    row = own(connection, user_id, collection_id)
    check(row)
    values = {name: patch[name] for name in ("name", "description") if name in patch}
    if all(row[name] == value for name, value in values.items()):
        return row
    return update(connection, collection_id, values, now=now)


def update(connection: sqlite3.Connection, collection_id: str, values: Mapping[str, Any], *, now: int) -> sqlite3.Row:
    """Set columns and make a new version of it; its row then."""
    assignments = "".join(f"{name} = :{name}, " for name in values)
    row: sqlite3.Row = connection.execute(
        f"""
        UPDATE collections SET {assignments}version = version + 1, updated_at = :updated_at
        WHERE collection_id = :collection_id RETURNING *
        """,
        {**values, "updated_at": now, "collection_id": collection_id},
    ).fetchone()
    return row


def delete(connection: sqlite3.Connection, user_id: str, collection_id: str, *, check: Check) -> None:
    """Forget it and its order; the tracks stay.

    Raises:
        NotFound: there is no such collection of this user.
    """
    check(own(connection, user_id, collection_id))
    connection.execute("DELETE FROM collections WHERE collection_id = ?", (collection_id,))


async def page_collections(database: Database, listing: Listing) -> Rows:
    """One page of the user's collections; the one condition there is compares ``name``."""
    assert {column for column, _ in listing.sort} <= set(SORTS)
    where, values = "user_id = :user_id", {"user_id": listing.user_id}
    for column, operator, value in listing.conditions:
        assert (column, operator) == ("name", "=")
        where, values = f"{where} AND name = :name", {**values, "name": value}
    return await database.run_reading(
        lambda connection: read_page(connection, "collections", "collection_id", where, values, listing)
    )
