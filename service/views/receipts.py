"""The answer to a finished upload: 201 means the bytes are on stable storage, hash to this digest, and are listed."""

import sqlite3
from typing import Any

from aiohttp import web

from service.schemas.tracks import dump_track, track_etag
from service.views.forms import Taken, TakenForm
from service.web.negotiate import is_browser
from service.web.payload import json_response
from service.web.problems import answer_to, problem_document, problem_of
from service.wire.digests import sha256_field


def receipt(request: web.Request, row: sqlite3.Row) -> web.Response:
    """201 with ``Location``, ``ETag``, ``Repr-Digest`` and the track.

    Raises:
        web.HTTPSeeOther: a browser goes to the track's page.
    """
    if is_browser(request):
        raise web.HTTPSeeOther(f"/tracks/{row['track_id']}")
    return track_receipt(row)


def track_receipt(row: sqlite3.Row) -> web.Response:
    """The receipt of a program."""
    location = f"/tracks/{row['track_id']}"
    headers = {"Location": location, "ETag": track_etag(row), "Repr-Digest": sha256_field(row["sha256"]), **_copy(row)}
    return json_response(dump_track(row), status=201, headers=headers)


def receipt_fields(row: sqlite3.Row) -> dict[str, str]:
    """The receipt of an answer that has no body of its own, or whose Location is that of the upload."""
    return {"Content-Location": f"/tracks/{row['track_id']}", "Repr-Digest": sha256_field(row["sha256"]), **_copy(row)}


def _copy(row: sqlite3.Row) -> dict[str, str]:
    """Tells of the track that had the same bytes before (the relation of RFC 6249 section 3)."""
    if "copy_of" not in row.keys() or row["copy_of"] is None:  # noqa: SIM118 - a Row has its values without it
        return {}
    return {"Link": f'</tracks/{row["copy_of"]}>; rel="duplicate"'}


def form_receipt(request: web.Request, form: TakenForm) -> web.Response:
    """The receipt of one file, or 207 with one item a file: ``{filename, status, track | problem}``.

    An error of the form itself is an item, too, with an empty name. Without ``complete`` the rest was not read.

    Raises:
        YarrrError: the form's only file was refused.
        web.HTTPSeeOther: a browser goes to the track, or to the list.
    """
    taken = form.items
    if len(taken) == 1:
        if taken[0].error is not None:
            raise taken[0].error
        assert taken[0].row is not None
        return receipt(request, taken[0].row)
    refused = next((each.error for each in taken if each.error is not None), None)
    if is_browser(request):
        if refused is not None:
            return answer_to(request, refused)
        raise web.HTTPSeeOther("/")
    items = [_item(request, each) for each in taken]
    return json_response({"items": items, "complete": form.is_complete}, status=207)


def _item(request: web.Request, taken: Taken) -> dict[str, Any]:
    if taken.error is None:
        assert taken.row is not None
        return {"filename": taken.filename, "status": 201, "track": dump_track(taken.row)}
    document = problem_document(request, problem_of(taken.error), detail=taken.error.detail, facts=taken.error.facts)
    return {"filename": taken.filename, "status": document["status"], "problem": document}
