"""The uploads of the catalogue, and the one transaction in which an upload becomes a track.

Quota is an account with two columns: ``reserved_bytes`` belong to uploads on their way, ``used_bytes`` to tracks. Every
function here that moves bytes between them does it in the transaction that changes the upload, so the sum never lies.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any

import orjson

from service.catalogue import clock, jobs, tracks
from service.catalogue.database import Database
from service.catalogue.tracks import NewTrack
from service.errors import NotFound, QuotaExceeded, TooManyUploads, UploadExpired


@dataclass(frozen=True, slots=True)
class Upload:
    """One row. ``offset`` is the durable one; ``length`` is None while unknown; times are microseconds.

    ``reserved_bytes`` are part of the user's only while the upload is receiving.

    ``metadata`` and ``concat`` are header fields of tus as they were sent, to be given back as they were. An upload
    that ``has_checksums`` keeps no bytes but those that were checked, whatever a crash has left. Of one that
    ``is_announced`` its client was told the address.
    """

    upload_id: str
    user_id: str
    state: str
    filename: str
    title: str | None
    offset: int
    length: int | None
    claimed_sha256: bytes | None
    metadata: str | None
    concat: str | None
    reserved_bytes: int
    boot_id: str
    created_at: int
    updated_at: int
    expires_at: int
    track_id: str | None = None
    problem: dict[str, Any] | None = None
    has_checksums: int = 0
    is_announced: int = 0


COLUMNS = ", ".join(f'"{each.name}"' for each in fields(Upload))
REMEMBERED = clock.DAY
"""How long at least an upload that has ended is known to have been there: who asks is told so, a 410."""


def _upload(row: sqlite3.Row) -> Upload:
    values = dict(row)
    if values["problem"] is not None:
        values["problem"] = orjson.loads(values["problem"])
    return Upload(**values)


def create(
    connection: sqlite3.Connection,
    upload: Upload,
    *,
    default_quota_bytes: int,
    quota_tracks: int,
    max_open_uploads: int,
    instead_of: int = 0,
) -> None:
    """Add an upload and reserve its bytes. So many open ones end with it, and do not count beside it.

    Raises:
        QuotaExceeded: the bytes, or one more track, do not fit.
        TooManyUploads: the user has too many unfinished uploads.
    """
    row = connection.execute(
        "SELECT count(*) FROM uploads WHERE state = 'receiving' AND user_id = ?", (upload.user_id,)
    ).fetchone()
    open_uploads = row[0] - instead_of
    if open_uploads >= max_open_uploads:
        raise too_many_uploads(max_open_uploads)
    used_tracks = reserve(connection, upload.user_id, upload.reserved_bytes, default_quota_bytes)
    if used_tracks + open_uploads >= quota_tracks:
        raise too_many_tracks(quota_tracks, used_tracks)
    connection.execute(
        f"INSERT INTO uploads ({COLUMNS}) VALUES ({', '.join('?' * len(fields(Upload)))})",
        [None if each.name == "problem" else getattr(upload, each.name) for each in fields(Upload)],
    )


async def check_quota(
    database: Database,
    user_id: str,
    size: int,
    *,
    default_quota_bytes: int,
    quota_tracks: int,
    max_open_uploads: int,
) -> None:
    """What `create` would say, and nothing else."""

    def check(connection: sqlite3.Connection) -> None:
        row = connection.execute(
            """
            SELECT used_tracks, used_bytes + reserved_bytes + ? > ifnull(quota_bytes, ?),
                   (SELECT count(*) FROM uploads WHERE state = 'receiving' AND user_id = ?)
            FROM users WHERE user_id = ?
            """,
            (size, default_quota_bytes, user_id, user_id),
        ).fetchone()
        if row is None:
            return
        used_tracks, is_over, open_uploads = row
        if open_uploads >= max_open_uploads:
            raise too_many_uploads(max_open_uploads)
        if is_over:
            raise quota_exceeded(connection, user_id, default_quota_bytes)
        if used_tracks + open_uploads >= quota_tracks:
            raise too_many_tracks(quota_tracks, used_tracks)

    await database.run_reading(check)


def too_many_uploads(limit: int) -> TooManyUploads:
    return TooManyUploads("Finish or terminate an upload first.", limit=limit)


def too_many_tracks(quota_tracks: int, used_tracks: int) -> QuotaExceeded:
    return QuotaExceeded("You may not store more tracks.", quota_tracks=quota_tracks, used_tracks=used_tracks)


def reserve(connection: sqlite3.Connection, user_id: str, size: int, default_quota_bytes: int) -> int:
    """Move `size` bytes of the user's quota into the reserved ones; how many tracks the user has.

    Raises:
        QuotaExceeded: they do not fit.
    """
    row = connection.execute(
        """
        UPDATE users SET reserved_bytes = reserved_bytes + :size
        WHERE user_id = :user_id AND (:size <= 0 OR used_bytes + reserved_bytes + :size <= ifnull(quota_bytes, :quota))
        RETURNING used_tracks
        """,
        {"user_id": user_id, "size": size, "quota": default_quota_bytes},
    ).fetchone()
    if row is None:
        raise quota_exceeded(connection, user_id, default_quota_bytes)
    return int(row[0])


def quota_exceeded(connection: sqlite3.Connection, user_id: str, default_quota_bytes: int) -> QuotaExceeded:
    """The error with the user's figures."""
    row = connection.execute(
        "SELECT ifnull(quota_bytes, ?), used_bytes, reserved_bytes FROM users WHERE user_id = ?",
        (default_quota_bytes, user_id),
    ).fetchone()
    return QuotaExceeded(
        "The upload does not fit into your quota.",
        quota_bytes=row[0],
        used_bytes=row[1],
        reserved_bytes=row[2],
    )


