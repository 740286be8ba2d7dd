"""Pages of the tracks of one user, by key and not by number: page 2,000 costs what page 1 costs.

A page is walked along the index of what it is sorted by, unless only few tracks can be meant (``selection.py``). Where
several things sort, the tracks that are equal in the first are a listing of their own, sorted by the others.

The rows leave SQLite as JSON documents, in one row: the module gives the interpreter lock away once for each row it
steps to, and fifty hand-overs to a busy event loop cost more than the query. ``schemas/tracks.py`` defines the members;
a test holds the SQL here equal to it.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from service.catalogue.database import Database
from service.catalogue.selection import LISTED, MANY, Condition, Selection, column_of
from service.errors import NotFound

SORTS = ("created_at", "title", "artist", "album", "genre", "year", "duration", "size", "bitrate")
"""What a page can be sorted by. Equals are sorted by age; tracks of no known year come before the oldest."""

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

_SEPARATOR = "\x1e"  # never raw in JSON
_PATIENCE = 500_000
"""Instructions of SQLite's machine for a walk, which takes some fifteen for a row that it passes: some milliseconds."""

Position = tuple[str | int | float, ...]
Key = tuple[str, bool]
Ask = Callable[[str, Mapping[str, Any]], sqlite3.Row]


@dataclass(frozen=True, slots=True)
class Listing:
    """Which tracks, in which order, which of them.

    ``sort`` has (one of `SORTS`, is_descending). ``position`` has the values of what `ordered` makes of it, of the row
    just outside of the page: before it, or behind it when ``is_backwards``.
    """

    user_id: str
    conditions: tuple[Condition, ...] = ()
    sort: tuple[Key, ...] = (("created_at", True),)
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


def ordered(sort: tuple[Key, ...]) -> tuple[Key, ...]:
    """What tracks of that sort are in order of: what is equal otherwise by age and id, in the direction of the last."""
    is_descending = sort[-1][1]
    age = () if any(name == "created_at" for name, _ in sort) else (("created_at", is_descending),)
    return (*sort, *age, ("track_id", is_descending))


async def page_tracks(database: Database, listing: Listing) -> Page:
    """One page of the user's tracks; those in the trash only when ``state`` asks for them.

    Raises:
        NotFound: ``same_as`` names no track of the user.
    """
    return await database.run_reading(lambda connection: _read(connection, listing))


def check_same(connection: sqlite3.Connection, selection: Selection) -> None:
    """Refuse ``same_as`` of no track, which would look like a track without any others.

    Raises:
        NotFound: it names no track of the user.
    """
    for column, _, value in selection.conditions:
        if column == "same_as":
            sql = "SELECT 1 FROM tracks WHERE track_id = ? AND user_id = ?"
            if connection.execute(sql, (value, selection.user_id)).fetchone() is None:
                raise NotFound("There is no track that others could be the same as.")


def count_tracks(connection: sqlite3.Connection, selection: Selection) -> int:
    """How many there are. It takes longer the more there are: a tenth of a second for a million."""
    if selection.by_text is not None:
        sql, parameters = f"SELECT count(*) FROM ({selection.by_text})", selection.parameters
    else:
        tracks, parameters = selection.tracks(connection)
        sql = f"SELECT count(*) FROM {tracks} WHERE {selection.where}"
    count: int = connection.execute(sql, parameters).fetchone()[0]
    return count


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is read inside sees the same tracks."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _read(connection: sqlite3.Connection, listing: Listing) -> Page:
    selection = Selection(listing.user_id, listing.conditions)
    keys = tuple((column_of(name), down != listing.is_backwards) for name, down in ordered(listing.sort))

    def ask(leg: str, parameters: Mapping[str, Any]) -> sqlite3.Row:
        sql = _statement(leg, keys, listing.fields)
        row: sqlite3.Row = connection.execute(sql, {**parameters, "limit": listing.limit}).fetchone()
        return row

    with snapshot(connection):
        check_same(connection, selection)
        items, rows, *ends = _first(connection, selection, keys, listing.position, listing.limit + 1, ask)
        count = count_tracks(connection, selection) if listing.is_counted else None
    documents = items.split(_SEPARATOR) if rows else []
    near, far = tuple(ends[: len(keys)]), tuple(ends[len(keys) :])
    is_more = rows > listing.limit
    before = near if rows and listing.position is not None else None
    after = far if is_more else None
    if listing.is_backwards:
        documents.reverse()
        before, after = after, before
    return Page(documents, before, after, count)


