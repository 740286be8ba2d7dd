"""Pages of the tracks of one user, by key and not by number: page 2,000 costs what page 1 costs.

The rows leave SQLite as JSON documents, in one row: the module gives the interpreter lock away once for each row it
steps to, and fifty hand-overs to a busy event loop cost more than the query. ``schemas/tracks.py`` defines the members;
a test holds the SQL here equal to it.
"""

import sqlite3
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from service.catalogue.database import Database

SORTS = ("created_at", "title", "artist", "album", "duration", "size")
"""What a page can be sorted by. None of them is ever NULL, and each has an index that ends in the track's id."""

_TIME = (
    "strftime('%Y-%m-%dT%H:%M:%S', {0} / 1000000, 'unixepoch')",
    "{0} % 1000000",
)

_COVER = "iif(cover IS NULL, 'null', printf('\"/tracks/%s/cover?v=%s\"', track_id, lower(substr(hex(cover), 1, 16))))"

# Member -> its printf format and the SQL of its values. What the service itself writes needs no quoting.
_MEMBERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "id": ('"%s"', ("track_id",)),
    "title": ("%s", ("json_quote(title)",)),
    "artist": ("%s", ("json_quote(artist)",)),
    "album": ("%s", ("json_quote(album)",)),
    "album_artist": ("%s", ("json_quote(album_artist)",)),
    "genre": ("%s", ("json_quote(genre)",)),
    "composer": ("%s", ("json_quote(composer)",)),
    "comment": ("%s", ("json_quote(comment)",)),
    "year": ("%s", ("json_quote(year)",)),
    "track_number": ("%s", ("json_quote(track_number)",)),
    "disc_number": ("%s", ("json_quote(disc_number)",)),
    "filename": ("%s", ("json_quote(filename)",)),
    "size": ("%d", ("size",)),
    "sha256": ('"%s"', ("lower(hex(sha256))",)),
    "content_type": ('"audio/mpeg"', ()),
    "duration": ("%!.15g", ("duration",)),
    "bitrate": ("%d", ("bitrate",)),
    "mode": ('"%s"', ("mode",)),
    "channels": ("%d", ("channels",)),
    "sample_rate": ("%d", ("sample_rate",)),
    "state": ('"%s"', ("state",)),
    "audio": ("%s", ("audio",)),
    "metadata": ('"%s"', ("metadata",)),
    "metadata_reason": ("%s", ("json_quote(metadata_reason)",)),
    "tags": ("%s", ("tags",)),
    "cover": ("%s", (_COVER,)),
    "labels": ("%s", ("labels",)),
    "created_at": ('"%s.%06dZ"', tuple(each.format("created_at") for each in _TIME)),
    "updated_at": ('"%s.%06dZ"', tuple(each.format("updated_at") for each in _TIME)),
    "url": ('"/tracks/%s/audio"', ("track_id",)),
}

FIELDS = tuple(_MEMBERS)

_OPERATORS = frozenset({"=", "<", "<=", ">", ">="})
_COLUMNS = frozenset(
    {*SORTS, "filename", "mode", "channels", "sample_rate", "sha256", "bitrate", "state"},
)
_SEPARATOR = "\x1e"  # never raw in JSON