def reserve_more(connection: sqlite3.Connection, upload_id: str, size: int, default_quota_bytes: int) -> None:
    """Reserve `size` more bytes for an upload of unknown length.

    Raises:
        QuotaExceeded: they do not fit.
        UploadExpired: the upload is not receiving any more.
    """
    row = connection.execute(
        """
        UPDATE uploads SET reserved_bytes = reserved_bytes + ? WHERE upload_id = ? AND state = 'receiving'
        RETURNING user_id
        """,
        (size, upload_id),
    ).fetchone()
    if row is None:
        raise UploadExpired("The upload has ended.")
    reserve(connection, row[0], size, default_quota_bytes)


def set_length(connection: sqlite3.Connection, upload: Upload, length: int, default_quota_bytes: int) -> None:
    """The client has said how long the upload is: from now on it reserves just that.

    Raises:
        QuotaExceeded: it does not fit.
        UploadExpired: the upload is not receiving any more.
    """
    row = connection.execute(
        "SELECT reserved_bytes FROM uploads WHERE upload_id = ? AND state = 'receiving'", (upload.upload_id,)
    ).fetchone()
    if row is None:
        raise UploadExpired("The upload has ended.")
    reserve(connection, upload.user_id, length - row[0], default_quota_bytes)
    connection.execute(
        "UPDATE uploads SET length = ?, reserved_bytes = ? WHERE upload_id = ?", (length, length, upload.upload_id)
    )


def note_checksums(connection: sqlite3.Connection, upload_id: str) -> None:
    """From now on bytes behind the durable offset are worth nothing: nobody has checked them."""
    connection.execute("UPDATE uploads SET has_checksums = 1 WHERE upload_id = ?", (upload_id,))


def announce(connection: sqlite3.Connection, upload_id: str) -> None:
    """From now on a client knows where the upload is, and goes on with it."""
    connection.execute("UPDATE uploads SET is_announced = 1 WHERE upload_id = ?", (upload_id,))


