"""What ``GET /tracks`` can be asked, and a page of it."""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson
from aiohttp import web
from multidict import MultiDict, MultiMapping

from service.catalogue import clock, search
from service.catalogue.listing import FIELDS, SORTS, Listing, Page, ordered, page_tracks
from service.keys import DATABASE
from service.schemas.tracks import LABEL_NAME
from service.web.conditional import is_not_modified
from service.web.paging import OPERATORS, Filter, Query, Rules, cursor, link_field, page_url, read_query

MODES = ("cbr", "vbr", "abr")
STATES = ("analysing", "ready", "trashed")
METADATA = ("pending", "available", "unavailable")
MAX_TEXT = 512
MAX_SEARCH = 256
MAX_WORDS = 32
CACHE = {"Cache-Control": "private, no-cache", "Vary": "Accept, Authorization, Cookie"}
"""Of every answer about what a user has."""

_TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:[Zz]|[+-]\d\d:\d\d))?", re.ASCII)


def whole_text(value: str) -> str:
    """The words of a filter, as the catalogue writes them."""
    if len(value) > MAX_TEXT or "\0" in value or any("\ud800" <= each <= "\udfff" for each in value):
        raise ValueError(f"Text of at most {MAX_TEXT} characters.")
    return unicodedata.normalize("NFC", value)


def _integer(value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 18):
        raise ValueError("A number of digits only.")
    return int(value)


def _number(value: str) -> float:
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,9})?", value) is None:
        raise ValueError("A number of seconds, such as 90 or 90.5.")
    return float(value)


def _moment(value: str) -> int:
    try:
        if _TIME.fullmatch(value):
            moment = datetime.fromisoformat(value.upper())
            return clock.from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except ValueError:
        pass
    raise ValueError("A time such as 2026-11-22T16:10:00Z, or a date; write + as %2B.")


def _digest(value: str) -> bytes:
    if re.fullmatch(r"[0-9A-Fa-f]{64}", value) is None:
        raise ValueError("64 hexadecimal digits.")
    return bytes.fromhex(value)


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"One of {', '.join(allowed)}.")
        return value

    return read


def _range(name: str, column: str, read: Callable[[str], Any]) -> dict[str, Filter]:
    return {f"{name}{suffix}": Filter(column, operator, read) for suffix, operator in OPERATORS.items()}


def _words(value: str) -> tuple[str, ...] | None:
    text = whole_text(value)
    words = search.fold(text)
    if len(text) > MAX_SEARCH or len(words) > MAX_WORDS:
        raise ValueError(f"At most {MAX_SEARCH} characters and {MAX_WORDS} words.")
    if not words and text.strip():
        raise ValueError("Has no letter and no digit.")
    return tuple(words) or None


def _label(name: str) -> Filter | None:
    return Filter(f"label:{name}", "=", whole_text) if re.fullmatch(LABEL_NAME, name) else None


RULES = Rules(
    filters={
        "q": Filter("words", "=", _words),
        **{name: Filter(name, "=", whole_text) for name in search.TEXTS},
        **_range("year", "year", _integer),
        "mode": Filter("mode", "=", _one_of(*MODES)),
        "channels": Filter("channels", "=", _integer),
        "sample_rate": Filter("sample_rate", "=", _integer),
        "state": Filter("state", "=", _one_of(*STATES)),
        "metadata": Filter("metadata", "=", _one_of(*METADATA)),
        "has_cover": Filter("has_cover", "=", lambda value: int(_one_of("true", "false")(value) == "true")),
        "sha256": Filter("sha256", "=", _digest),
        "same_as": Filter("same_as", "=", whole_text),
        **_range("duration", "duration", _number),
        **_range("size", "size", _integer),
        **_range("bitrate", "bitrate", _integer),
        **_range("created", "created_at", _moment),
        **_range("created_at", "created_at", _moment),
    },
    sorts=SORTS,
    fields=FIELDS,
    default_sort="-created_at",
    families={"label": _label},
    ordered=ordered,
)
"""Filters compare texts whole, all but file names and labels without regard to ASCII case; ``state=trashed`` lists the
trash. ``q`` finds words by their beginnings; an empty one, as an empty form sends it, filters nothing.
"""


@dataclass(frozen=True, slots=True)
class Listed:
    """A page with the relative URLs around it; ``items`` are JSON documents."""

    items: list[str]
    next: str | None
    prev: str | None
    first: str
    limit: int
    count: int | None


async def listed(request: web.Request, parameters: MultiMapping[str], user_id: str) -> Listed:
    """The page of the user's tracks that `parameters` ask for, linked as one of this request's path.

    Raises:
        InvalidQuery: they ask for what there is not.
        NotFound: ``same_as`` names no track of theirs.
    """
    query = read_query(parameters, RULES, user_id)
    page = await page_tracks(request.app[DATABASE], listing_of(query, user_id))
    return link(request.path, parameters, query, page)


def listing_of(query: Query, user_id: str) -> Listing:
    """What the catalogue is asked for."""
    return Listing(
        user_id=user_id,
        conditions=query.conditions,
        sort=query.sort,
        fields=query.fields,
        limit=query.limit,
        position=query.position,
        is_backwards=query.is_backwards,
        is_counted=query.is_counted,
    )


def for_a_page(parameters: MultiMapping[str]) -> MultiMapping[str]:
    """The query of a page, which shows whole tracks."""
    return MultiDict((name, value) for name, value in parameters.items() if name != "fields")


def link(path: str, parameters: MultiMapping[str], query: Query, page: Page) -> Listed:
    """`page`, which `query` has asked for, with the URLs of the pages around it."""
    before = cursor(query, page.before, is_backwards=True) if page.before else None
    after = cursor(query, page.after, is_backwards=False) if page.after else None
    return Listed(
        items=page.items,
        next=page_url(path, parameters, after) if after else None,
        prev=page_url(path, parameters, before) if before else None,
        first=page_url(path, parameters, None),
        limit=query.limit,
        count=page.count,
    )


def page_response(request: web.Request, page: Listed, etag: Callable[[str], str] = 'W/"{}"'.format) -> web.Response:
    """The page as JSON with its links, or 304; `etag` makes an entity tag of what tells its content from others."""
    items = orjson.Fragment(f"[{','.join(page.items)}]")
    document = {"items": items, "next": page.next, "prev": page.prev, "limit": page.limit, "count": page.count}
    body = orjson.dumps(document)
    headers = {
        **CACHE,
        "ETag": etag(sha256(body).hexdigest()[:32]),
        "Link": link_field({"next": page.next, "prev": page.prev, "first": page.first}),
    }
    if is_not_modified(request.headers, headers["ETag"]):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type="application/json", headers=headers)
