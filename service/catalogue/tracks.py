"""The tracks of the catalogue: what is listed, served and described.

A word about a track is known three ways: what a user gave (in ``given``), what the file says (in ``tags``), and what
counts (a column of its own), which is the first of the two that there is. So a user's word can be taken back.

``version`` counts what people change, ``revision`` what analysis finds; only the first can be lost by overwriting.
"""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from service.catalogue import blobs, items, search
from service.catalogue.database import Database
from service.errors import Conflict, Invalid, NotFound

TEXTS = ("title", "artist", "album", "album_artist", "genre", "composer", "comment")
NUMBERS = ("year", "track_number", "disc_number")
WORDS = (*TEXTS, *NUMBERS)
"""What both a user and the file can say about a track."""

MAX_LABELS = 32

_IS_OPEN = "EXISTS (SELECT 1 FROM jobs WHERE jobs.track_id = tracks.track_id AND jobs.state != 'failed')"

Check = Callable[[sqlite3.Row], None]
"""Looks at a row before it is changed, and raises when it must not be."""


@dataclass(frozen=True, slots=True)
class NewTrack:
    """What a finished upload puts into the catalogue. `audio` is the inspector's report as JSON members."""

    track_id: str
    user_id: str
    key: str
    sha256: bytes
    size: int
    filename: str
    title: str
    duration: float
    bitrate: int
    mode: str
    channels: int
    sample_rate: int
    audio: dict[str, Any]
    created_at: int
    given: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cover:
    """A picture that lies rendered in the store of covers, by the digest of what it was made of."""

    digest: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Description:
    """What a look at the file found. ``reason`` says why there are no tags, None when they could be read.

    ``frames_sha256``, ``audio_start`` and ``audio_end`` are None when even the frames could not be walked again.
    """

    tags: dict[str, Any]
    reason: str | None = None
    cover: Cover | None = None
    frames_sha256: bytes | None = None
    audio_start: int | None = None
    audio_end: int | None = None
    is_by_file: bool = True
    """Whether a failure is the file's; when the machine failed, what an earlier look found stays."""


def title_of(filename: str) -> str:
    """The title of a track nobody has named: its file name without the suffix."""
    stem = filename[:-4] if filename.lower().endswith(".mp3") else filename
    return stem.strip() or filename


def insert(connection: sqlite3.Connection, track: NewTrack) -> sqlite3.Row:
    """Add a track whose blob is there; its row, and in ``copy_of`` the oldest of the user's tracks of equal bytes."""
    columns = {name: getattr(track, name) for name in NewTrack.__slots__}
    row: sqlite3.Row = connection.execute(
        """
        INSERT INTO tracks (track_id, user_id, key, sha256, size, filename, title, given, duration, bitrate, mode,
                            channels, sample_rate, audio, state, created_at, updated_at, words, marks, word_bits,
                            mark_bits)
        VALUES (:track_id, :user_id, :key, :sha256, :size, :filename, :title, :given, :duration, :bitrate, :mode,
                :channels, :sample_rate, :audio, 'analysing', :created_at, :created_at, :words, :marks, :word_bits,
                :mark_bits)
        RETURNING *, (
            SELECT track_id FROM tracks AS other INDEXED BY tracks_by_sha256
            WHERE user_id = :user_id AND sha256 = :sha256 AND track_id <> :track_id AND trashed_at IS NULL
            ORDER BY number LIMIT 1
        ) AS copy_of
        """,
        {
            **columns,
            "duration": round(track.duration, 6),  # a microsecond is finer than a sample, and reads the same everywhere
            "audio": _packed(track.audio),
            "given": _packed(track.given),
            **search.indexed({**search.UNKNOWN, **columns}),
        },
    ).fetchone()
    return row


async def get_track(database: Database, user_id: str, track_id: str) -> sqlite3.Row:
    """The user's own track, also when it is in the trash.

    Raises:
        NotFound: there is none, or it is another user's.
    """
    row = await database.find("SELECT * FROM tracks WHERE track_id = ? AND user_id = ?", (track_id, user_id))
    if row is None:
        raise NotFound("There is no such track.")
    return row


