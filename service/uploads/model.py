"""What doors and intake say to each other."""

import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.catalogue.uploads import Upload
from service.uploads.claims import Claims
from service.uploads.receive import Body

PARTIAL = "partial"
"""The value of ``concat`` of an upload that is to be put together with others."""

Tell = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class NewUpload:
    """What a door knows before the first byte. ``length`` is None when the client did not say.

    ``is_announced``: the client is told the upload's address, or knows how to ask for it, and may come back to it.
    """

    filename: str | None
    title: str | None = None
    length: int | None = None
    claimed_sha256: bytes | None = None
    metadata: str | None = None
    concat: str | None = None
    is_announced: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """One append as a door understood it.

    ``is_last``: True, these are the last bytes; False, more will come; None, they are the last when the length is
    reached. ``length`` is that of the whole, ``content_length`` that of the body, if known. ``stop`` makes the body
    break off: it is called when a newer request wants the upload. ``tell`` is given durable offsets while it runs.
    """

    body: Body
    offset: int
    is_last: bool | None = None
    length: int | None = None
    content_length: int | None = None
    claims: Claims | None = None
    stop: Callable[[], None] = lambda: None
    tell: Tell | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The upload after an append, and the track it has become, if it has."""

    upload: Upload
    track: sqlite3.Row | None = None