def shrink(connection: sqlite3.Connection, upload_id: str) -> None:
    """From now on the upload reserves only what has come of it; `set_length` takes the rest again."""
    row = connection.execute(
        """
        UPDATE uploads SET reserved_bytes = "offset" WHERE upload_id = ? AND state = 'receiving'
        RETURNING user_id
        """,
        (upload_id,),
    ).fetchone()
    if row is not None:
        _sum_up_reserved(connection, row[0])


def _sum_up_reserved(connection: sqlite3.Connection, user_id: str) -> None:
    connection.execute(
        """
        UPDATE users SET reserved_bytes = (
            SELECT ifnull(sum(reserved_bytes), 0) FROM uploads WHERE user_id = :user_id AND state = 'receiving'
        ) WHERE user_id = :user_id
        """,
        {"user_id": user_id},
    )


def record_offset(connection: sqlite3.Connection, upload_id: str, offset: int, *, now: int, expires_at: int) -> None:
    """Note bytes that are on stable storage, and that the upload is alive.

    Raises:
        UploadExpired: the upload is not receiving any more.
    """
    done = connection.execute(
        """
        UPDATE uploads SET "offset" = max("offset", ?), updated_at = ?, expires_at = max(expires_at, ?)
        WHERE upload_id = ? AND state = 'receiving'
        """,
        (offset, now, expires_at, upload_id),
    )
    if done.rowcount != 1:
        raise UploadExpired("The upload has ended.")


def rejoin(connection: sqlite3.Connection, upload_id: str, *, offset: int, boot_id: str) -> None:
    """The upload goes on at `offset`, which is durable; from now on its part is one of this boot of the machine."""
    connection.execute('UPDATE uploads SET boot_id = ?, "offset" = ? WHERE upload_id = ?', (boot_id, offset, upload_id))


def rejoin_whole(connection: sqlite3.Connection, upload_ids: Iterable[str], boot_id: str) -> None:
    """The same for uploads of which nothing but durable bytes is there: they go on at the offset they have."""
    connection.executemany(
        "UPDATE uploads SET boot_id = ? WHERE upload_id = ?", [(boot_id, each) for each in upload_ids]
    )


def end(
    connection: sqlite3.Connection,
    upload_id: str,
    state: str,
    *,
    now: int,
    problem: dict[str, Any] | None = None,
) -> bool:
    """End a receiving upload otherwise than as a track and release what it reserved; False when it had ended before."""
    row = connection.execute(
        "SELECT user_id, reserved_bytes FROM uploads WHERE upload_id = ? AND state = 'receiving'", (upload_id,)
    ).fetchone()
    if row is None:
        return False
    connection.execute(
        """
        UPDATE uploads SET state = ?, reserved_bytes = 0, updated_at = ?, expires_at = max(expires_at, ?), problem = ?
        WHERE upload_id = ?
        """,
        (state, now, now + REMEMBERED, orjson.dumps(problem, default=str).decode() if problem else None, upload_id),
    )
    connection.execute("UPDATE users SET reserved_bytes = reserved_bytes - ? WHERE user_id = ?", (row[1], row[0]))
    return True


def finish(
    connection: sqlite3.Connection,
    upload_id: str,
    track: NewTrack,
    partials: Iterable[str] = (),
    *,
    expires_at: int = 0,
) -> sqlite3.Row:
    """Make the upload a track: blob, track, its first job, quota and upload in one transaction; the track's row.

    `partials` are the uploads it was put together from; they end with it, so their quota is never counted beside it.
    Until `expires_at`, if that is later than what was said before, the upload still answers.

    The bytes lie under ``track.key`` already. Equal bytes share one blob: when another upload brought them first, the
    track gets that one's key, and the file under ``track.key`` is on record as one to delete.

    Raises:
        UploadExpired: the upload is not receiving any more; nothing is changed.
    """
    row = connection.execute(
        """
        UPDATE uploads
        SET state = 'finished', "offset" = :size, length = :size, updated_at = :now, track_id = :track_id,
            expires_at = max(expires_at, :expires_at)
        WHERE upload_id = :upload_id AND state = 'receiving'
        RETURNING reserved_bytes
        """,
        {
            "size": track.size,
            "now": track.created_at,
            "track_id": track.track_id,
            "expires_at": expires_at,
            "upload_id": upload_id,
        },
    ).fetchone()
    if row is None:
        raise UploadExpired("The upload has ended.")
    track_row = _add_track(connection, track)
    connection.execute(
        """
        UPDATE users SET reserved_bytes = reserved_bytes - ?, used_bytes = used_bytes + ?, used_tracks = used_tracks + 1
        WHERE user_id = ?
        """,
        (row[0], track.size, track.user_id),
    )
    for partial_id in partials:
        end(connection, partial_id, "terminated", now=track.created_at)
    return track_row