def change(
    connection: sqlite3.Connection, user_id: str, track_id: str, patch: Mapping[str, Any], *, now: int, check: Check
) -> sqlite3.Row:
    """Apply a merge patch of `WORDS` and ``labels``; the row as it is then. What changes nothing makes no new version.

    Raises:
        NotFound: there is no such track of this user.
        Conflict: it is in the trash.
        Invalid: it would have too many labels.
    """
    row = _own(connection, user_id, track_id)
    check(row)
    _refuse_trashed(row)
    given = {**orjson.loads(row["given"]), **{name: patch[name] for name in WORDS if name in patch}}
    values = _words(row, {name: word for name, word in given.items() if word is not None})
    if "labels" in patch:
        values["labels"] = _packed(_labels(orjson.loads(row["labels"]), patch["labels"]))
    if all(row[name] == value for name, value in values.items()):
        return row
    return _update(connection, row, values, now)


def give_title(connection: sqlite3.Connection, track_id: str, title: str) -> sqlite3.Row:
    """Name a track, which stays as old as it is: the name belongs to its upload. Its row then."""
    row = get_row(connection, track_id)
    values = _words(row, {**orjson.loads(row["given"]), "title": title})
    return _update(connection, row, values, row["updated_at"])


def describe(connection: sqlite3.Connection, track_id: str, found: Description, *, now: int) -> sqlite3.Row | None:
    """Note what the file says, from which the words of the user are kept apart; None when the track has gone."""
    row = find_row(connection, track_id)
    if row is None:
        return None
    if not found.is_by_file and row["metadata"] == "available":
        return row
    if found.cover is not None:
        add_cover(connection, found.cover, now)
    cover = found.cover.digest if found.cover else None
    values = {
        **_words(row, orjson.loads(row["given"]), found.tags),
        "metadata": "available" if found.reason is None else "unavailable",
        "metadata_reason": found.reason,
        "cover_tagged": cover,
        "cover": row["cover_given"] or cover,
        "frames_sha256": found.frames_sha256,
        "audio_start": found.audio_start,
        "audio_end": found.audio_end,
    }
    return _update(connection, row, values, now, "revision")


def give_cover(
    connection: sqlite3.Connection, user_id: str, track_id: str, cover: Cover | None, *, now: int, check: Check
) -> sqlite3.Row:
    """Give the track a picture of the user's choice, or with None the one of the file again; its row then.

    Raises:
        NotFound: there is no such track of this user.
        Conflict: it is in the trash.
    """
    row = _own(connection, user_id, track_id)
    check(row)
    _refuse_trashed(row)
    if cover is not None:
        add_cover(connection, cover, now)
    digest = cover.digest if cover else None
    return _update(connection, row, {"cover_given": digest, "cover": digest or row["cover_tagged"]}, now)


def hear(connection: sqlite3.Connection, track_id: str, sound_id: str | None, *, now: int) -> bool:
    """Note which tracks it sounds like; whether it is still there."""
    done = connection.execute(
        "UPDATE tracks SET sound_id = ?, revision = revision + 1, updated_at = ? WHERE track_id = ?",
        (sound_id, now, track_id),
    )
    return done.rowcount == 1


def settle(connection: sqlite3.Connection, track_id: str, *, now: int) -> None:
    """The track is ready, if no job has still to look at it."""
    connection.execute(
        f"""
        UPDATE tracks SET state = 'ready', revision = revision + 1, updated_at = ?
        WHERE track_id = ? AND state = 'analysing' AND NOT {_IS_OPEN}
        """,
        (now, track_id),
    )


def trash(connection: sqlite3.Connection, user_id: str, track_id: str, *, now: int, check: Check) -> sqlite3.Row:
    """Put the track into the trash, where it still counts for the quota; nothing changes when it is there already.

    Raises:
        NotFound: there is no such track of this user.
    """
    row = _own(connection, user_id, track_id)
    check(row)
    if row["trashed_at"] is not None:
        return row
    items.hide(connection, track_id)
    return _update(connection, row, {"state": "trashed", "trashed_at": now}, now)


def restore(connection: sqlite3.Connection, user_id: str, track_id: str, *, now: int, check: Check) -> sqlite3.Row:
    """Take the track out of the trash.

    Raises:
        NotFound: there is no such track of this user.
        Conflict: it is not in the trash.
    """
    row = _own(connection, user_id, track_id)
    check(row)
    if row["trashed_at"] is None:
        raise Conflict("The track is not in the trash.")
    items.show(connection, track_id)
    return _update(connection, row, {"state": _settled(connection, track_id), "trashed_at": None}, now)


