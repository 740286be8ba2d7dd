"""What stands in a collection: items, each of them a track at a place. The same track may stand there more than once.

Items are numbered within their collection, and a number never comes back. An item whose track is in the trash is
hidden: it is neither shown nor counted, but keeps its place; when the track is purged, the item goes with it.

Their order is that of ``rank``, which has gaps, so that one can be put between two others without touching those.
"""

import sqlite3
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import orjson

from service.catalogue import collections
from service.catalogue.collections import Check
from service.catalogue.database import Database
from service.catalogue.listing import Listing, Position, document
from service.catalogue.rows import read_page
from service.errors import Conflict, NotFound

MAX_ITEMS = 10_000

# Between two neighbours: others can be put there 32 times before all ranks are made anew.
_STEP = 1 << 32
_FAR = 1 << 60


@dataclass(frozen=True, slots=True)
class Item:
    """``position`` counts the items that are shown, from 1 on. ``track`` is a JSON document."""

    item_id: int
    position: int
    track: str


@dataclass(frozen=True, slots=True)
class Items:
    """A page of the items of `collection`; ``before`` and ``after`` are positions, None where there is no more."""

    collection: sqlite3.Row
    items: list[Item]
    before: Position | None
    after: Position | None


async def page_items(database: Database, collection_id: str, listing: Listing) -> Items:
    """One page of what stands in the user's collection. Sorted by ``position`` only.

    Raises:
        NotFound: there is no such collection of this user.
    """
    ((_, is_descending),) = listing.sort
    ranked = replace(listing, sort=(("rank", is_descending),), is_counted=False)
    return await database.run_reading(lambda connection: _read_page(connection, collection_id, ranked))


def _read_page(connection: sqlite3.Connection, collection_id: str, listing: Listing) -> Items:
    row = collections.own(connection, listing.user_id, collection_id)
    where, values = "collection_id = :collection_id AND is_hidden = 0", {"collection_id": collection_id}
    page = read_page(connection, "collection_items", "item_id", where, values, listing)
    items = []
    if page.rows:
        first, step = _position(connection, page.rows[0]), -1 if listing.sort[0][1] else 1
        tracks = _documents(connection, {each["track_id"] for each in page.rows}, listing.fields)
        items = [
            Item(each["item_id"], first + number * step, tracks[each["track_id"]])
            for number, each in enumerate(page.rows)
        ]
    return Items(row, items, page.before, page.after)


async def get_item(database: Database, user_id: str, collection_id: str, item_id: int, fields: tuple[str, ...]) -> Item:
    """One item of the user's collection.

    Raises:
        NotFound: there is none, it is in another user's collection, or its track is in the trash.
    """

    def read(connection: sqlite3.Connection) -> Item:
        row = _own_item(connection, user_id, collection_id, item_id)
        if row["is_hidden"]:
            raise NotFound("The track of the item is in the trash.")
        tracks = _documents(connection, {row["track_id"]}, fields)
        return Item(item_id, _position(connection, row), tracks[row["track_id"]])

    return await database.run_reading(read)


async def all_tracks(database: Database, user_id: str, collection_id: str) -> tuple[sqlite3.Row, list[sqlite3.Row]]:
    """The collection and what is shown in it, in order: what a player or an archive needs of the tracks.

    Raises:
        NotFound: there is no such collection of this user.
    """

    def read(connection: sqlite3.Connection) -> tuple[sqlite3.Row, list[sqlite3.Row]]:
        row = collections.own(connection, user_id, collection_id)
        rows = connection.execute(
            """
            SELECT track_id, title, artist, duration, tracks.size, tracks.sha256, key, crc32, tracks.created_at
            FROM collection_items JOIN tracks USING (track_id) JOIN blobs USING (key)
            WHERE collection_id = ? AND is_hidden = 0 ORDER BY rank, item_id
            """,
            (collection_id,),
        ).fetchall()
        return row, rows

    return await database.run_reading(read)


