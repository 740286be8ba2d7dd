"""Uploads: creation by tus 1.0.0, and each by its id. Two dialects share the ids: tus and the IETF draft."""

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from urllib.parse import urlsplit

from aiohttp import web

from service.accounts.permissions import Identity
from service.catalogue import uploads
from service.errors import (
    ContentMismatch,
    Forbidden,
    InvalidHeader,
    NotFound,
    OffsetMismatch,
    ShuttingDown,
    UnsupportedMediaType,
)
from service.keys import DATABASE, DRAIN, INTAKE, SETTINGS
from service.schemas.uploads import dump_upload
from service.uploads.claims import Claims
from service.uploads.model import NewUpload, Outcome, Request
from service.uploads.receive import Body
from service.views import drafts
from service.views.receipts import receipt_fields
from service.views.receiving import body_of
from service.web import csrf
from service.web.body import EmptyBody, break_off, refuse_content_encoding
from service.web.drain import RETRY_AFTER_S
from service.web.expect import judged
from service.web.fields import combined
from service.web.identity import require
from service.web.override import OverridableView
from service.web.payload import NO_STORE, json_response
from service.web.problems import answer_to, problem_of, respond
from service.wire import digests, tus

UPLOAD_ID = re.compile(r"[0-9a-f]{32}\Z")


class Uploads(OverridableView):
    """One's own unfinished uploads, and the door of tus."""

    async def options(self) -> web.StreamResponse:
        """What the server can do; asked by anybody."""
        return web.Response(status=204, headers=_options_fields(self.request))

    async def get(self) -> web.StreamResponse:
        """``{items}``, the newest first. Partial uploads are not listed: they are pieces of one that is to come."""
        identity = await require(self.request, "read")
        rows = await uploads.list_open(self.request.app[DATABASE], identity.user_id)
        items = [dump_upload(row) for row in rows if row.concat != tus.PARTIAL]
        return json_response({"items": items}, headers=NO_STORE)

    head = get

    async def post(self) -> web.StreamResponse:
        """Create an upload, with its first bytes or without; or put partial ones together."""
        try:
            await judged(self.request, judge_creation)
            identity = await require(self.request, "upload")
            outcome = await _create(self.request, identity)
        except ContentMismatch as error:
            return _checksum_failed(self.request, error)
        location = {"Location": f"/uploads/{outcome.upload.upload_id}"}
        return web.Response(status=201, headers={**location, **_offset_fields(outcome)})


class Upload(OverridableView):
    """One own upload."""

    async def options(self) -> web.StreamResponse:
        """What the server can do, whether there is such an upload or not."""
        return web.Response(status=204, headers=_options_fields(self.request))

    async def head(self) -> web.StreamResponse:
        """The offset; a running append is ended first, so the offset holds."""
        if drafts.is_spoken(self.request):
            return await drafts.head_draft(self.request, upload_id_of(self.request))
        tus.check_version(combined(self.request), may_lack=True)
        identity = await require(self.request, "upload")
        is_tus = "Tus-Resumable" in self.request.headers
        intake = self.request.app[INTAKE]
        outcome = await intake.look(identity.user_id, upload_id_of(self.request), ends_with_length=is_tus)
        fields = {} if is_tus else drafts.state_fields(self.request, outcome)
        return web.Response(status=200, headers={**fields, **_state_fields(outcome)})

    async def get(self) -> web.StreamResponse:
        """The upload as it was last noted, in JSON; nothing is ended for it, unless in the draft's way."""
        tus.check_version(combined(self.request), may_lack=True)
        identity = await require(self.request, "read")
        if drafts.is_spoken(self.request):
            return await drafts.get_draft(self.request, upload_id_of(self.request))
        outcome = await self.request.app[INTAKE].peek(identity.user_id, upload_id_of(self.request))
        return json_response(dump_upload(outcome.upload, outcome.track), headers=NO_STORE)

    async def patch(self) -> web.StreamResponse:
        """Append at the offset; 204 tells the new one, and the track when these were the last bytes."""
        if drafts.is_spoken(self.request):
            return await drafts.patch_draft(self.request, upload_id_of(self.request))
        try:
            await judged(self.request, judge_append)
            identity = await require(self.request, "upload")
            outcome = await _append(self.request, identity)
        except OffsetMismatch as error:
            return _at_another_offset(self.request, error)
        except ContentMismatch as error:
            return _checksum_failed(self.request, error)
        return web.Response(status=204, headers=_offset_fields(outcome))

    async def delete(self) -> web.StreamResponse:
        """End the upload; of a finished one only the upload is forgotten, the track stays."""
        tus.check_version(combined(self.request), may_lack=True)
        identity = await require(self.request, "upload")
        await self.request.app[INTAKE].terminate(identity.user_id, upload_id_of(self.request))
        return web.Response(status=204)


async def judge_creation(request: web.Request) -> None:
    """Say no before the body of a POST.

    Raises:
        YarrrError: the answer the view is going to give.
    """
    identity = await _judge(request)
    wanted = tus.parse_creation(combined(request))
    request.app[INTAKE].admit(identity.user_id, wanted.length)


async def judge_append(request: web.Request) -> None:
    """Say no before the body of a PATCH, from its header alone.

    Raises:
        YarrrError: the answer the view is going to give.
    """
    await _judge(request)
    if request.content_type != tus.CONTENT_TYPE:
        raise UnsupportedMediaType(f"Send {tus.CONTENT_TYPE}.", accepted=[tus.CONTENT_TYPE])
    tus.parse_append(combined(request))