def purge(connection: sqlite3.Connection, *, trashed_before: int, limit: int) -> int:
    """Forget tracks that are in the trash since before that moment, and release what they took; how many there were.

    A blob that no track has any more becomes ``deleting`` in the same transaction.
    """
    rows = connection.execute(
        "SELECT track_id, user_id, key, size FROM tracks WHERE trashed_at < ? ORDER BY trashed_at LIMIT ?",
        (trashed_before, limit),
    ).fetchall()
    connection.executemany("DELETE FROM tracks WHERE track_id = ?", [(row["track_id"],) for row in rows])
    connection.executemany(
        "UPDATE users SET used_bytes = used_bytes - ?, used_tracks = used_tracks - 1 WHERE user_id = ?",
        [(row["size"], row["user_id"]) for row in rows],
    )
    blobs.release(connection, {row["key"] for row in rows})
    return len(rows)


async def page_unshown_covers(database: Database, *, created_before: int, after: bytes, limit: int) -> list[bytes]:
    """Digests of pictures that no track shows, behind that one. Those just added may be on their way to a track."""
    rows = await database.read(
        """
        SELECT digest FROM covers
        WHERE digest > ? AND created_at < ?
          AND NOT EXISTS (SELECT 1 FROM tracks WHERE cover_given = digest)
          AND NOT EXISTS (SELECT 1 FROM tracks WHERE cover_tagged = digest)
        ORDER BY digest LIMIT ?
        """,
        (after, created_before, limit),
    )
    return [row[0] for row in rows]


def forget_covers(connection: sqlite3.Connection, digests: list[bytes]) -> None:
    """Forget pictures that no track shows and whose files are gone."""
    connection.executemany("DELETE FROM covers WHERE digest = ?", [(digest,) for digest in digests])


def find_row(connection: sqlite3.Connection, track_id: str) -> sqlite3.Row | None:
    """Anybody's track."""
    row: sqlite3.Row | None = connection.execute("SELECT * FROM tracks WHERE track_id = ?", (track_id,)).fetchone()
    return row


def get_row(connection: sqlite3.Connection, track_id: str) -> sqlite3.Row:
    """Anybody's track, which is there."""
    row = find_row(connection, track_id)
    if row is None:
        raise NotFound("There is no such track.")
    return row


def _own(connection: sqlite3.Connection, user_id: str, track_id: str) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM tracks WHERE track_id = ? AND user_id = ?", (track_id, user_id)
    ).fetchone()
    if row is None:
        raise NotFound("There is no such track.")
    return row


def _refuse_trashed(row: sqlite3.Row) -> None:
    if row["trashed_at"] is not None:
        raise Conflict("The track is in the trash; restore it first.")


def _settled(connection: sqlite3.Connection, track_id: str) -> str:
    row = connection.execute(f"SELECT {_IS_OPEN} FROM tracks WHERE track_id = ?", (track_id,)).fetchone()
    return "analysing" if row[0] else "ready"


def add_cover(connection: sqlite3.Connection, cover: Cover, now: int) -> None:
    """Note a picture, whether a track shows it already or not; what none shows is swept away after a while."""
    connection.execute(
        "INSERT INTO covers (digest, width, height, created_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (cover.digest, cover.width, cover.height, now),
    )


def _update(
    connection: sqlite3.Connection, row: sqlite3.Row, values: Mapping[str, Any], now: int, counter: str = "version"
) -> sqlite3.Row:
    values = {**values, **search.changed(row, values)}
    assignments = ", ".join(f"{name} = :{name}" for name in values)
    updated: sqlite3.Row = connection.execute(
        f"""
        UPDATE tracks SET {assignments}, {counter} = {counter} + 1, updated_at = :updated_at
        WHERE track_id = :track_id RETURNING *
        """,
        {**values, "updated_at": now, "track_id": row["track_id"]},
    ).fetchone()
    return updated


def _words(row: sqlite3.Row, given: dict[str, Any], tags: dict[str, Any] | None = None) -> dict[str, Any]:
    """The columns of a track of which the user says `given`, and the file `tags` or what it said before."""
    if tags is None:
        tags = orjson.loads(row["tags"])
    words = {name: given.get(name, tags.get(name)) for name in WORDS}
    blank = {**dict.fromkeys(TEXTS, ""), "title": title_of(row["filename"])}
    return {
        **{name: blank.get(name) if word is None else word for name, word in words.items()},
        "given": _packed(given),
        "tags": _packed(tags),
    }


def _packed(document: Mapping[str, Any]) -> str:
    return orjson.dumps(document).decode()


def _labels(labels: dict[str, str], patch: Mapping[str, str | None] | None) -> dict[str, str]:
    merged = {**labels, **patch} if patch is not None else {}
    kept = {name: text for name, text in sorted(merged.items()) if text is not None}
    if len(kept) > MAX_LABELS:
        raise Invalid(errors=[{"pointer": "/labels", "detail": f"A track may have {MAX_LABELS} labels."}])
    return kept