def add(
    connection: sqlite3.Connection,
    user_id: str,
    collection_id: str,
    track_ids: Sequence[str],
    position: int | None,
    *,
    now: int,
    check: Check,
) -> tuple[sqlite3.Row, list[Item]]:
    """Put tracks there from `position` on, at the end without one or where there is none; the collection then, and
    the new items, whose tracks have only their ``id``.

    Raises:
        NotFound: there is no such collection or track of this user.
        Conflict: a track is in the trash, or there would be more than `MAX_ITEMS`.
    """
    row = collections.own(connection, user_id, collection_id)
    check(row)
    _require_addable(connection, user_id, track_ids)
    _require_room(_count(connection, collection_id) + len(track_ids))
    position = min(position or MAX_ITEMS + 1, row["track_count"] + 1)
    first = row["next_item"]
    numbers = range(first, first + len(track_ids))
    ranks = _ranks(connection, collection_id, position, len(track_ids))
    _insert(connection, collection_id, zip(numbers, track_ids, ranks, strict=True))
    values = {"next_item": first + len(track_ids), **_sums(connection, row, added=track_ids)}
    added = [
        Item(number, place, f'{{"id":"{track_id}"}}')
        for number, place, track_id in zip(numbers, count(position), track_ids, strict=False)
    ]
    return collections.update(connection, collection_id, values, now=now), added


def arrange(
    connection: sqlite3.Connection,
    user_id: str,
    collection_id: str,
    *,
    item_ids: Sequence[int] | None = None,
    track_ids: Sequence[str] | None = None,
    now: int,
    check: Check,
) -> sqlite3.Row:
    """Make this its whole order, given as different items that are there or as any tracks; the collection then.

    Of a track that stands there already the item is kept. What is not named leaves, but for hidden items, which nobody
    sees and so nobody can name: they stay behind what they stood behind.

    Raises:
        NotFound: there is no such collection, item or track of this user.
        Conflict: a new track is in the trash, or there would be more than `MAX_ITEMS`.
    """
    row = collections.own(connection, user_id, collection_id)
    check(row)
    old = connection.execute(
        "SELECT * FROM collection_items WHERE collection_id = ? ORDER BY rank, item_id", (collection_id,)
    ).fetchall()
    new: dict[int, str] = {}
    if item_ids is not None:
        wanted = _named(old, item_ids)
    else:
        wanted, new = _matched(old, track_ids or (), row["next_item"])
        _require_addable(connection, user_id, list(new.values()))
    order = _with_hidden(old, wanted)
    _require_room(len(order))
    if order == [each["item_id"] for each in old]:
        return row
    kept = set(order)
    gone = [each for each in old if each["item_id"] not in kept]
    connection.executemany(
        "DELETE FROM collection_items WHERE collection_id = ? AND item_id = ?",
        [(collection_id, each["item_id"]) for each in gone],
    )
    ranks = {item_id: place * _STEP for place, item_id in enumerate(order, 1)}
    connection.executemany(
        "UPDATE collection_items SET rank = ? WHERE collection_id = ? AND item_id = ?",
        [
            (ranks[each["item_id"]], collection_id, each["item_id"])
            for each in old
            if ranks.get(each["item_id"], each["rank"]) != each["rank"]
        ],
    )
    _insert(connection, collection_id, [(item_id, track_id, ranks[item_id]) for item_id, track_id in new.items()])
    values = {
        "next_item": row["next_item"] + len(new),
        **_sums(
            connection, row, added=list(new.values()), gone=[each["track_id"] for each in gone if not each["is_hidden"]]
        ),
    }
    return collections.update(connection, collection_id, values, now=now)


def remove(
    connection: sqlite3.Connection, user_id: str, collection_id: str, item_id: int, *, now: int, check: Check
) -> sqlite3.Row:
    """Take one item out; the collection then.

    Raises:
        NotFound: there is no such collection of this user, or no such item in it.
    """
    row = collections.own(connection, user_id, collection_id)
    item = _own_item(connection, user_id, collection_id, item_id)
    check(row)
    connection.execute("DELETE FROM collection_items WHERE collection_id = ? AND item_id = ?", (collection_id, item_id))
    gone = [] if item["is_hidden"] else [item["track_id"]]
    return collections.update(connection, collection_id, _sums(connection, row, gone=gone), now=now)


