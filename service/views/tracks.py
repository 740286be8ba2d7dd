"""The tracks of a user: a listing, and each by its id."""

import sqlite3
from collections.abc import Callable
from functools import partial

import orjson
from aiohttp import web
from multidict import MultiDict

from service.accounts.permissions import Identity
from service.catalogue import clock, collections, tracks
from service.catalogue.listing import Listing
from service.keys import DATABASE, SERVED
from service.schemas.collections import dump_collection
from service.schemas.tracks import ChangeSchema, dump_track, is_version_of, track_etag
from service.views import drafts
from service.views.facets import given, narrowing
from service.views.forms import take_form
from service.views.listing import CACHE, for_a_page, listed, page_response
from service.views.receipts import form_receipt, receipt
from service.views.receiving import filename_of, judge_upload, take_raw
from service.views.report import report_of
from service.web.conditional import check_match, is_not_modified
from service.web.expect import judged
from service.web.identity import require
from service.web.negotiate import is_browser
from service.web.pages import render
from service.web.payload import json_response, load

MOST_COPIES = 10  # that a page shows
MOST_CHOICES = 50  # collections a page offers to add the track to
PATCH_TYPES = ("application/merge-patch+json", "application/json")


class Tracks(web.View):
    """Own tracks, page by page."""

    async def options(self) -> web.StreamResponse:
        """What resumable uploads may be; asked by anybody."""
        return drafts.discovery(self.request)

    async def get(self) -> web.StreamResponse:
        """A page: ``{items, next, prev, limit, count}``; ``next`` and ``prev`` are relative URLs or null."""
        identity = await require(self.request, "read")
        if is_browser(self.request):
            return await _list(self.request, identity.user_id)
        page = await listed(self.request, self.request.query, identity.user_id)
        return page_response(self.request, page)

    head = get

    async def post(self) -> web.StreamResponse:
        """Take a form with one or more files, or one raw body; 201 is the receipt of a track."""
        if drafts.is_creation(self.request):
            drafts.require_raw(self.request)
            return await drafts.create_draft(self.request, filename_of(self.request))
        await judged(self.request, judge_upload)
        identity = await require(self.request, "upload")
        if self.request.content_type == "multipart/form-data":
            return form_receipt(self.request, await take_form(self.request, identity))
        return receipt(self.request, await take_raw(self.request, identity))


class Track(web.View):
    """One own track, in the trash or not."""

    async def get(self) -> web.StreamResponse:
        """The track; 304 when If-None-Match names its version."""
        identity = await require(self.request, "read")
        row = await tracks.get_track(self.request.app[DATABASE], identity.user_id, _track_id(self.request))
        if is_browser(self.request):
            return await _page(self.request, row)
        headers = _headers(row)
        if is_not_modified(self.request.headers, headers["ETag"]):
            return web.Response(status=304, headers=headers)
        return json_response(dump_track(row), headers=headers)

    head = get

    async def patch(self) -> web.StreamResponse:
        """Change what the user says about the track; needs If-Match."""
        identity = await require(self.request, "upload")
        patch = await load(self.request, ChangeSchema(), types=PATCH_TYPES)
        row = await _write(self.request, identity, partial(tracks.change, patch=patch), needs_match=True)
        return json_response(dump_track(row), headers=_headers(row))

    async def delete(self) -> web.StreamResponse:
        """Put the track into the trash."""
        identity = await require(self.request, "delete")
        await _write(self.request, identity, tracks.trash)
        if is_browser(self.request):
            raise web.HTTPSeeOther("/tracks")
        return web.Response(status=204)


class Restore(web.View):
    """The way out of the trash."""

    async def post(self) -> web.StreamResponse:
        """Restore the track; 409 when it is not in the trash."""
        identity = await require(self.request, "delete")
        row = await _write(self.request, identity, tracks.restore)
        if is_browser(self.request):
            raise web.HTTPSeeOther(f"/tracks/{row['track_id']}")
        return json_response(dump_track(row), headers=_headers(row))


async def _list(request: web.Request, user_id: str) -> web.Response:
    """A page of tracks, for people, with what it can be narrowed to."""
    parameters = for_a_page(request.query)
    page = await listed(request, parameters, user_id)
    return render(
        request,
        "tracks.html",
        tracks=[orjson.loads(item) for item in page.items],
        page=page,
        filters=given(request, parameters),
        facets=await narrowing(request, parameters, user_id),
    )


async def _page(request: web.Request, row: sqlite3.Row) -> web.Response:
    """All that is known of the track, for people."""
    same = await listed(request, MultiDict(same_as=row["track_id"], limit=str(MOST_COPIES)), row["user_id"])
    recent = Listing(row["user_id"], (), (("updated_at", True),), (), MOST_CHOICES, None, False, False)
    chosen_from = await collections.page_collections(request.app[DATABASE], recent)
    return render(
        request,
        "track.html",
        collections=[dump_collection(each) for each in chosen_from.rows],
        track=dump_track(row),
        report=await report_of(request.app[DATABASE], row),
        copies=[orjson.loads(item) for item in same.items],
        has_more_copies=same.next is not None,
        is_rewritable=row["audio_start"] is not None,
        is_cover_given=row["cover_given"] is not None,
        is_cover_tagged=row["cover_tagged"] is not None,
    )


def checked(request: web.Request, *, needs_match: bool = False) -> tracks.Check:
    """A check that If-Match lets the track be changed."""

    def check(row: sqlite3.Row) -> None:
        is_equal = partial(is_version_of, row=row)
        check_match(request.headers, track_etag(row), is_required=needs_match, is_equal=is_equal)

    return check


async def _write(
    request: web.Request, identity: Identity, change: Callable[..., sqlite3.Row], *, needs_match: bool = False
) -> sqlite3.Row:
    """Change the track that the URL names, if If-Match lets it; its row then."""

    check = checked(request, needs_match=needs_match)
    track_id, now = _track_id(request), clock.now()
    try:
        return await request.app[DATABASE].write(
            lambda connection: change(connection, identity.user_id, track_id, now=now, check=check)
        )
    finally:
        request.app[SERVED].forget(identity.user_id, track_id)


def _track_id(request: web.Request) -> str:
    return request.match_info["track_id"]


def _headers(row: sqlite3.Row) -> dict[str, str]:
    return {**CACHE, "ETag": track_etag(row)}
