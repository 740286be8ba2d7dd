"""All that was found out about the audio of a track: frame by frame while it came, and by decoding."""

import sqlite3
from functools import partial
from typing import Any

import orjson
from aiohttp import web

from service.catalogue import analyses, jobs, tracks
from service.catalogue.database import Database
from service.keys import DATABASE
from service.schemas.tracks import track_etag
from service.views.listing import CACHE
from service.web.conditional import is_not_modified
from service.web.identity import require
from service.web.payload import json_response


class Report(web.View):
    """``/tracks/{track_id}/report``."""

    async def get(self) -> web.Response:
        """``frames`` and ``decoded``, which is null while it is not known; ``decoded_reason`` says why it never is."""
        identity = await require(self.request, "read")
        database, track_id = self.request.app[DATABASE], self.request.match_info["track_id"]
        row = await tracks.get_track(database, identity.user_id, track_id)
        headers = {**CACHE, "ETag": track_etag(row)}
        if is_not_modified(self.request.headers, headers["ETag"]):
            return web.Response(status=304, headers=headers)
        return json_response(await report_of(database, row), headers=headers)

    head = get


async def report_of(database: Database, row: sqlite3.Row) -> dict[str, Any]:
    """The report of a track whose row that is, as JSON members."""
    track_id = row["track_id"]
    analysis = await analyses.find(database, row["user_id"], track_id)
    problems = await database.run_reading(partial(jobs.list_problems, track_id=track_id))
    return {
        "track_id": track_id,
        "state": row["state"],
        "frames": {
            **{name: row[name] for name in ("duration", "bitrate", "mode", "channels", "sample_rate")},
            **orjson.loads(row["audio"]),
            "sha256": row["frames_sha256"].hex() if row["frames_sha256"] else None,
            "start": row["audio_start"],
            "end": row["audio_end"],
        },
        "decoded": orjson.loads(analysis["report"]) if analysis else None,
        "decoded_reason": None if analysis else problems.get("measure"),
    }