def hide(connection: sqlite3.Connection, track_id: str) -> None:
    """The track went into the trash."""
    _show(connection, track_id, is_hidden=True)


def show(connection: sqlite3.Connection, track_id: str) -> None:
    """The track came out of the trash."""
    _show(connection, track_id, is_hidden=False)


def _show(connection: sqlite3.Connection, track_id: str, *, is_hidden: bool) -> None:
    connection.execute(
        """
        UPDATE collections SET
            track_count = track_count + :sign * found.items,
            duration_us = duration_us + :sign * found.microseconds,
            size = size + :sign * found.bytes,
            revision = revision + 1
        FROM (
            SELECT collection_id AS id, count(*) AS items, sum(tracks.size) AS bytes,
                   sum(CAST(round(duration * 1000000) AS INTEGER)) AS microseconds
            FROM collection_items JOIN tracks USING (track_id)
            WHERE track_id = :track_id AND is_hidden != :is_hidden GROUP BY collection_id
        ) AS found
        WHERE collection_id = found.id
        """,
        {"track_id": track_id, "is_hidden": is_hidden, "sign": -1 if is_hidden else 1},
    )
    connection.execute("UPDATE collection_items SET is_hidden = ? WHERE track_id = ?", (is_hidden, track_id))


def _own_item(connection: sqlite3.Connection, user_id: str, collection_id: str, item_id: int) -> sqlite3.Row:
    collections.own(connection, user_id, collection_id)
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM collection_items WHERE collection_id = ? AND item_id = ?", (collection_id, item_id)
    ).fetchone()
    if row is None:
        raise NotFound("There is no such item in the collection.", item_id=item_id)
    return row


def _position(connection: sqlite3.Connection, item: sqlite3.Row) -> int:
    position: int = connection.execute(
        """
        SELECT count(*) FROM collection_items
        WHERE collection_id = :collection_id AND is_hidden = 0 AND (rank, item_id) <= (:rank, :item_id)
        """,
        dict(item),
    ).fetchone()[0]
    return position


def _documents(connection: sqlite3.Connection, track_ids: Iterable[str], fields: tuple[str, ...]) -> dict[str, str]:
    rows = connection.execute(
        f"SELECT track_id, {document(fields)} FROM tracks WHERE track_id IN (SELECT value FROM json_each(?))",
        (_json(list(track_ids)),),
    )
    return {row[0]: row[1] for row in rows}


def _count(connection: sqlite3.Connection, collection_id: str) -> int:
    found: int = connection.execute(
        "SELECT count(*) FROM collection_items WHERE collection_id = ?", (collection_id,)
    ).fetchone()[0]
    return found


def _require_room(count: int) -> None:
    if count > MAX_ITEMS:
        raise Conflict(f"A collection may have {MAX_ITEMS} items, those of trashed tracks included.", limit=MAX_ITEMS)


def _require_addable(connection: sqlite3.Connection, user_id: str, track_ids: Sequence[str]) -> None:
    rows = connection.execute(
        """
        SELECT DISTINCT value AS track_id, tracks.track_id IS NULL AS is_missing
        FROM json_each(:ids) LEFT JOIN tracks ON tracks.track_id = value AND user_id = :user_id
        WHERE tracks.track_id IS NULL OR trashed_at IS NOT NULL LIMIT 1
        """,
        {"ids": _json(track_ids), "user_id": user_id},
    )
    for row in rows:
        if row["is_missing"]:
            raise NotFound("There is no such track.", track_id=row["track_id"])
        raise Conflict("The track is in the trash; restore it first.", track_id=row["track_id"])


def _ranks(connection: sqlite3.Connection, collection_id: str, position: int, count: int) -> range:
    """Ranks for `count` new items that begin at `position`, among the items that are shown."""
    low, high = _neighbours(connection, collection_id, position, count)
    if high - low <= count or not -_FAR < low < _FAR:
        _spread(connection, collection_id)
        low, high = _neighbours(connection, collection_id, position, count)
    gap = (high - low) // (count + 1)
    return range(low + gap, low + gap * count + 1, gap)


