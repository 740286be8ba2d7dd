"""The form door: multipart/form-data with one or more mp3 files, answered one by one."""

import sqlite3
from dataclasses import dataclass

from aiohttp import web

from service.accounts.permissions import Identity
from service.catalogue import tracks
from service.errors import BodyError, Invalid, MalformedBody, NotAnMp3, YarrrError
from service.keys import DATABASE, SETTINGS
from service.uploads.intake import MAX_TITLE_CHARACTERS
from service.uploads.model import NewUpload
from service.uploads.names import clean_text
from service.views.receiving import take_whole
from service.web.multipart import Field, FilePart, parts

FILE_FIELDS = ("mp3", "file")
TITLE_FIELD = "name"
READ_ON_BYTES = 64 << 20
"""After a refused file the rest of the form is read to its end only if it is not longer than this."""


@dataclass(slots=True)
class Taken:
    """What became of one file of the form: a track's row, or an error."""

    filename: str
    row: sqlite3.Row | None = None
    error: YarrrError | None = None


async def take_form(request: web.Request, identity: Identity) -> list[Taken]:
    """Take every file of the form, in the order they come.

    The field ``name`` is the title of the file behind it, or, at the end of the form, of the last one.

    Raises:
        Invalid: there is no file in the form.
        YarrrError: the form itself broke; or its only file was refused and much more was to come.
    """
    taken: list[Taken] = []
    title: str | None = None
    idle_timeout_s = request.app[SETTINGS].body_idle_timeout_s
    async for part in parts(request, idle_timeout_s):
        if isinstance(part, Field):
            title = _title(part.value) if part.name == TITLE_FIELD else title
            continue
        taken.append(await _take_file(request, identity, part, title))
        title = None
        if taken[-1].error is not None:
            if not _may_read_on(request):
                break
            await part.skip()
            if _is_nothing(taken[-1]):
                taken.pop()
    if not taken:
        raise Invalid(errors=[{"pointer": "/mp3", "detail": "Send at least one file, as the field mp3 or file."}])
    if title and (row := taken[-1].row) is not None:
        taken[-1].row = await request.app[DATABASE].write(
            lambda connection: tracks.give_title(connection, row["track_id"], title)
        )
    return taken


async def _take_file(request: web.Request, identity: Identity, part: FilePart, title: str | None) -> Taken:
    taken = Taken(part.filename or "")
    try:
        if part.name not in FILE_FIELDS:
            raise Invalid(errors=[{"pointer": f"/{part.name}", "detail": "Send files as the field mp3 or file."}])
        new = NewUpload(part.filename, title=title)
        taken.row = await take_whole(request.app, identity.user_id, part, part.headers, new)
    except (BodyError, MalformedBody):
        raise
    except YarrrError as error:
        taken.error = error
    return taken


def _title(text: str) -> str | None:
    return clean_text(text)[:MAX_TITLE_CHARACTERS].strip() or None


def _is_nothing(taken: Taken) -> bool:
    """Whether it is the part a browser sends for a file field in which nothing was chosen: no name, no bytes."""
    return not taken.filename and isinstance(taken.error, NotAnMp3) and taken.error.facts.get("bytes_examined") == 0


def _may_read_on(request: web.Request) -> bool:
    length = request.content_length
    return length is not None and length - request.content.total_bytes <= READ_ON_BYTES
