"""The cover of a track: a picture made anew of the one in the file, or of one its user chose."""

import asyncio
import sqlite3
from functools import partial

from aiohttp import web

from service.catalogue import clock, tracks
from service.catalogue.tracks import Cover as Picture
from service.errors import InvalidQuery, NotFound, StorageFailed
from service.keys import COVERS, DATABASE, JOBS
from service.schemas.tracks import cover_version, dump_track, track_etag
from service.storage.covers import SIZES
from service.views.listing import CACHE
from service.views.tracks import checked
from service.web.conditional import is_not_modified
from service.web.identity import require
from service.web.payload import json_response, load_bytes

DEFAULT_SIZE = 512
MAX_PICTURE_BYTES = 10 << 20
MAX_SECONDS = 120.0
"""In which a picture has to come: others wait for its place."""
PICTURES = ("image/jpeg", "image/png", "image/webp", "image/gif", "application/octet-stream")
FOR_EVER = "private, max-age=31536000, immutable"


class Cover(web.View):
    """``/tracks/{track_id}/cover``."""

    async def get(self) -> web.Response:
        """The picture as a JPEG whose longer side has at most `size` pixels; 304 when the client has it.

        An address with the ``v`` of the present picture never means another one, and may be kept for ever.
        """
        identity = await require(self.request, "read")
        size = _size(self.request.query.get("size", str(DEFAULT_SIZE)))
        row = await tracks.get_track(self.request.app[DATABASE], identity.user_id, self.request.match_info["track_id"])
        digest = row["cover"]
        if digest is None:
            raise NotFound("The track has no cover.")
        version = cover_version(digest)
        headers = {
            "ETag": f'"{version}-{size}"',
            "Cache-Control": FOR_EVER if self.request.query.get("v") == version else CACHE["Cache-Control"],
            "Vary": CACHE["Vary"],
            "Content-Security-Policy": "sandbox; default-src 'none'",
        }
        if is_not_modified(self.request.headers, headers["ETag"]):
            return web.Response(status=304, headers=headers)
        try:
            image = await asyncio.to_thread(self.request.app[COVERS].read, digest, size)
        except OSError as error:
            raise StorageFailed("The cover cannot be read.") from error
        if image is None:
            raise NotFound("The cover is lost; analyse the track again.")
        return web.Response(body=image, content_type="image/jpeg", headers=headers)

    head = get

    async def put(self) -> web.Response:
        """Show this picture instead of the one in the file. The mp3 stays as it is."""
        identity = await require(self.request, "upload")
        track_id = self.request.match_info["track_id"]
        await tracks.get_track(self.request.app[DATABASE], identity.user_id, track_id)  # before 10 MiB are read
        jobs = self.request.app[JOBS]
        with jobs.place_for_picture(identity.user_id):
            picture = await load_bytes(self.request, MAX_PICTURE_BYTES, types=PICTURES, within_s=MAX_SECONDS)
            row = await jobs.render(picture, partial(self._give, identity.user_id, track_id))
        return json_response(dump_track(row), headers={**CACHE, "ETag": track_etag(row)})

    async def delete(self) -> web.Response:
        """Show the picture in the file again, if there is one."""
        identity = await require(self.request, "upload")
        row = await self._give(identity.user_id, self.request.match_info["track_id"], None)
        return json_response(dump_track(row), headers={**CACHE, "ETag": track_etag(row)})

    async def _give(self, user_id: str, track_id: str, cover: Picture | None) -> sqlite3.Row:
        check = checked(self.request)
        return await self.request.app[DATABASE].write(
            lambda connection: tracks.give_cover(connection, user_id, track_id, cover, now=clock.now(), check=check)
        )


def _size(text: str) -> int:
    if text not in map(str, SIZES):
        raise InvalidQuery("size: It is made in a few sizes.", parameter="size", allowed=list(SIZES))
    return int(text)
