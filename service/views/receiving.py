"""What the doors share: the judgement before a body is read, and taking one whole file."""

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from aiohttp import content_disposition_filename, parse_content_disposition, web

from service.accounts.permissions import Identity
from service.errors import InvalidHeader, ShuttingDown, TooLarge, UnsupportedMediaType
from service.keys import DRAIN, INTAKE, SETTINGS
from service.uploads.claims import Claims
from service.uploads.model import NewUpload
from service.uploads.receive import Body
from service.web import csrf
from service.web.body import RequestBody, break_off, refuse_content_encoding
from service.web.drain import RETRY_AFTER_S
from service.web.expect import Judge
from service.web.fields import combined
from service.web.identity import require
from service.web.multipart import MAX_FIELD_BYTES, MAX_FIELDS, MAX_FILES
from service.wire import digests

FORM_TYPE = "multipart/form-data"
RAW_TYPES = ("audio/mpeg", "audio/mp3", "application/octet-stream")


async def judge_upload(request: web.Request) -> None:
    """Say no before the body: who asks, from where, how much, and whether there is room.

    Raises:
        YarrrError: the answer the view is going to give.
    """
    identity = await judge_sender(request)
    refuse_range(request)
    length = request.content_length
    if request.content_type == FORM_TYPE:
        _judge_form(request, length)
        length = None
    request.app[INTAKE].admit(identity.user_id, length)


def with_quota(judge: Judge) -> Judge:
    """The judge for a client that asks before it sends a new file: its quota, too.

    Who does not ask is told by the creation of the upload, before its body is read all the same.
    """

    async def judge_both(request: web.Request) -> None:
        await judge(request)
        identity = await require(request, "upload")
        is_new_file = request.content_type != FORM_TYPE and "Content-Range" not in request.headers
        length = request.content_length if is_new_file else None
        await request.app[INTAKE].check_quota(identity.user_id, length)

    return judge_both


async def judge_sender(request: web.Request) -> Identity:
    """Who sends a body, if it may send one at all.

    Raises:
        ShuttingDown, CrossSite, Unauthenticated, InsufficientScope, UnsupportedMediaType
    """
    if request.app[DRAIN].is_draining:
        raise ShuttingDown("The service is about to stop.", retry_after=RETRY_AFTER_S)
    csrf.check(request)
    identity = await require(request, "upload")
    refuse_content_encoding(request)
    return identity


def refuse_range(request: web.Request) -> None:
    """Never take a part for the whole (RFC 9110 section 14.5).

    Raises:
        InvalidHeader: the body is said to be a part.
    """
    if "Content-Range" in request.headers:
        raise InvalidHeader("Send the whole file, without Content-Range.", field="Content-Range")


def filename_of(request: web.Request) -> str | None:
    """The file name of Content-Disposition (RFC 6266), if there is one."""
    _, parameters = parse_content_disposition(request.headers.get("Content-Disposition"))
    return content_disposition_filename(parameters)


def _judge_form(request: web.Request, length: int | None) -> None:
    most = MAX_FILES * request.app[SETTINGS].max_upload_bytes + MAX_FIELDS * MAX_FIELD_BYTES
    if length is not None and length > most:
        raise TooLarge("The form is larger than all its files may be.", limit_bytes=most)
    if "Content-Digest" in request.headers or "Repr-Digest" in request.headers:
        raise InvalidHeader("In a form the digest belongs into the header of the file's part.", field="Content-Digest")


def body_of(request: web.Request) -> RequestBody:
    """The body of the request, in pieces as large as there is memory for at the moment."""
    app = request.app
    return RequestBody(request, app[SETTINGS].body_idle_timeout_s, app[INTAKE].read_limit)


async def take_raw(request: web.Request, identity: Identity) -> sqlite3.Row:
    """Take the body as one mp3; its name is that of Content-Disposition, if there is one (RFC 6266).

    Raises:
        UnsupportedMediaType: the body is something else.
    """
    if request.content_type not in RAW_TYPES:
        raise UnsupportedMediaType("Send audio/mpeg or multipart/form-data.", accepted=[*RAW_TYPES, FORM_TYPE])
    body = body_of(request)
    new = NewUpload(filename_of(request), length=request.content_length)
    return await take_whole(request, identity.user_id, body, combined(request), new)


async def take_whole(
    request: web.Request,
    user_id: str,
    body: Body,
    fields: Mapping[str, str],
    new: NewUpload,
    *,
    is_named: bool = False,
) -> sqlite3.Row:
    """Take one whole file from its first byte to its receipt, the track's row. Who asks for the upload meanwhile, to go
    on with it, ends the request.

    `fields` is the header that may hold ``Repr-Digest`` and ``Content-Digest``: the request's, or the part's in a form.
    Of a whole file, both are digests of the same bytes.

    Raises:
        InvalidHeader: the digests cannot be read, or contradict each other.
        YarrrError: as `Intake.take_whole` does.
    """
    claimed = digests.parse(fields, "Repr-Digest")
    for name, digest in digests.parse(fields, "Content-Digest").items():
        if claimed.setdefault(name, digest) != digest:
            raise InvalidHeader("Content-Digest and Repr-Digest of a whole file must agree.", field="Content-Digest")
    intake = request.app[INTAKE]
    new = replace(new, claimed_sha256=claimed.pop("sha256", None))
    stop = partial(break_off, request)
    return await intake.take_whole(
        user_id, new, body, Claims(claimed), at_most=request.content_length, stop=stop, is_named=is_named
    )
