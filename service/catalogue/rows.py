"""A page of the rows of any table by key, for listings too small to be worth SQL of their own."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.catalogue.listing import Listing, Position, beyond


@dataclass(frozen=True, slots=True)
class Rows:
    """``before`` and ``after`` are positions, None where there is nothing more; ``count`` None when nobody asked."""

    rows: list[sqlite3.Row]
    before: Position | None
    after: Position | None
    count: int | None


def read_page(
    connection: sqlite3.Connection, table: str, key: str, where: str, values: Mapping[str, Any], listing: Listing
) -> Rows:
    """The page of `listing` of those rows of `table` that are `where`; `key` is the column that tells them apart."""
    keys = [*listing.sort, (key, listing.sort[-1][1])]
    keys = [(column, is_descending != listing.is_backwards) for column, is_descending in keys]
    order = ", ".join(f"{column} {'DESC' if is_descending else 'ASC'}" for column, is_descending in keys)
    position = {f"p{number}": value for number, value in enumerate(listing.position or ())}
    rows = connection.execute(
        f"""
        SELECT * FROM {table} WHERE {where}{f" AND {beyond(keys)}" if position else ""}
        ORDER BY {order} LIMIT :limit + 1
        """,
        {**values, **position, "limit": listing.limit},
    ).fetchall()
    found, is_more = rows[: listing.limit], len(rows) > listing.limit
    near = _position(found[0], keys) if found and position else None
    far = _position(found[-1], keys) if is_more else None
    count = None
    if listing.is_counted:
        count = connection.execute(f"SELECT count(*) FROM {table} WHERE {where}", values).fetchone()[0]
    if listing.is_backwards:
        return Rows(found[::-1], far, near, count)
    return Rows(found, near, far, count)


def _position(row: sqlite3.Row, keys: list[tuple[str, bool]]) -> Position:
    return tuple(row[column] for column, _ in keys)