Position = tuple[str | int | float, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Which tracks, in which order, which of them.

    ``conditions`` are (column, operator, value), ``sort`` is (column, is_descending). ``position`` has the sorted
    columns and the id of the row just outside of the page: before it, or behind it when ``is_backwards``.
    """

    user_id: str
    conditions: tuple[tuple[str, str, Any], ...] = ()
    sort: tuple[tuple[str, bool], ...] = (("created_at", True),)
    fields: tuple[str, ...] = FIELDS
    limit: int = 50
    position: Position | None = None
    is_backwards: bool = False
    is_counted: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """``items`` are JSON documents. ``before`` and ``after`` are positions, None where there is nothing more."""

    items: list[str]
    before: Position | None
    after: Position | None
    count: int | None


async def page_tracks(database: Database, listing: Listing) -> Page:
    """One page of the user's tracks; those in the trash only when ``state`` asks for them."""
    return await database.run_reading(lambda connection: _read(connection, listing))


def _read(connection: sqlite3.Connection, listing: Listing) -> Page:
    state = next((value for column, _, value in listing.conditions if column == "state"), None)
    shape = tuple((column, operator) for column, operator, _ in listing.conditions)
    is_trash = state == "trashed"
    where = [listing.user_id, *(value for _, _, value in listing.conditions)]
    sql = _statement(shape, is_trash, listing.sort, listing.fields, listing.position is not None, listing.is_backwards)
    position = _bound_position(listing)
    items, rows, *ends = connection.execute(
        sql, {**{f"w{number}": value for number, value in enumerate(where)}, **position, "limit": listing.limit}
    ).fetchone()
    documents = items.split(_SEPARATOR) if rows else []
    keys = len(listing.sort) + 1
    near, far = tuple(ends[:keys]), tuple(ends[keys:])
    is_more = rows > listing.limit
    before = near if rows and listing.position is not None else None
    after = far if is_more else None
    if listing.is_backwards:
        documents.reverse()
        before, after = after, before
    count = _count(connection, shape, is_trash, where) if listing.is_counted else None
    return Page(documents, before, after, count)


def _count(connection: sqlite3.Connection, shape: Any, is_trash: bool, where: list[Any]) -> int:
    sql = f"SELECT count(*) FROM tracks WHERE {_where(shape, is_trash)}"
    count: int = connection.execute(sql, {f"w{number}": value for number, value in enumerate(where)}).fetchone()[0]
    return count


def _bound_position(listing: Listing) -> dict[str, Any]:
    return {f"p{number}": value for number, value in enumerate(listing.position or ())}


@lru_cache(maxsize=512)
def _statement(
    conditions: tuple[tuple[str, str], ...],
    is_trash: bool,
    sort: tuple[tuple[str, bool], ...],
    fields: tuple[str, ...],
    has_position: bool,
    is_backwards: bool,
) -> str:
    keys = _keys(sort, is_backwards)
    columns = ", ".join(column for column, _ in keys)
    where = _where(conditions, is_trash)
    if has_position:
        where += f" AND {beyond(keys)}"
    order = ", ".join(f"{column} {'DESC' if is_descending else 'ASC'}" for column, is_descending in keys)
    near = ", ".join(f"(SELECT {column} FROM page LIMIT 1)" for column, _ in keys)
    far = ", ".join(f"(SELECT {column} FROM page LIMIT 1 OFFSET :limit - 1)" for column, _ in keys)
    # The keys alone first, which an index has: a sort that no index gives then moves keys and not documents.
    return f"""
        WITH page AS MATERIALIZED (
            SELECT tracks.rowid AS number, {columns} FROM tracks WHERE {where} ORDER BY {order} LIMIT :limit + 1
        )
        SELECT (SELECT group_concat({document(fields)}, char(30))
                FROM (SELECT number FROM page LIMIT :limit) CROSS JOIN tracks ON tracks.rowid = number),
               (SELECT count(*) FROM page), {near}, {far}
    """


def _keys(sort: tuple[tuple[str, bool], ...], is_backwards: bool) -> list[tuple[str, bool]]:
    assert {column for column, _ in sort} <= set(SORTS)
    keys = [*sort, ("track_id", sort[-1][1])]
    return [(column, is_descending != is_backwards) for column, is_descending in keys]


def _where(conditions: tuple[tuple[str, str], ...], is_trash: bool) -> str:
    terms = ["user_id = :w0", f"trashed_at IS {'NOT ' if is_trash else ''}NULL"]
    for number, (column, operator) in enumerate(conditions, 1):
        assert column in _COLUMNS
        assert operator in _OPERATORS
        terms.append(f"{column} {operator} :w{number}")
    return " AND ".join(terms)


def beyond(keys: list[tuple[str, bool]]) -> str:
    """The rows behind the position. Keys of one direction make one comparison, which is a single seek in an index."""
    signs = ["<" if is_descending else ">" for _, is_descending in keys]
    if len(set(signs)) == 1:
        columns = ", ".join(column for column, _ in keys)
        return f"({columns}) {signs[0]} ({', '.join(f':p{number}' for number in range(len(keys)))})"
    cases = []
    for number, (column, _) in enumerate(keys):
        equal = "".join(f"{keys[each][0]} = :p{each} AND " for each in range(number))
        cases.append(f"({equal}{column} {signs[number]} :p{number})")
    return f"{keys[0][0]} {signs[0]}= :p0 AND ({' OR '.join(cases)})"


def document(fields: tuple[str, ...]) -> str:
    """The SQL of a track as a JSON document of these members, where the columns of `tracks` can be read."""
    members = ",".join(f'"{name}":{_MEMBERS[name][0]}' for name in fields)
    values = [value for name in fields for value in _MEMBERS[name][1]]
    return f"printf('{{{members}}}'{''.join(f', {value}' for value in values)})"
