"""The form door: multipart/form-data with one or more mp3 files, answered one by one."""

import sqlite3
from dataclasses import dataclass, field

from aiohttp import web

from service.accounts.permissions import Identity
from service.catalogue import tracks
from service.errors import BodyError, ClientGone, Invalid, MalformedBody, NotAnMp3, YarrrError
from service.keys import DATABASE, INTAKE, SETTINGS
from service.uploads.intake import MAX_TITLE_CHARACTERS
from service.uploads.model import NewUpload
from service.uploads.names import clean_text
from service.views.receiving import take_whole
from service.web.fields import joined
from service.web.multipart import Field, FilePart, parts

FILE_FIELDS = ("mp3", "file")
TITLE_FIELD = "name"
READ_ON_BYTES = 64 << 20
"""How much is passed over for what may follow a refused file. Where the length of the form is known, and more than this
is left of it, not even a beginning is made."""


@dataclass(slots=True)
class Taken:
    """What became of one file of the form: a track's row, or an error; of no file, an error of the form itself."""

    filename: str
    row: sqlite3.Row | None = None
    error: YarrrError | None = None


@dataclass(slots=True)
class TakenForm:
    """What became of a form, so far."""

    items: list[Taken] = field(default_factory=list)
    is_complete: bool = False
    """Whether all of it was read: what is no item was not in it."""
    skipped_bytes: int = 0


async def take_form(request: web.Request, identity: Identity) -> TakenForm:
    """Take every file of the form, in the order they come.

    The field ``name`` is the title of the file behind it, or, at the end of the form, of the last one. Once there was a
    file, an error of the form is one more item: the receipts of what is stored must not be lost.

    Raises:
        Invalid: there is no file in the form.
        ClientGone: nobody is left to be answered.
        YarrrError: the form broke before its first file.
    """
    form = TakenForm()
    try:
        await _take_parts(request, identity, form)
    except ClientGone:
        raise
    except YarrrError as error:
        if not form.items:
            raise
        form.items.append(Taken("", error=error))
    if not form.items:
        raise Invalid(errors=[{"pointer": "/mp3", "detail": "Send at least one file, as the field mp3 or file."}])
    return form


async def _take_parts(request: web.Request, identity: Identity, form: TakenForm) -> None:
    title: str | None = None
    async for part in parts(request, request.app[SETTINGS].body_idle_timeout_s, request.app[INTAKE].read_limit):
        if isinstance(part, Field):
            title = _title(part.value) if part.name == TITLE_FIELD else title
            continue
        taken = await _take_file(request, identity, part, title)
        form.items.append(taken)
        title = None
        if taken.error is not None and not await _read_on(request, part, taken.error, form):
            return
        if _is_nothing(taken):
            form.items.pop()
    form.is_complete = True
    if title and form.items and (row := form.items[-1].row) is not None:
        form.items[-1].row = await request.app[DATABASE].write(
            lambda connection: tracks.give_title(connection, row["track_id"], title)
        )


async def _take_file(request: web.Request, identity: Identity, part: FilePart, title: str | None) -> Taken:
    taken = Taken(part.filename or "")
    try:
        if part.name not in FILE_FIELDS:
            raise Invalid(errors=[{"pointer": f"/{part.name}", "detail": "Send files as the field mp3 or file."}])
        new = NewUpload(part.filename, title=title)
        taken.row = await take_whole(request, identity.user_id, part, joined(part.headers), new)
    except ClientGone:
        raise
    except YarrrError as error:
        taken.error = error
    return taken


async def _read_on(request: web.Request, part: FilePart, error: YarrrError, form: TakenForm) -> bool:
    """Pass over the rest of a refused file; False where the form cannot, or shall not, be read any further."""
    length = request.content_length
    is_long = length is not None and length - request.content.total_bytes > READ_ON_BYTES
    if is_long or isinstance(error, BodyError | MalformedBody):
        return False
    try:
        form.skipped_bytes += await part.skip(READ_ON_BYTES - form.skipped_bytes)
    except ClientGone:
        raise
    except YarrrError:  # the file has its answer already
        return False
    return form.skipped_bytes <= READ_ON_BYTES


def _title(text: str) -> str | None:
    return clean_text(text)[:MAX_TITLE_CHARACTERS].strip() or None


def _is_nothing(taken: Taken) -> bool:
    """Whether it is the part a browser sends for a file field in which nothing was chosen: no name, no bytes."""
    return not taken.filename and isinstance(taken.error, NotAnMp3) and taken.error.facts.get("bytes_examined") == 0