def take_at_once(
    connection: sqlite3.Connection, track: NewTrack, *, default_quota_bytes: int, quota_tracks: int
) -> tuple[sqlite3.Row, int]:
    """Make a track of bytes that no upload's row knows of, as `finish` does.

    Returns its row, and how many unfinished uploads there are of that name whose clients were told no address.

    Raises:
        QuotaExceeded: the bytes, or one more track, do not fit; nothing is changed.
    """
    row = connection.execute(
        """
        WITH own AS (SELECT filename, is_announced FROM uploads WHERE state = 'receiving' AND user_id = :user_id)
        UPDATE users SET used_bytes = used_bytes + :size, used_tracks = used_tracks + 1
        WHERE user_id = :user_id
            AND used_bytes + reserved_bytes + :size <= ifnull(quota_bytes, :quota_bytes)
            AND used_tracks + (SELECT count(*) FROM own) < :quota_tracks
        RETURNING (SELECT count(*) FROM own WHERE filename = :filename AND NOT is_announced)
        """,
        {
            "user_id": track.user_id,
            "size": track.size,
            "filename": track.filename,
            "quota_bytes": default_quota_bytes,
            "quota_tracks": quota_tracks,
        },
    ).fetchone()
    if row is None:
        raise _why_not(connection, track, default_quota_bytes, quota_tracks)
    return _add_track(connection, track), row[0]


def _why_not(
    connection: sqlite3.Connection, track: NewTrack, default_quota_bytes: int, quota_tracks: int
) -> QuotaExceeded:
    row = connection.execute(
        """
        SELECT used_bytes + reserved_bytes + ? > ifnull(quota_bytes, ?), used_tracks FROM users WHERE user_id = ?
        """,
        (track.size, default_quota_bytes, track.user_id),
    ).fetchone()
    if row[0]:
        return quota_exceeded(connection, track.user_id, default_quota_bytes)
    return too_many_tracks(quota_tracks, row[1])


def _add_track(connection: sqlite3.Connection, track: NewTrack) -> sqlite3.Row:
    row = tracks.insert(connection, replace(track, key=_share_blob(connection, track)))
    jobs.queue(connection, "describe", [track.track_id], now=track.created_at)
    return row


def _share_blob(connection: sqlite3.Connection, track: NewTrack) -> str:
    row = connection.execute(
        """
        INSERT INTO blobs (key, sha256, size, state, created_at)
        SELECT :key, :sha256, :size,
               CASE WHEN EXISTS (SELECT 1 FROM blobs WHERE sha256 = :sha256 AND state = 'ready')
                    THEN 'deleting' ELSE 'ready' END,
               :now
        RETURNING state
        """,
        {"key": track.key, "sha256": track.sha256, "size": track.size, "now": track.created_at},
    ).fetchone()
    if row[0] == "ready":
        return track.key
    row = connection.execute("SELECT key FROM blobs WHERE sha256 = ? AND state = 'ready'", (track.sha256,)).fetchone()
    return str(row[0])


