"""Resumable Uploads for HTTP (the IETF draft): creations at the doors of tracks, and uploads by their ids.

A creation is any request with content and a valid ``Upload-Complete``. What the target would have answered to the whole
file is the answer to the last request, with ``Upload-Complete: ?1``, even if it is a refusal; an error of the protocol
carries ``?0`` or nothing. That is how a client knows whether to resume.
"""

from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any

from aiohttp import HttpVersion11, web

from service.accounts.permissions import Identity
from service.catalogue import clock, uploads
from service.errors import (
    ContentMismatch,
    InconsistentUploadLength,
    LengthExceeded,
    NotFound,
    OffsetMismatch,
    Overloaded,
    Refused,
    TooManyUploads,
    UnsupportedMediaType,
    UploadCompleted,
    UploadExpired,
    YarrrError,
)
from service.keys import DATABASE, INTAKE, SETTINGS
from service.schemas.uploads import dump_upload
from service.uploads.claims import Claims
from service.uploads.model import NewUpload, Outcome, Request, Tell
from service.views.receipts import receipt_fields, track_receipt
from service.views.receiving import FORM_TYPE, RAW_TYPES, body_of, judge_sender, judge_upload, refuse_range
from service.web.body import break_off
from service.web.expect import judged
from service.web.fields import combined
from service.web.identity import require, require_still
from service.web.interim import send_interim
from service.web.payload import json_response
from service.web.problems import problem_of, respond
from service.wire import digests, draft

CREATION_TYPES = (*RAW_TYPES, draft.CONTENT_TYPE)


def is_creation(request: web.Request) -> bool:
    """Whether the request asks for an upload. A form that is whole is taken as any form: it may hold several files."""
    if "Upload-Complete" not in request.headers:
        return False
    fields = combined(request)
    is_whole_form = request.content_type == FORM_TYPE and draft.is_whole(fields)
    return draft.is_creation(fields) and not is_whole_form


def is_spoken(request: web.Request) -> bool:
    """Whether a request to an upload is one of the draft, and not one of tus."""
    return draft.is_spoken(combined(request))


def discovery(request: web.Request) -> web.Response:
    """The answer to OPTIONS, given to anybody: resumable uploads can be created here, and their limits."""
    return web.Response(status=204, headers=discovery_fields(request))


def discovery_fields(request: web.Request) -> dict[str, str]:
    """What OPTIONS tells of the limits."""
    settings = request.app[SETTINGS]
    return draft.discovery_fields(settings.max_upload_bytes, settings.upload_expires_s * clock.SECOND)


async def judge_creation(request: web.Request) -> None:
    """Say no before the content of a creation.

    Raises:
        YarrrError: the answer `create_draft` is going to give.
    """
    identity = await judge_sender(request)
    refuse_range(request)
    if request.content_type == FORM_TYPE:
        raise UnsupportedMediaType("A form cannot be sent in pieces; send the file itself.", accepted=[*RAW_TYPES])
    request.app[INTAKE].admit(identity.user_id, _creation(request).length)


async def create_draft(request: web.Request, filename: str | None) -> web.Response:
    """Create an upload and take what comes with it. 201 is the receipt of a track, or where to go on."""
    try:
        await judged(request, judge_creation)
        identity = await require(request, "upload")
        return _answer(request, await _create(request, identity, filename))
    except YarrrError as error:
        return refusal(request, error)


def require_raw(request: web.Request) -> None:
    """Raise unless the content is said to be audio, or nothing in particular.

    Raises:
        UnsupportedMediaType: the content is something else.
    """
    if request.content_type not in CREATION_TYPES:
        raise UnsupportedMediaType("Send audio/mpeg.", accepted=[*RAW_TYPES])


async def judge_post(request: web.Request) -> None:
    """Say no before the body of a POST to the tracks.

    Raises:
        YarrrError: the answer the view is going to give.
    """
    if is_creation(request):
        require_raw(request)
        await judge_creation(request)
    else:
        await judge_upload(request)


async def judge_append(request: web.Request) -> None:
    """Say no before the content of a PATCH, from its header alone.

    Raises:
        YarrrError: the answer `patch_draft` is going to give.
    """
    await judge_sender(request)
    fields = combined(request)
    if not draft.may_append_as(fields):
        raise UnsupportedMediaType(f"Send {draft.CONTENT_TYPE}.", accepted=[draft.CONTENT_TYPE])
    draft.parse_append(fields, _content_length(request))


