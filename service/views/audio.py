"""The bytes of a track: whole or in ranges, with what a player and a cache need to know.

They are those that came; or, where the tags of today are wanted, a tag made now and the music of the file behind it.
"""

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

import orjson
from aiohttp import web
from multidict import CIMultiDict

from service.audio import id3
from service.catalogue import clock, tracks
from service.catalogue.recent import RecentTracks
from service.errors import InvalidQuery, NotAnalysed, NotFound, StorageFailed
from service.keys import BLOBS, COVERS, DATABASE, OPEN_BLOBS, SERVED
from service.storage.covers import LocalCovers
from service.storage.open_blobs import OpenBlob, OpenBlobs
from service.web import conditional
from service.web.filenames import content_disposition
from service.web.identity import require
from service.web.problems import HTTP_PROBLEMS, respond
from service.web.ranges import Span, Unsatisfiable, parse_range
from service.web.sending import FileResponse
from service.wire.digests import sha256_field

ORIGINAL, CURRENT = TAGS = ("original", "current")
COVER_SIZE = 1024
ASK_AGAIN_S = 2


@dataclass(frozen=True, slots=True)
class Served:
    """What is served of a track: ``prefix``, then the bytes of its blob from ``start`` to ``end``.

    ``fields`` are the header fields of every answer about it. ``modified_at`` is None where only the entity tag tells
    whether it was modified.
    """

    key: str
    blob_size: int
    filename: str
    etag: str
    modified_at: datetime | None
    fields: CIMultiDict[str]
    start: int
    end: int
    prefix: bytes = b""

    @property
    def size(self) -> int:
        """Of all that is served."""
        return len(self.prefix) + self.end - self.start


def served(row: sqlite3.Row) -> Served:
    """The file of the track in that row, as it came."""
    etag = f'"{row["sha256"].hex()}"'
    created_at = clock.to_datetime(row["created_at"])
    fields = _fields(row, etag)
    fields["Last-Modified"] = conditional.http_date(created_at)
    fields["Repr-Digest"] = sha256_field(row["sha256"])
    fields["Cache-Control"] = "private, no-transform"
    return Served(row["key"], row["size"], row["filename"], etag, created_at, fields, 0, row["size"])


def served_tagged(row: sqlite3.Row, tag: bytes) -> Served:
    """The music of the track in that row, which has been analysed, behind another tag.

    There is no date of modification: two changes can happen in the second that it would tell.
    """
    start, end = row["audio_start"], row["audio_end"]
    music = b"%b %d-%d " % (row["sha256"], start, end)
    etag = f'"{hashlib.sha256(music + tag).hexdigest()}"'
    fields = _fields(row, etag)
    fields["Cache-Control"] = "private, no-cache, no-transform"
    return Served(row["key"], row["size"], row["filename"], etag, None, fields, start, end, tag)


def _fields(row: sqlite3.Row, etag: str) -> CIMultiDict[str]:
    return CIMultiDict(
        {
            "Content-Type": "audio/mpeg",
            "Accept-Ranges": "bytes",
            "ETag": etag,
            "Content-Disposition": content_disposition("inline", row["filename"]),
            # What a user uploaded is never a page of this origin, whatever a browser makes of it.
            "Content-Security-Policy": "sandbox; default-src 'none'",
        }
    )


async def audio_context(app: web.Application) -> AsyncIterator[None]:
    """What this view remembers between two requests; after the database and the blobs are there."""
    app[SERVED] = RecentTracks(app[DATABASE], served)
    app[OPEN_BLOBS] = OpenBlobs(app[BLOBS])
    yield
    app[OPEN_BLOBS].close()