def replace_blob(connection: sqlite3.Connection, track: sqlite3.Row, key: str) -> sqlite3.Row:
    """Give the track, and all others with the same blob, the equal bytes that lie under `key`. Its row then.

    They are analysed again: whoever looked before may have found nothing.
    """
    connection.execute("UPDATE blobs SET state = 'deleting' WHERE key = ?", (track["key"],))
    connection.execute("UPDATE blobs SET state = 'ready' WHERE key = ?", (key,))
    rows = connection.execute("UPDATE tracks SET key = ? WHERE key = ? RETURNING track_id", (key, track["key"]))
    jobs.queue_again(connection, [each[0] for each in rows.fetchall()], now=clock.now())
    row: sqlite3.Row = connection.execute("SELECT * FROM tracks WHERE track_id = ?", (track["track_id"],)).fetchone()
    return row


async def find(database: Database, upload_id: str) -> Upload | None:
    """The upload, in whatever state, or None."""
    row = await database.find(f"SELECT {COLUMNS} FROM uploads WHERE upload_id = ?", (upload_id,))
    return _upload(row) if row else None


async def get(database: Database, upload_id: str, user_id: str) -> Upload:
    """The user's own upload.

    Raises:
        NotFound: there is none, or it is another user's.
    """
    upload = await find(database, upload_id)
    if upload is None or upload.user_id != user_id:
        raise NotFound("There is no such upload.")
    return upload


async def find_final(database: Database, user_id: str, concat: str) -> Upload | None:
    """The user's finished upload that was put together by that field of tus, while it is known."""
    row = await database.find(
        f"""
        SELECT {COLUMNS} FROM uploads WHERE state = 'finished' AND user_id = ? AND concat = ?
        ORDER BY created_at DESC LIMIT 1
        """,
        (user_id, concat),
    )
    return _upload(row) if row else None


async def find_open(database: Database, user_id: str, filename: str) -> Upload | None:
    """The user's newest unfinished upload of that name; pieces of another one do not count."""
    row = await database.find(
        f"""
        SELECT {COLUMNS} FROM uploads
        WHERE state = 'receiving' AND user_id = ? AND filename = ? AND ifnull(concat, '') != 'partial'
        ORDER BY created_at DESC LIMIT 1
        """,
        (user_id, filename),
    )
    return _upload(row) if row else None


async def list_unannounced(database: Database, user_id: str, filename: str) -> list[Upload]:
    """The user's unfinished uploads of that name whose clients were told no address, the newest first."""
    rows = await database.read(
        f"""
        SELECT {COLUMNS} FROM uploads
        WHERE state = 'receiving' AND user_id = ? AND filename = ? AND NOT is_announced
        ORDER BY created_at DESC
        """,
        (user_id, filename),
    )
    return [_upload(row) for row in rows]


async def list_open(database: Database, user_id: str) -> list[Upload]:
    """The user's unfinished uploads, the newest first; as many as the limit on open uploads lets there be."""
    rows = await database.read(
        f"SELECT {COLUMNS} FROM uploads WHERE state = 'receiving' AND user_id = ? ORDER BY created_at DESC",
        (user_id,),
    )
    return [_upload(row) for row in rows]


async def all_receiving(database: Database) -> list[Upload]:
    """Every unfinished upload; few, by an index."""
    return [_upload(row) for row in await database.read(f"SELECT {COLUMNS} FROM uploads WHERE state = 'receiving'")]


async def expired(database: Database, now: int) -> list[Upload]:
    """Uploads whose time is over: unfinished ones to be ended, ended ones to be forgotten."""
    return [
        _upload(row)
        for row in await database.read(f"SELECT {COLUMNS} FROM uploads WHERE expires_at <= ? LIMIT 1000", (now,))
    ]


def forget(connection: sqlite3.Connection, upload_ids: Iterable[str]) -> None:
    """Remove ended uploads."""
    connection.executemany(
        "DELETE FROM uploads WHERE upload_id = ? AND state != 'receiving'", [(each,) for each in upload_ids]
    )
