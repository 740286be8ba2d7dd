"""How many tracks there are of each artist, album, genre and year.

Of all tracks of a user triggers keep count, in ``facets``. With conditions they are counted when asked for. Where they
are most of all, the others are counted and subtracted.
"""

import sqlite3
from typing import Any

import orjson

from service.catalogue.database import Database
from service.catalogue.listing import check_same, patience
from service.catalogue.selection import INDEXED, LISTED, Condition, Selection, column_of

FACETS = ("artist", "album", "album_artist", "genre", "year")
"""What is counted by. Texts that differ in ASCII case only count together; tracks without one are not counted."""

_SOME = 300_000
"""Copies of what is counted of so many tracks take some 25 MB."""
_SOON = 3_000_000
"""Instructions of SQLite's machine."""
_LISTED = "SELECT json_group_array(json_object('value', value, 'count', tracks)) FROM ({})"
_KNOWN = {name: "sort_year >= 0" if name == "year" else f"{name} <> ''" for name in FACETS}


async def count_facets(
    database: Database, user_id: str, conditions: tuple[Condition, ...], names: tuple[str, ...], limit: int
) -> dict[str, orjson.Fragment]:
    """For each name the `limit` values that most tracks have, ``[{value, count}]`` as JSON, by count and value.

    Raises:
        NotFound: ``same_as`` names no track of the user.
    """
    return await database.run_reading(lambda connection: _count(connection, user_id, conditions, names, limit))


async def count_soon(
    database: Database, user_id: str, conditions: tuple[Condition, ...], names: tuple[str, ...], limit: int
) -> dict[str, orjson.Fragment]:
    """The same for who would rather go without than wait some tenths of a second: then there are no names."""

    def count(connection: sqlite3.Connection) -> dict[str, orjson.Fragment]:
        with patience(connection, _SOON):
            return _count(connection, user_id, conditions, names, limit)
        return {}

    return await database.run_reading(count)


def _count(
    connection: sqlite3.Connection, user_id: str, conditions: tuple[Condition, ...], names: tuple[str, ...], limit: int
) -> dict[str, orjson.Fragment]:
    assert set(names) <= set(FACETS)
    selection = Selection(user_id, conditions)
    check_same(connection, selection)
    if not conditions:
        return {name: _kept(connection, user_id, name, limit) for name in names}
    if (numbers := selection.others(connection, _SOME)) is not None:
        return _of_most(connection, user_id, numbers, names, limit)
    if (some := selection.some(connection, _SOME)) is not None:
        return _of_some(connection, selection, some, names, limit)
    return {name: _of_many(connection, selection, name, limit) for name in names}


def _kept(connection: sqlite3.Connection, user_id: str, name: str, limit: int) -> orjson.Fragment:
    values = """
        SELECT value, tracks FROM facets INDEXED BY facets_by_tracks
        WHERE user_id = :user AND name = :name ORDER BY tracks DESC, value LIMIT :limit
    """
    parameters = {"user": user_id, "name": name, "limit": limit}
    return orjson.Fragment(connection.execute(_LISTED.format(values), parameters).fetchone()[0])


def _of_some(
    connection: sqlite3.Connection,
    selection: Selection,
    some: tuple[str, dict[str, Any]],
    names: tuple[str, ...],
    limit: int,
) -> dict[str, orjson.Fragment]:
    tracks, parameters = some
    lists = ", ".join(f"({_LISTED.format(_of(name, 'hits'))})" for name in names)
    columns = ", ".join(column_of(name) for name in names)
    row = connection.execute(
        f"WITH hits AS MATERIALIZED (SELECT {columns} FROM {tracks} WHERE {selection.where}) SELECT {lists}",
        {**parameters, "limit": limit},
    ).fetchone()
    return {name: orjson.Fragment(values) for name, values in zip(names, row, strict=True)}


def _of_most(
    connection: sqlite3.Connection, user_id: str, others: str, names: tuple[str, ...], limit: int
) -> dict[str, orjson.Fragment]:
    columns = ", ".join(column_of(name) for name in names)
    lists = ", ".join(f"({_LISTED.format(_without(name))})" for name in names)
    row = connection.execute(
        f"WITH hits AS MATERIALIZED (SELECT {columns} FROM {LISTED}) SELECT {lists}",
        {"user": user_id, "numbers": others, "limit": limit},
    ).fetchone()
    return {name: orjson.Fragment(values) for name, values in zip(names, row, strict=True)}


def _without(name: str) -> str:
    column = column_of(name)
    return f"""
        WITH others AS MATERIALIZED (
            SELECT {column} AS value, count(*) AS tracks FROM hits WHERE {_KNOWN[name]} GROUP BY {column}
        )
        SELECT facets.value, facets.tracks - ifnull(others.tracks, 0) AS tracks
        FROM facets LEFT JOIN others ON others.value = facets.value
        WHERE user_id = :user AND name = '{name}' AND facets.tracks > ifnull(others.tracks, 0)
        ORDER BY 2 DESC, 1 LIMIT :limit
    """


def _of_many(connection: sqlite3.Connection, selection: Selection, name: str, limit: int) -> orjson.Fragment:
    # Along the index each value comes as one run: no copies of a million texts are sorted, and few rows are looked up.
    index = column_of(name) if column_of(name) in INDEXED else "created_at"
    values = _of(name, f"tracks INDEXED BY tracks_by_{index}", selection.where_indexed)
    return orjson.Fragment(
        connection.execute(_LISTED.format(values), {**selection.parameters, "limit": limit}).fetchone()[0]
    )


def _of(name: str, tracks: str, where: str = "TRUE") -> str:
    column = column_of(name)
    return f"""
        SELECT {column} AS value, count(*) AS tracks FROM {tracks} WHERE {where} AND {_KNOWN[name]}
        GROUP BY {column} ORDER BY tracks DESC, value LIMIT :limit
    """