class Audio(web.View):
    """The mp3 of one track."""

    async def get(self) -> web.StreamResponse:
        """The bytes, or a range of them: 200, 206, 304, 412 or 416."""
        track = await self._track()
        headers = self.request.headers
        conditional.check_unmodified(headers, track.etag, track.modified_at)
        if conditional.is_not_modified(headers, track.etag, track.modified_at):
            return web.Response(status=304, headers=track.fields)
        try:
            span = _span(self.request, track)
        except Unsatisfiable:
            field = {"Content-Range": f"bytes */{track.size}", "Accept-Ranges": "bytes"}
            return respond(self.request, HTTP_PROBLEMS[416], facts={"size": track.size}, headers=field)
        blobs = self.request.app[OPEN_BLOBS]
        blob = blobs.take(track.key) or await blobs.open(track.key, track.blob_size)
        try:
            return await _send(self.request, track, blob, span)
        finally:
            blobs.give_back(blob)

    async def head(self) -> web.StreamResponse:
        """What `get` would say about the whole; a range counts only there (RFC 9110 section 14.2)."""
        track = await self._track()
        headers = self.request.headers
        conditional.check_unmodified(headers, track.etag, track.modified_at)
        if conditional.is_not_modified(headers, track.etag, track.modified_at):
            return web.Response(status=304, headers=track.fields)
        async with self.request.app[OPEN_BLOBS].opened(track.key, track.blob_size):
            response = web.Response(headers=track.fields)
            response.headers["Content-Length"] = str(track.size)
            _mark_download(self.request, track, response)
            return response

    async def _track(self) -> Served:
        identity = await require(self.request, "read")
        recent, track_id = self.request.app[SERVED], self.request.match_info["track_id"]
        if _wanted_tags(self.request) == CURRENT:
            return await _tagged(self.request.app, identity.user_id, track_id)
        return recent.find(identity.user_id, track_id) or await recent.get(identity.user_id, track_id)


def _wanted_tags(request: web.Request) -> str:
    if not request.rel_url.raw_query_string:
        return ORIGINAL
    asked = request.query.getall("tags", [ORIGINAL])
    if len(asked) > 1 or asked[0] not in TAGS:
        raise InvalidQuery("tags: There are no such tags.", parameter="tags", allowed=list(TAGS))
    return asked[0]


async def _tagged(app: web.Application, user_id: str, track_id: str) -> Served:
    row = await tracks.get_track(app[DATABASE], user_id, track_id)
    if row["trashed_at"] is not None:
        raise NotFound("The track is in the trash.")
    if row["audio_start"] is None:
        _refuse(row)
    tag = await asyncio.to_thread(_make_tag, row, app[COVERS])
    return served_tagged(row, tag)


def _refuse(row: sqlite3.Row) -> NoReturn:
    if row["metadata"] == "pending":
        raise NotAnalysed("It is not known yet where the music begins.", retry_after=ASK_AGAIN_S)
    raise NotAnalysed("It could not be found out where the music begins.", reason=row["metadata_reason"])


def _make_tag(row: sqlite3.Row, covers: LocalCovers) -> bytes:
    words = {**orjson.loads(row["tags"]), **{name: row[name] for name in tracks.WORDS}}
    try:
        cover = covers.read(row["cover"], COVER_SIZE) if row["cover"] else None
    except OSError as error:
        raise StorageFailed("The cover of this track cannot be read.") from error
    return id3.build(words, labels=orjson.loads(row["labels"]), cover=cover)


def _span(request: web.Request, track: Served) -> Span | None:
    field = request.headers.get("Range")
    if field is None or not conditional.may_send_range(request.headers, track.etag, track.modified_at):
        return None
    return parse_range(field, track.size)


async def _send(request: web.Request, track: Served, blob: OpenBlob, span: Span | None) -> web.StreamResponse:
    blob.check_whole()
    place = span or Span(0, track.size)
    prefix = track.prefix[place.start : place.start + place.count]
    start = track.start + max(0, place.start - len(track.prefix))
    status = 200 if span is None else 206
    response = FileResponse(
        blob.descriptor, start, place.count - len(prefix), status=status, headers=track.fields, prefix=prefix
    )
    if span is not None:
        response.headers["Content-Range"] = span.content_range(track.size)
    _mark_download(request, track, response)
    await response.send(request)
    return response


def _mark_download(request: web.Request, track: Served, response: web.StreamResponse) -> None:
    if request.rel_url.raw_query_string and request.query.get("download") == "1":
        response.headers["Content-Disposition"] = content_disposition("attachment", track.filename)
