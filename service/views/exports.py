"""A collection as one file: a playlist for players, and an archive of its tracks."""

import asyncio
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from aiohttp import web

from service.catalogue import blobs, clock, items
from service.errors import StorageFailed
from service.keys import DATABASE, OPEN_BLOBS
from service.uploads.names import clean_text, shorten
from service.views.archive import BlobArchive
from service.views.listing import CACHE
from service.web.conditional import check_match, is_not_modified, may_send_range
from service.web.filenames import content_disposition
from service.web.identity import require
from service.web.problems import HTTP_PROBLEMS, respond
from service.web.ranges import Span, Unsatisfiable, parse_range
from service.web.sending import PiecesResponse
from service.wire import m3u8
from service.wire import zip as wire

MAX_NAME_BYTES = 200

_UNSAFE = str.maketrans(dict.fromkeys('/\\:*?"<>|', "_"))


class Playlist(web.View):
    """``/collections/{collection_id}.m3u8``."""

    async def get(self) -> web.Response:
        """The playlist, with addresses relative to its own; 304 when the client has it."""
        row, tracks = await _tracks(self.request)
        body = await asyncio.to_thread(_playlist, row, tracks)
        headers = _headers(row, "inline", "m3u8", sha256(body).hexdigest())
        if is_not_modified(self.request.headers, headers["ETag"]):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=m3u8.CONTENT_TYPE, charset="utf-8", headers=headers)

    head = get


class Zip(web.View):
    """``/collections/{collection_id}.zip``."""

    async def get(self) -> web.StreamResponse:
        """The archive, or a range of it: 200, 206, 304, 412 or 416."""
        row, tracks = await _tracks(self.request)
        plan = await asyncio.to_thread(_plan, row, tracks)
        check_match(self.request.headers, plan.headers["ETag"])
        if is_not_modified(self.request.headers, plan.headers["ETag"]):
            return web.Response(status=304, headers=plan.headers)
        try:
            span = _span(self.request, plan)
        except Unsatisfiable:
            field = {"Content-Range": f"bytes */{plan.archive.size}", "Accept-Ranges": "bytes"}
            return respond(self.request, HTTP_PROBLEMS[416], facts={"size": plan.archive.size}, headers=field)
        return await _send(self.request, plan, tracks, span)

    async def head(self) -> web.Response:
        """What `get` would say about the whole."""
        row, tracks = await _tracks(self.request)
        plan = await asyncio.to_thread(_plan, row, tracks)
        check_match(self.request.headers, plan.headers["ETag"])
        if is_not_modified(self.request.headers, plan.headers["ETag"]):
            return web.Response(status=304, headers=plan.headers)
        return web.Response(headers={**plan.headers, "Content-Length": str(plan.archive.size)})


@dataclass(frozen=True, slots=True)
class Plan:
    """An archive before a byte of it is read, and the header fields of every answer about it."""

    archive: wire.Archive
    headers: dict[str, str]


async def _tracks(request: web.Request) -> tuple[sqlite3.Row, list[sqlite3.Row]]:
    identity = await require(request, "read")
    return await items.all_tracks(request.app[DATABASE], identity.user_id, request.match_info["collection_id"])


def _playlist(row: sqlite3.Row, tracks: list[sqlite3.Row]) -> bytes:
    entries = ((f"../tracks/{each['track_id']}/audio", each["duration"], _words(each)) for each in tracks)
    return m3u8.playlist(row["name"], entries).encode()


def _plan(row: sqlite3.Row, tracks: list[sqlite3.Row]) -> Plan:
    """Every byte follows from what is hashed here, so the entity tag is strong and a download can be gone on with."""
    digest = sha256()
    entries = []
    width = max(2, len(str(len(tracks))))
    for number, track in enumerate(tracks, 1):
        name = f"{number:0{width}} - {_filename(_words(track), 'untitled')}.mp3".encode()
        entries.append(wire.Entry(name, track["size"], clock.to_datetime(track["created_at"])))
        digest.update(b"%b %d %b\0" % (track["sha256"], track["created_at"], name))
    headers = {
        **_headers(row, "attachment", "zip", digest.hexdigest()),
        "Content-Type": wire.CONTENT_TYPE,
        "Accept-Ranges": "bytes",
    }
    return Plan(wire.Archive(entries), headers)


def _span(request: web.Request, plan: Plan) -> Span | None:
    field = request.headers.get("Range")
    if field is None or not may_send_range(request.headers, plan.headers["ETag"], None):
        return None
    return parse_range(field, plan.archive.size)


async def _send(request: web.Request, plan: Plan, tracks: list[sqlite3.Row], span: Span | None) -> web.StreamResponse:
    known = {each["key"]: each["crc32"] for each in tracks if each["crc32"] is not None}
    keys = [each["key"] for each in tracks]
    stream = BlobArchive(
        request.app[OPEN_BLOBS], plan.archive, keys, known, is_wanted=lambda: request.transport is not None
    )
    place = span or Span(0, plan.archive.size)
    status = 200 if span is None else 206
    response = PiecesResponse(stream.pieces(place), place.count, status=status, headers=plan.headers)
    if span is not None:
        response.headers["Content-Range"] = span.content_range(plan.archive.size)
    await response.send(request)
    if stream.found:
        with suppress(StorageFailed):  # who has the archive does not mind
            await request.app[DATABASE].write(lambda connection: blobs.note_crc32s(connection, stream.found))
    return response


def _headers(row: sqlite3.Row, kind: Literal["inline", "attachment"], suffix: str, digest: str) -> dict[str, str]:
    return {
        **CACHE,
        "ETag": f'"{digest}"',
        "Content-Disposition": content_disposition(kind, f"{_filename(row['name'], 'collection')}.{suffix}"),
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }


def _words(track: sqlite3.Row) -> str:
    return f"{track['artist']} - {track['title']}" if track["artist"] else str(track["title"])


def _filename(words: str, default: str) -> str:
    """Words as a name that every file system takes, when a suffix follows."""
    return shorten(clean_text(words).translate(_UNSAFE), MAX_NAME_BYTES).strip(". ") or default
