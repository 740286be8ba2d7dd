"""The bytes of a track: whole or in ranges, as they came, with what a player and a cache need to know."""

import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from aiohttp import web
from multidict import CIMultiDict

from service.catalogue import clock
from service.catalogue.recent import RecentTracks
from service.keys import BLOBS, DATABASE, OPEN_BLOBS, SERVED
from service.storage.open_blobs import OpenBlob, OpenBlobs
from service.web import conditional
from service.web.filenames import content_disposition
from service.web.identity import require
from service.web.problems import HTTP_PROBLEMS, respond
from service.web.ranges import Span, Unsatisfiable, parse_range
from service.web.sending import FileResponse
from service.wire.digests import sha256_field


@dataclass(frozen=True, slots=True)
class Served:
    """What is served of a track. ``fields`` are the header fields of every answer about it."""

    key: str
    size: int
    filename: str
    etag: str
    created_at: datetime
    fields: CIMultiDict[str]


def served(row: sqlite3.Row) -> Served:
    """What is served of the track in that row."""
    etag = f'"{row["sha256"].hex()}"'
    created_at = clock.to_datetime(row["created_at"])
    fields = CIMultiDict(
        {
            "Content-Type": "audio/mpeg",
            "Accept-Ranges": "bytes",
            "ETag": etag,
            "Last-Modified": conditional.http_date(created_at),
            "Repr-Digest": sha256_field(row["sha256"]),
            "Content-Disposition": content_disposition("inline", row["filename"]),
            "Cache-Control": "private, no-transform",
            # What a user uploaded is never a page of this origin, whatever a browser makes of it.
            "Content-Security-Policy": "sandbox; default-src 'none'",
        }
    )
    return Served(row["key"], row["size"], row["filename"], etag, created_at, fields)


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
        conditional.check_unmodified(headers, track.etag, track.created_at)
        if conditional.is_not_modified(headers, track.etag, track.created_at):
            return web.Response(status=304, headers=track.fields)
        try:
            span = _span(self.request, track)
        except Unsatisfiable:
            field = {"Content-Range": f"bytes */{track.size}", "Accept-Ranges": "bytes"}
            return respond(self.request, HTTP_PROBLEMS[416], facts={"size": track.size}, headers=field)
        blobs = self.request.app[OPEN_BLOBS]
        blob = blobs.take(track.key) or await blobs.open(track.key, track.size)
        try:
            return await _send(self.request, track, blob, span)
        finally:
            blobs.give_back(blob)

    async def head(self) -> web.StreamResponse:
        """What `get` would say about the whole; a range counts only there (RFC 9110 section 14.2)."""
        track = await self._track()
        headers = self.request.headers
        conditional.check_unmodified(headers, track.etag, track.created_at)
        if conditional.is_not_modified(headers, track.etag, track.created_at):
            return web.Response(status=304, headers=track.fields)
        async with self.request.app[OPEN_BLOBS].opened(track.key, track.size):
            response = web.Response(headers=track.fields)
            response.headers["Content-Length"] = str(track.size)
            _mark_download(self.request, track, response)
            return response

    async def _track(self) -> Served:
        identity = await require(self.request, "read")
        recent, track_id = self.request.app[SERVED], self.request.match_info["track_id"]
        return recent.find(identity.user_id, track_id) or await recent.get(identity.user_id, track_id)


def _span(request: web.Request, track: Served) -> Span | None:
    field = request.headers.get("Range")
    if field is None or not conditional.may_send_range(request.headers, track.etag, track.created_at):
        return None
    return parse_range(field, track.size)


async def _send(request: web.Request, track: Served, blob: OpenBlob, span: Span | None) -> web.StreamResponse:
    blob.check_whole()
    place = span or Span(0, track.size)
    status = 200 if span is None else 206
    response = FileResponse(blob.descriptor, place.start, place.count, status=status, headers=track.fields)
    if span is not None:
        response.headers["Content-Range"] = span.content_range(track.size)
    _mark_download(request, track, response)
    await response.send(request)
    return response


def _mark_download(request: web.Request, track: Served, response: web.StreamResponse) -> None:
    if request.rel_url.raw_query_string and request.query.get("download") == "1":
        response.headers["Content-Disposition"] = content_disposition("attachment", track.filename)
