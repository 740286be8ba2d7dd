"""The peaks of a track, from which a player draws its waveform."""

import asyncio
import hashlib
import re
import sqlite3
from functools import partial

import orjson
from aiohttp import web

from service.audio import peaks
from service.catalogue import analyses, jobs, tracks
from service.errors import InvalidQuery, NotAnalysed
from service.keys import DATABASE
from service.views.listing import CACHE
from service.web.conditional import is_not_modified
from service.web.identity import require
from service.web.negotiate import quality

JSON, DAT = FORMS = ("json", "dat")
TYPES = {JSON: "application/json", DAT: "application/octet-stream"}
ASK_AGAIN_S = 2


class Peaks(web.View):
    """``/tracks/{track_id}/peaks``."""

    async def get(self) -> web.Response:
        """As many points as were asked for, or some fewer; 409 while there are none, and where there never will be."""
        identity = await require(self.request, "read")
        points, form = _points(self.request), _form(self.request)
        row = await _find(self.request, identity.user_id)
        version = hashlib.sha256(b"%d %d " % (row["sample_rate"], row["samples_per_point"]) + row["peaks"]).hexdigest()
        headers = {**CACHE, "ETag": f'"{version[:32]}-{points}-{form}"'}
        if is_not_modified(self.request.headers, headers["ETag"]):
            return web.Response(status=304, headers=headers)
        body = await asyncio.to_thread(_body, row, points, form)
        return web.Response(body=body, content_type=TYPES[form], headers=headers)

    head = get


async def _find(request: web.Request, user_id: str) -> sqlite3.Row:
    database, track_id = request.app[DATABASE], request.match_info["track_id"]
    track = await tracks.get_track(database, user_id, track_id)
    row = await analyses.find(database, user_id, track_id)
    if row is not None:
        return row
    problems = await database.run_reading(partial(jobs.list_problems, track_id=track_id))
    if "measure" not in problems and track["state"] == "analysing":
        raise NotAnalysed("The track has not been decoded yet.", retry_after=ASK_AGAIN_S)
    raise NotAnalysed("The track could not be decoded.", reason=problems.get("measure"))


def _points(request: web.Request) -> int:
    text = request.query.get("points", str(peaks.MOST))
    if re.fullmatch("[0-9]{1,5}", text) is None or not 1 <= int(text) <= peaks.MOST:
        raise InvalidQuery(f"points: A number from 1 to {peaks.MOST}.", parameter="points")
    return int(text)


def _form(request: web.Request) -> str:
    """What ``format`` says, or else what Accept prefers."""
    asked = request.query.get("format")
    if asked is None:
        accept = request.headers.get("Accept", "")
        return DAT if quality(accept, TYPES[DAT]) > quality(accept, TYPES[JSON]) else JSON
    if asked not in FORMS:
        raise InvalidQuery("format: There is no such form.", parameter="format", allowed=list(FORMS))
    return asked


def _body(row: sqlite3.Row, points: int, form: str) -> bytes:
    coarse, group = peaks.downsample(row["peaks"], points)
    samples_per_point, sample_rate = row["samples_per_point"] * group, row["sample_rate"]
    if form == DAT:
        return peaks.to_dat(coarse, samples_per_point, sample_rate)
    return orjson.dumps(peaks.to_json(coarse, samples_per_point, sample_rate))
