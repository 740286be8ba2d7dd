"""The curl door: ``curl -T song.mp3 …/spool/`` (curl appends the file's name), and going on with a file by its name."""

from contextlib import suppress
from functools import partial

from aiohttp import web

from service.accounts.permissions import Identity
from service.catalogue import uploads
from service.errors import NotFound, OffsetMismatch, UploadExpired
from service.keys import DATABASE, INTAKE
from service.uploads.claims import Claims
from service.uploads.model import NewUpload, Outcome, Request
from service.uploads.names import clean_filename
from service.views import drafts
from service.views.receipts import receipt
from service.views.receiving import body_of, judge_sender, take_whole
from service.web.body import break_off
from service.web.expect import judged
from service.web.fields import combined
from service.web.identity import require
from service.web.problems import answer_to
from service.wire import content_range, digests, draft
from service.wire.content_range import ContentRange


class Spool(web.View):
    """A file by its name. The name is display text: two uploads of one name are two tracks."""

    async def options(self) -> web.StreamResponse:
        """What resumable uploads may be; asked by anybody."""
        return drafts.discovery(self.request)

    async def head(self) -> web.StreamResponse:
        """The offset of one's newest unfinished upload of the name; who was still sending it is cut off."""
        identity = await require(self.request, "upload")
        outcome = await _look(self.request, identity)
        location = {"Location": f"/uploads/{outcome.upload.upload_id}"}
        return web.Response(status=204, headers={**location, **drafts.state_fields(self.request, outcome)})

    async def put(self) -> web.StreamResponse:
        """Take the body as one mp3, or as a part of one; 201 is the receipt, 204 says that more is to come."""
        if drafts.is_creation(self.request):
            return await drafts.create_draft(self.request, self.request.match_info["filename"])
        try:
            await judged(self.request, judge_put)
            identity = await require(self.request, "upload")
            part = _part(self.request)
            if part is None or part.is_whole:
                return await _take_whole(self.request, identity)
            return _answer(self.request, await _take_part(self.request, identity, part))
        except OffsetMismatch as error:
            response = answer_to(self.request, error)
            response.headers["Upload-Offset"] = str(error.facts["expected_offset"])
            return response

    async def delete(self) -> web.StreamResponse:
        """End one's newest unfinished upload of the name; its bytes go."""
        identity = await require(self.request, "upload")
        upload = await _find(self.request, identity)
        if upload is None:
            raise NotFound("You have no unfinished upload of that name.")
        await self.request.app[INTAKE].terminate(identity.user_id, upload.upload_id)
        return web.Response(status=204)


async def judge_put(request: web.Request) -> None:
    """Say no before the body.

    Raises:
        YarrrError: the answer the view is going to give.
    """
    identity = await judge_sender(request)
    part = _part(request)
    length = request.content_length if part is None else part.end + 1 - part.start
    request.app[INTAKE].admit(identity.user_id, length)


async def judge_expected(request: web.Request) -> None:
    """The same for a client that asks before it sends the body: where it starts is judged, too.

    Raises:
        YarrrError: the answer the view is going to give.
    """
    if drafts.is_creation(request):
        await drafts.judge_creation(request)
        return
    await judge_put(request)
    part = _part(request)
    if part is None or part.is_whole:
        return
    identity = await require(request, "upload")
    upload = await _find_begun(request, identity, part)
    if upload is None:
        _check_start(part, 0)
    else:
        _check_start(part, (await request.app[INTAKE].look(identity.user_id, upload.upload_id)).upload.offset)


async def _take_whole(request: web.Request, identity: Identity) -> web.Response:
    new = NewUpload(request.match_info["filename"], length=request.content_length)
    body, fields = body_of(request), combined(request)
    return receipt(request, await take_whole(request, identity.user_id, body, fields, new, is_named=True))


async def _take_part(request: web.Request, identity: Identity, part: ContentRange) -> Outcome:
    """Go on with one's newest unfinished upload of the name, or begin one.

    Raises:
        OffsetMismatch: it stands elsewhere.
        YarrrError: as `Intake.append` does.
    """
    intake = request.app[INTAKE]
    append = Request(
        body_of(request),
        offset=part.start,
        is_last=part.is_last,
        length=part.total,
        content_length=request.content_length,
        claims=Claims(digests.parse(combined(request), "Content-Digest")),
        stop=partial(break_off, request),
    )
    upload = await _find_begun(request, identity, part)
    if upload is not None:
        return await intake.append(identity.user_id, upload.upload_id, append)
    _check_start(part, 0)
    claimed = digests.parse(combined(request), "Repr-Digest").get("sha256")
    new = NewUpload(request.match_info["filename"], length=part.total, claimed_sha256=claimed, is_announced=True)
    return await intake.start(await intake.create(identity.user_id, new), append)


def _answer(request: web.Request, outcome: Outcome) -> web.Response:
    if outcome.track is not None:
        return receipt(request, outcome.track)
    return web.Response(status=204, headers=draft.offset_fields(outcome.upload.offset, is_complete=False))


def _check_start(part: ContentRange, offset: int) -> None:
    if part.start != offset:
        raise OffsetMismatch(
            "The upload of that name is at another offset.", expected_offset=offset, provided_offset=part.start
        )


def _part(request: web.Request) -> ContentRange | None:
    if content_range.FIELD not in request.headers:
        return None
    return content_range.parse(combined(request), request.content_length)


async def _look(request: web.Request, identity: Identity) -> Outcome:
    upload = await _find(request, identity)
    if upload is not None:
        with suppress(UploadExpired):
            outcome = await request.app[INTAKE].look(identity.user_id, upload.upload_id)
            if outcome.upload.state == "receiving":
                return outcome
    raise NotFound("You have no unfinished upload of that name.")


async def _find(request: web.Request, identity: Identity) -> uploads.Upload | None:
    filename = clean_filename(request.match_info["filename"])
    return await uploads.find_open(request.app[DATABASE], identity.user_id, filename)


async def _find_begun(request: web.Request, identity: Identity, part: ContentRange) -> uploads.Upload | None:
    """The upload that the part belongs to. A first part never cuts off another upload of the name that is running."""
    upload = await _find(request, identity)
    if upload is not None and part.start == 0 and request.app[INTAKE].is_running(upload.upload_id):
        return None
    return upload