def _neighbours(connection: sqlite3.Connection, collection_id: str, position: int, count: int) -> tuple[int, int]:
    """The ranks between which `count` items at `position` have to stand; plenty of room where there is no neighbour."""
    room = _STEP * (count + 1)
    following = connection.execute(
        """
        SELECT rank FROM collection_items WHERE collection_id = ? AND is_hidden = 0
        ORDER BY rank, item_id LIMIT 1 OFFSET ?
        """,
        (collection_id, position - 1),
    ).fetchone()
    high = following[0] if following else None
    low = connection.execute(
        f"SELECT max(rank) FROM collection_items WHERE collection_id = ?{'' if high is None else ' AND rank < ?'}",
        (collection_id,) if high is None else (collection_id, high),
    ).fetchone()[0]
    if low is None:
        low = 0 if high is None else high - room
    return low, low + room if high is None else high


def _spread(connection: sqlite3.Connection, collection_id: str) -> None:
    connection.execute(
        """
        UPDATE collection_items SET rank = spread.place * :step
        FROM (
            SELECT item_id AS number, row_number() OVER (ORDER BY rank, item_id) AS place
            FROM collection_items WHERE collection_id = :collection_id
        ) AS spread
        WHERE collection_id = :collection_id AND item_id = spread.number
        """,
        {"collection_id": collection_id, "step": _STEP},
    )


def _insert(connection: sqlite3.Connection, collection_id: str, items: Iterable[tuple[int, str, int]]) -> None:
    connection.executemany(
        "INSERT INTO collection_items (collection_id, item_id, track_id, rank) VALUES (?, ?, ?, ?)",
        ((collection_id, *each) for each in items),
    )


def _sums(
    connection: sqlite3.Connection, row: sqlite3.Row, *, added: Sequence[str] = (), gone: Sequence[str] = ()
) -> dict[str, Any]:
    """The collection's sums when these tracks, which are not in the trash, came and went."""
    sums = {name: row[name] for name in ("track_count", "duration_us", "size")}
    for sign, track_ids in ((1, added), (-1, gone)):
        found = connection.execute(
            """
            SELECT count(*) AS track_count, ifnull(sum(CAST(round(duration * 1000000) AS INTEGER)), 0) AS duration_us,
                   ifnull(sum(size), 0) AS size
            FROM json_each(?) JOIN tracks ON track_id = value
            """,
            (_json(track_ids),),
        ).fetchone()
        for name in sums:
            sums[name] += sign * found[name]
    return sums


def _named(old: list[sqlite3.Row], item_ids: Sequence[int]) -> list[int]:
    known = {each["item_id"] for each in old}
    for item_id in item_ids:
        if item_id not in known:
            raise NotFound("There is no such item in the collection.", item_id=item_id)
    return list(item_ids)


def _matched(old: list[sqlite3.Row], track_ids: Sequence[str], next_item: int) -> tuple[list[int], dict[int, str]]:
    """The items that stand for these tracks, and which of them are new."""
    there: dict[str, deque[int]] = defaultdict(deque)
    for each in old:
        there[each["track_id"]].append(each["item_id"])
    wanted: list[int] = []
    new: dict[int, str] = {}
    for track_id in track_ids:
        if there[track_id]:
            wanted.append(there[track_id].popleft())
        else:
            wanted.append(next_item + len(new))
            new[wanted[-1]] = track_id
    return wanted, new


def _with_hidden(old: list[sqlite3.Row], wanted: list[int]) -> list[int]:
    """`wanted` and the hidden items it does not name, each behind the nearest before it that stays."""
    named = set(wanted)
    behind: dict[int | None, list[int]] = defaultdict(list)
    anchor = None
    for each in old:
        if each["item_id"] in named:
            anchor = each["item_id"]
        elif each["is_hidden"]:
            behind[anchor].append(each["item_id"])
    return behind[None] + [item for each in wanted for item in (each, *behind[each])]


def _json(values: Sequence[Any]) -> str:
    return orjson.dumps(list(values)).decode()