async def judge_expected_append(request: web.Request, upload_id: str) -> None:
    """The same for a client that asks before it sends the content: its offset is judged, too.

    Raises:
        YarrrError: the answer `patch_draft` is going to give.
    """
    await judge_append(request)
    identity = await require(request, "upload")
    wanted = draft.parse_append(combined(request), _content_length(request))
    upload = (await request.app[INTAKE].look(identity.user_id, upload_id)).upload
    if upload.state == "finished":
        _check_repeated(wanted, upload)
    elif wanted.offset != upload.offset:
        raise OffsetMismatch(
            "The upload is at another offset.", expected_offset=upload.offset, provided_offset=wanted.offset
        )


async def patch_draft(request: web.Request, upload_id: str) -> web.Response:
    """Append at the offset. After the last content the answer is the receipt; who repeats that gets it again."""
    try:
        await judged(request, judge_append)
        identity = await require(request, "upload")
        return _answer(request, await _append(request, identity, upload_id))
    except YarrrError as error:
        return refusal(request, error)


async def head_draft(request: web.Request, upload_id: str) -> web.Response:
    """The offset; a running append is ended first, so the offset holds."""
    identity = await require(request, "upload")
    is_lenient = draft.ends_with_length(combined(request))
    outcome = await request.app[INTAKE].look(identity.user_id, upload_id, ends_with_length=is_lenient)
    return web.Response(status=204, headers=state_fields(request, outcome))


async def get_draft(request: web.Request, upload_id: str) -> web.Response:
    """The same with the upload in JSON."""
    identity = await require(request, "upload")
    outcome = await request.app[INTAKE].look(identity.user_id, upload_id)
    return json_response(dump_upload(outcome.upload, outcome.track), headers=state_fields(request, outcome))


def state_fields(request: web.Request, outcome: Outcome) -> dict[str, str]:
    """What HEAD tells of an upload, and of the track it has become."""
    upload = outcome.upload
    is_complete = upload.state == "finished"
    fields = draft.state_fields(upload.offset, upload.length, _limit(request, upload), is_complete=is_complete)
    return fields if outcome.track is None else {**fields, **receipt_fields(outcome.track)}


async def _create(request: web.Request, identity: Identity, filename: str | None) -> Outcome:
    wanted = _creation(request)
    # Checked at the end. Only SHA-256 is kept with an upload; RFC 9530 section 2 lets other digests be ignored.
    claimed = digests.parse(combined(request), "Repr-Digest").get("sha256")
    claims = Claims(digests.parse(combined(request), "Content-Digest"))
    intake = request.app[INTAKE]
    upload = await intake.create(
        identity.user_id, NewUpload(filename, length=wanted.length, claimed_sha256=claimed, is_announced=True)
    )
    if not wanted.is_complete and not request.body_exists:
        return Outcome(upload)
    interop = _interop(request)
    body = _Content(request, is_last=wanted.is_last is not False, announced=upload if interop else None)
    append = Request(
        body,
        offset=0,
        is_last=wanted.is_last,
        claims=claims,
        stop=partial(break_off, request),
        tell=_teller(request),
    )
    try:
        return await intake.start(upload, append, is_announced=interop is not None)
    except (LengthExceeded, Overloaded, TooManyUploads):  # invalid from now on; or nobody was told of it yet
        await _deactivate(request, identity, upload.upload_id)
        raise


async def _append(request: web.Request, identity: Identity, upload_id: str) -> Outcome:
    wanted = draft.parse_append(combined(request), _content_length(request))
    append = Request(
        _Content(request, is_last=wanted.is_last is not False),
        offset=wanted.offset,
        is_last=wanted.is_last,
        length=wanted.length,
        content_length=_content_length(request),
        claims=Claims(digests.parse(combined(request), "Content-Digest")),
        stop=partial(break_off, request),
        tell=_teller(request),
    )
    try:
        outcome = await request.app[INTAKE].append(identity.user_id, upload_id, append)
    except InconsistentUploadLength as error:
        if isinstance(error, LengthExceeded) or _is_past(wanted.end, error.facts.get("length")):
            await _deactivate(request, identity, upload_id)
        raise
    except OffsetMismatch:
        upload = await uploads.get(request.app[DATABASE], upload_id, identity.user_id)
        if upload.state == "finished":
            _check_repeated(wanted, upload)
        raise
    if outcome.upload.state == "finished":
        _check_repeated(wanted, outcome.upload)
    return outcome


def _check_repeated(wanted: draft.Appending, upload: uploads.Upload) -> None:
    """A finished upload answers its last request, and that request again; no other.

    Raises:
        InconsistentUploadLength: there is content behind the end, or the end would be elsewhere.
        UploadCompleted: the request is not a last one.
    """
    end = wanted.end
    if end is not None and (end > upload.offset or (wanted.is_complete and end != upload.offset)):
        raise InconsistentUploadLength("The upload is finished and has another length.", length=upload.offset)
    if wanted.is_last is False or end not in (None, upload.offset):
        raise UploadCompleted("The upload is finished.")


