"""Pages of the tracks of one user, by key and not by number: page 2,000 costs what page 1 costs.

A page is walked along the index of what it is sorted by, unless only few tracks can be meant (``selection.py``). Where
several things sort, the tracks that are equal in the first are a listing of their own, sorted by the others.

The rows leave SQLite as JSON documents, in one row: the module gives the interpreter lock away once for each row it
steps to, and fifty hand-overs to a busy event loop cost more than the query. ``schemas/tracks.py`` defines the members;
a test holds the SQL here equal to it.
"""

import itertools
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from service.catalogue.database import Database
from service.catalogue.selection import FEW, LISTED, MANY, NARROW, Condition, Selection, column_of
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
_CALLS = 8
_PATIENCE = 800_000
"""Instructions of SQLite's machine for a walk, which takes some twenty for a row that it passes: some milliseconds."""

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


def _read(connection: sqlite3.Connection, listing: Listing) -> Page:
    selection = Selection(listing.user_id, listing.conditions)
    keys = tuple((column_of(name), down != listing.is_backwards) for name, down in ordered(listing.sort))

    def ask(leg: str, parameters: Mapping[str, Any]) -> sqlite3.Row:
        sql = _statement(leg, keys, listing.fields)
        row: sqlite3.Row = connection.execute(sql, {**parameters, "limit": listing.limit}).fetchone()
        return row

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
    columns = [column for column, _ in order]
    walked = _walked(selection, order)
    parameters = {**selection.parameters, **_bound(position), "count": count}
    where = _behind(selection, order, position)
    leg = f"SELECT number, {_columns(keys)} FROM {{}} WHERE {where} {_sorted(order)} LIMIT :count"
    along = leg.format("tracks INDEXED BY tracks_by_{}").format

    if walked is not None and {column_of(column) for column, _, _ in selection.conditions} <= {walked}:
        return ask(along(walked), parameters)
    if (numbers := selection.few(connection, walked)) is not None:
        return ask(leg.format(LISTED), {**parameters, "numbers": numbers})
    if walked is None:
        if (column := selection.narrow(connection, columns, NARROW, selection.bearable(walked))) is not None:
            return ask(along(column), parameters)
        found = orjson.dumps(_grouped(connection, selection, order, position, count)).decode()
        return ask(f"SELECT number, {_columns(keys)} FROM {LISTED}", {"numbers": found})
    # Nobody knows how soon enough are met where a range has to do with the order, so that ever more is tried.
    if selection.has_ranges_beside(walked):
        with patience(connection, _PATIENCE // 8):
            return ask(along(walked), parameters)
        column = selection.narrow(connection, columns, NARROW, selection.bearable(walked))
        if column is not None:
            return ask(along(column), parameters)
    with patience(connection, _PATIENCE):
        return ask(along(walked), parameters)
    if (column := selection.narrow(connection, columns, MANY, 2 * FEW)) is not None:
        return ask(along(column), parameters)
    if (numbers := selection.few(connection, walked, MANY)) is not None:
        return ask(leg.format(LISTED), {**parameters, "numbers": numbers})
    return ask(along(walked), parameters)


def _behind(selection: Selection, order: Sequence[Key], position: Position | None) -> str:
    """What holds for the tracks behind the position. A walk begins at one bound: of two SQLite would take any."""
    if position is None:
        return selection.where
    column, side, first = order[0][0], "<" if order[0][1] else ">", position[0]
    bound = selection.bound(column, side)
    if bound is None or isinstance(first, str):
        return f"{selection.where} AND {beyond(order)}"
    value, operator = bound
    if (first < value if side == "<" else first > value) or (first == value and "=" in operator):
        return f"{selection.where_beside(column, side)} AND {beyond(order)}"
    return selection.where


def _walked(selection: Selection, order: Sequence[Key]) -> str | None:
    """The column whose index has the selected tracks in that order; None when none has."""
    columns = [column for column, _ in order]
    if len({down for _, down in order}) > 1:
        return None
    if columns == ["created_at", "track_id"]:
        return selection.most_fixed or "created_at"
    return columns[0] if columns[1:] == ["created_at", "track_id"] else None


@contextmanager
def patience(connection: sqlite3.Connection, instructions: int) -> Iterator[None]:
    """Leave the block when what is asked inside takes longer.

    SQLite goes on counting where a statement was the last time, so that the first of the calls may come at once.
    """
    calls = itertools.count(1)
    connection.set_progress_handler(lambda: next(calls) > _CALLS, max(1, instructions // _CALLS))
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

    Tracks that equal each other in the first column are a group. Twice as many as are asked for, read in the order of
    that column alone, go from the first of the position's group to somewhere in another. Either of these two may have a
    million tracks: then it is a listing of its own, in an order of less.
    """

    def numbers(leg: str, parameters: Mapping[str, Any]) -> sqlite3.Row:
        sql = f"SELECT json_group_array(number), count(*) FROM ({leg})"
        row: sqlite3.Row = connection.execute(sql, parameters).fetchone()
        return row

    def of_group(value: Any, behind: Position | None, missing: int) -> list[int]:
        group = selection.narrowed((column, "=", value))
        found: list[int] = orjson.loads(_first(connection, group, rest, behind, missing, numbers)[0])
        return found

    (column, down), *rest = order
    if column == "created_at":  # it stands before the id in every index, although it tells nothing of equals
        rest.insert(-1, (column, rest[-1][1]))
    side, ahead = "<" if down else ">", selection
    first: Any = None
    if position is not None:
        first = position[0]
        ahead = selection.narrowed((column, f"{side}=", first))
    lead = [(each, down) for each in dict.fromkeys((column, "created_at", "track_id"))]
    read, there = _first(connection, ahead, lead, None, 2 * count, numbers)
    if there < 2 * count:
        return _resorted(connection, read, order, position)[:count]
    last, is_first = connection.execute(
        f"SELECT {column}, {column} = :first FROM tracks WHERE number = :last",
        {"first": first, "last": orjson.loads(read)[-1]},
    ).fetchone()
    found, behind = [], None
    if position is not None and is_first:
        behind = position[1:] if column != "created_at" else (*position[1:-1], first, position[-1])
    else:
        found = _resorted(connection, read, order, position, (f"{column} <> :last", last))[:count]
    if len(found) < count:
        found += of_group(last, behind, count - len(found))
    if len(found) < count:
        others = selection.narrowed((column, side, last))
        found += _grouped(connection, others, order, None, count - len(found))
    return found


def _resorted(
    connection: sqlite3.Connection,
    numbers: str,
    order: Sequence[Key],
    position: Position | None,
    test: tuple[str, Any] = ("TRUE", None),
) -> list[int]:
    where = f"{test[0]} AND {beyond(order)}" if position is not None else test[0]
    sql = f"SELECT json_group_array(number) FROM (SELECT number FROM {LISTED} WHERE {where} {_sorted(order)})"
    parameters = {**_bound(position), "numbers": numbers, "last": test[1]}
    resorted: list[int] = orjson.loads(connection.execute(sql, parameters).fetchone()[0])
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