def _first(
    connection: sqlite3.Connection,
    selection: Selection,
    keys: Sequence[Key],
    position: Position | None,
    count: int,
    ask: Ask,
) -> sqlite3.Row:
    """What `ask` makes of the SQL that gives ``number`` and `keys` of the first `count` tracks behind `position`."""
    if position is not None:
        position = tuple(value for key, value in zip(keys, position, strict=True) if key[0] not in selection.fixed)
    order = [key for key in keys if key[0] not in selection.fixed]
    walked = _walked(selection, order)
    few = selection.few(connection, walked)
    if few is None and walked is None:
        numbers = _grouped(connection, selection, order, position, count)
        return ask(f"SELECT number, {_columns(keys)} FROM {LISTED}", {"numbers": orjson.dumps(numbers).decode()})
    parameters = {**selection.parameters, **_bound(position), "count": count}
    behind = f" AND {beyond(order)}" if position is not None else ""
    leg = f"SELECT number, {_columns(keys)} FROM {{}} WHERE {selection.where}{behind} {_sorted(order)} LIMIT :count"
    walk = leg.format(f"tracks INDEXED BY tracks_by_{walked}")
    if few is None:
        with _patience(connection):
            return ask(walk, parameters)
        few = selection.few(connection, walked, MANY)
    return ask(walk if few is None else leg.format(LISTED), {**parameters, "numbers": few})


def _walked(selection: Selection, order: Sequence[Key]) -> str | None:
    """The column whose index has the selected tracks in that order; None when none has."""
    columns = [column for column, _ in order]
    if len({down for _, down in order}) > 1:
        return None
    if columns == ["created_at", "track_id"]:
        return min(selection.fixed, default="created_at")
    return columns[0] if columns[1:] == ["created_at", "track_id"] else None


@contextmanager
def _patience(connection: sqlite3.Connection) -> Iterator[None]:
    """Leave the block when what is asked inside takes too long."""
    connection.set_progress_handler(lambda: True, _PATIENCE)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
    finally:
        connection.set_progress_handler(None, 0)


def _grouped(
    connection: sqlite3.Connection, selection: Selection, order: Sequence[Key], position: Position | None, count: int
) -> list[int]:
    """The numbers of the first `count` tracks in an order that no index has.

    Those that equal the position in the first column; then as many as there are groups of equals that end among them;
    then the beginning of the next group. The groups at both ends may have a million tracks, and have an order of less.
    """

    def numbers(leg: str, parameters: Mapping[str, Any]) -> sqlite3.Row:
        sql = f"SELECT json_group_array(number), count(*) FROM ({leg})"
        row: sqlite3.Row = connection.execute(sql, parameters).fetchone()
        return row

    (column, down), *rest = order
    if column == "created_at":  # it stands before the id in every index, although it tells nothing of equals
        rest.insert(-1, (column, rest[-1][1]))
        position = position and (*position[:-1], position[0], position[-1])
    found: list[int] = []
    if position is not None:
        group = selection.narrowed((column, "=", position[0]))
        found += orjson.loads(_first(connection, group, rest, position[1:], count, numbers)[0])
        selection = selection.narrowed((column, "<" if down else ">", position[0]))
    missing = count - len(found)
    if not missing:
        return found
    lead = [(each, down) for each in dict.fromkeys((column, "created_at", "track_id"))]
    ahead, there = _first(connection, selection, lead, None, missing, numbers)
    if there < missing:
        return found + _resorted(connection, ahead, order)
    last = connection.execute(f"SELECT {column} FROM tracks WHERE number = ?", (orjson.loads(ahead)[-1],)).fetchone()[0]
    found += _resorted(connection, ahead, order, (f"{column} <> :last", last))
    group = selection.narrowed((column, "=", last))
    found += orjson.loads(_first(connection, group, rest, None, count - len(found), numbers)[0])
    return found


def _resorted(
    connection: sqlite3.Connection, numbers: str, order: Sequence[Key], test: tuple[str, Any] = ("TRUE", None)
) -> list[int]:
    sql = f"SELECT json_group_array(number) FROM (SELECT number FROM {LISTED} WHERE {test[0]} {_sorted(order)})"
    resorted: list[int] = orjson.loads(connection.execute(sql, {"numbers": numbers, "last": test[1]}).fetchone()[0])
    return resorted


def _bound(position: Position | None) -> dict[str, Any]:
    return {f"p{number}": value for number, value in enumerate(position or ())}


def _columns(keys: Sequence[Key]) -> str:
    return ", ".join(column for column, _ in keys)


def _sorted(order: Sequence[Key]) -> str:
    return f"ORDER BY {', '.join(f'{column} DESC' if down else column for column, down in order)}"


@lru_cache(maxsize=512)
def _statement(leg: str, keys: tuple[Key, ...], fields: tuple[str, ...]) -> str:
    near = ", ".join(f"(SELECT {column} FROM page LIMIT 1)" for column, _ in keys)
    far = ", ".join(f"(SELECT {column} FROM page LIMIT 1 OFFSET :limit - 1)" for column, _ in keys)
    # The keys alone first, which an index has: a sort that no index gives then moves keys and not documents.
    return f"""
        WITH page AS MATERIALIZED ({leg})
        SELECT (SELECT group_concat({document(fields)}, char(30))
                FROM (SELECT number AS listed FROM page LIMIT :limit) CROSS JOIN tracks ON tracks.number = listed),
               (SELECT count(*) FROM page), {near}, {far}
    """


def beyond(keys: Sequence[tuple[str, bool]]) -> str:
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