async def judge_expected(request: web.Request) -> None:
    """The same for a client that asks before it sends the body: its offset is judged, too.

    Raises:
        YarrrError: the answer the view is going to give.
    """
    if drafts.is_spoken(request):
        await drafts.judge_expected_append(request, upload_id_of(request))
        return
    await judge_append(request)
    identity = await require(request, "upload")
    wanted = tus.parse_append(combined(request))
    upload = (await request.app[INTAKE].look(identity.user_id, upload_id_of(request))).upload
    _refuse_final(upload)
    if upload.state == "receiving" and wanted.offset != upload.offset:
        raise OffsetMismatch(
            "The upload is at another offset.", expected_offset=upload.offset, provided_offset=wanted.offset
        )


async def _judge(request: web.Request) -> Identity:
    tus.check_version(combined(request))
    if request.app[DRAIN].is_draining:
        raise ShuttingDown("The service is about to stop.", retry_after=RETRY_AFTER_S)
    csrf.check(request)
    refuse_content_encoding(request)
    return await require(request, "upload")


async def _create(request: web.Request, identity: Identity) -> Outcome:
    wanted = tus.parse_creation(combined(request))
    new = NewUpload(
        wanted.filename,
        title=wanted.title,
        length=wanted.length,
        claimed_sha256=digests.parse(combined(request), "Repr-Digest").get("sha256"),
        metadata=wanted.metadata,
        concat=wanted.concat,
        is_announced=True,
    )
    intake = request.app[INTAKE]
    if wanted.parts is not None:
        return await intake.concatenate(identity.user_id, _part_ids(request, wanted.parts), new)
    claims = Claims(tus.parse_checksum(combined(request)))
    upload = await intake.create(identity.user_id, new)
    is_with_upload = request.body_exists and request.content_type == tus.CONTENT_TYPE
    if not is_with_upload and upload.length != 0:
        return Outcome(upload)
    body: Body = body_of(request) if is_with_upload else EmptyBody()
    return await intake.start(upload, Request(body, offset=0, claims=claims, stop=partial(break_off, request)))


async def _append(request: web.Request, identity: Identity) -> Outcome:
    wanted = tus.parse_append(combined(request))
    upload_id = upload_id_of(request)
    append = Request(
        body_of(request),
        offset=wanted.offset,
        content_length=request.content_length,
        length=wanted.length,
        claims=Claims(wanted.checksum),
        stop=partial(break_off, request),
    )
    try:
        outcome = await request.app[INTAKE].append(identity.user_id, upload_id, append)
    except OffsetMismatch:
        _refuse_final(await uploads.get(request.app[DATABASE], upload_id, identity.user_id))
        raise
    _refuse_final(outcome.upload)
    return outcome


def _refuse_final(upload: uploads.Upload) -> None:
    """A final upload is whole from its beginning: only a finished one can be met here."""
    if upload.concat is not None and upload.concat != tus.PARTIAL:
        raise Forbidden("A final upload takes no bytes but those of its parts.")


def _part_ids(request: web.Request, urls: Iterable[str]) -> list[str]:
    if request.body_exists:
        raise InvalidHeader("A final upload has no body but its parts.", field="Upload-Concat")
    hosts = {request.host.lower()}
    if public_url := request.app[SETTINGS].public_url:
        hosts.add(urlsplit(public_url).netloc.lower())
    return [tus.upload_id_of(url, hosts) for url in urls]


def upload_id_of(request: web.Request) -> str:
    """The id in the path.

    Raises:
        NotFound: it is none that an upload can have.
    """
    upload_id = request.match_info["upload_id"]
    if not UPLOAD_ID.match(upload_id):
        raise NotFound("There is no such upload.")
    return upload_id


def _options_fields(request: web.Request) -> dict[str, str]:
    return {**drafts.discovery_fields(request), **tus.options_fields(request.app[SETTINGS].max_upload_bytes)}


def _offset_fields(outcome: Outcome) -> dict[str, str]:
    fields = tus.offset_fields(outcome.upload.offset, _expires_at(outcome.upload))
    return fields if outcome.track is None else {**fields, **receipt_fields(outcome.track)}


def _state_fields(outcome: Outcome) -> dict[str, str]:
    upload = outcome.upload
    fields = tus.state_fields(
        offset=upload.offset,
        length=upload.length,
        metadata=upload.metadata,
        concat=upload.concat,
        expires_at=_expires_at(upload),
    )
    return fields if outcome.track is None else {**fields, **receipt_fields(outcome.track)}


def _expires_at(upload: uploads.Upload) -> int | None:
    return upload.expires_at if upload.state == "receiving" else None


def _at_another_offset(request: web.Request, error: OffsetMismatch) -> web.Response:
    response = answer_to(request, error)
    response.headers["Upload-Offset"] = str(error.facts["expected_offset"])
    return response


def _checksum_failed(request: web.Request, error: ContentMismatch) -> web.Response:
    problem = replace(problem_of(error), status=tus.CHECKSUM_FAILED)
    return respond(request, problem, detail=error.detail, facts=error.facts)


async def add_tus_fields(request: web.Request, response: web.StreamResponse) -> None:
    """Say on every answer to a tus request that it is one, whoever made the answer; a handler for the signal
    ``on_response_prepare``.
    """
    is_here = request.path == "/uploads" or request.path.startswith("/uploads/")
    if "Tus-Resumable" in request.headers or (is_here and not drafts.is_spoken(request)):
        response.headers["Tus-Resumable"] = tus.VERSION
        if response.status == HTTPStatus.PRECONDITION_FAILED:
            response.headers["Tus-Version"] = tus.VERSION