def _is_past(end: int | None, length: int | None) -> bool:
    return end is not None and length is not None and end > length


async def _deactivate(request: web.Request, identity: Identity, upload_id: str) -> None:
    with suppress(NotFound, UploadExpired):
        await request.app[INTAKE].terminate(identity.user_id, upload_id)


class _Content:
    """The content of a request. Before its first byte is read, a new upload is announced; after its last one, the
    sender's rights are looked at again.
    """

    def __init__(self, request: web.Request, *, is_last: bool, announced: uploads.Upload | None = None) -> None:
        self._request = request
        self._body = body_of(request)
        self._is_last = is_last
        self._announced = announced

    async def read(self) -> bytes:
        """The next bytes; empty at the end.

        Raises:
            BodyError: as `RequestBody.read` does.
            AccessError: who began to send it may not any more.
        """
        if self._announced is not None:
            upload, self._announced = self._announced, None
            _announce(self._request, upload)
        chunk = await self._body.read()
        if not chunk and self._is_last:
            await require_still(self._request, "upload")
        return chunk

    def at_end(self) -> bool:
        return self._body.at_end()


def _announce(request: web.Request, upload: uploads.Upload) -> None:
    interop = _interop(request)
    assert interop is not None
    fields = draft.announcement(interop, _location(upload), _limit(request, upload))
    send_interim(request, draft.STATUS, draft.REASON, fields)


def _teller(request: web.Request) -> Tell | None:
    interop = _interop(request)
    if interop is None:
        return None

    async def tell(offset: int) -> None:
        send_interim(request, draft.STATUS, draft.REASON, draft.progress(interop, offset))

    return tell


def _interop(request: web.Request) -> int | None:
    return draft.interop_of(combined(request)) if request.version >= HttpVersion11 else None


def _creation(request: web.Request) -> draft.Creation:
    return draft.parse_creation(combined(request), _content_length(request))


def _content_length(request: web.Request) -> int | None:
    return request.content_length if request.body_exists else 0


def _location(upload: uploads.Upload) -> str:
    return f"/uploads/{upload.upload_id}"


def _limit(request: web.Request, upload: uploads.Upload) -> dict[str, str]:
    lives_us = upload.expires_at - clock.now() if upload.state == "receiving" else None
    return draft.limit_field(request.app[SETTINGS].max_upload_bytes, lives_us)


def _answer(request: web.Request, outcome: Outcome) -> web.Response:
    upload = outcome.upload
    if upload.state == "finished":
        if outcome.track is None:
            raise UploadExpired("The upload is finished, and its track has been deleted.", state="finished")
        response = track_receipt(outcome.track)
        response.headers.update(draft.offset_fields(upload.offset, is_complete=True))
        return response
    headers = {**draft.offset_fields(upload.offset, is_complete=False), **_limit(request, upload)}
    if "upload_id" in request.match_info:
        return web.Response(status=204, headers=headers)
    return json_response(dump_upload(upload), status=201, headers={"Location": _location(upload), **headers})


def refusal(request: web.Request, error: YarrrError) -> web.Response:
    """The answer to an error, in the words of the draft.

    Raises:
        YarrrError: the draft has nothing to add.
    """
    problem = problem_of(error)
    headers: dict[str, str] = {}
    facts: dict[str, Any] = error.facts
    if isinstance(error, OffsetMismatch):
        expected, provided = facts["expected_offset"], facts["provided_offset"]
        facts = {"type": draft.MISMATCHING_OFFSET, "expected-offset": expected, "provided-offset": provided}
        headers = draft.offset_fields(expected, is_complete=False)
    elif isinstance(error, InconsistentUploadLength):
        facts = {"type": draft.INCONSISTENT_LENGTH, **facts}
        headers = draft.complete_field(is_complete=False)
    elif isinstance(error, UploadCompleted):
        facts = {"type": draft.COMPLETED, **facts}
    elif problem.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        headers = draft.limit_field(request.app[SETTINGS].max_upload_bytes)
    elif isinstance(error, ContentMismatch):
        headers = draft.complete_field(is_complete=False)
    elif isinstance(error, Refused) or facts.get("state") == "finished":
        headers = draft.complete_field(is_complete=True)
    else:
        raise error
    return respond(request, problem, detail=error.detail, facts=facts, headers=headers)
