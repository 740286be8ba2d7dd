"""Collections: ordered lists of tracks, and what stands in each."""

import sqlite3
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import orjson
import ulid
from aiohttp import web
from multidict import MultiDict, MultiMapping

from service.catalogue import clock, collections, items
from service.catalogue.collections import SORTS
from service.catalogue.items import Item
from service.catalogue.listing import FIELDS, Page
from service.errors import NotFound
from service.keys import DATABASE
from service.schemas.collections import (
    COLLECTION_FIELDS,
    AddSchema,
    CollectionChangeSchema,
    NewCollectionSchema,
    OrderSchema,
    collection_etag,
    dump_collection,
    is_version_of,
)
from service.views.listing import CACHE, Listed, for_a_page, link, listing_of, page_response, whole_text
from service.views.tracks import PATCH_TYPES
from service.web.conditional import check_match, is_not_modified
from service.web.identity import require
from service.web.negotiate import is_browser
from service.web.pages import render
from service.web.paging import MAX_LIMIT, Filter, Rules, read_query
from service.web.payload import json_response, load

T = TypeVar("T")

MAX_DIGITS = 15
TYPES = ("application/json", "application/x-www-form-urlencoded")
"""What a program and a form send."""

RULES = Rules(
    filters={"name": Filter("name", "=", whole_text)}, sorts=SORTS, fields=COLLECTION_FIELDS, default_sort="-created_at"
)
"""The filter compares without regard to ASCII case."""

ITEM_RULES = Rules(filters={}, sorts=("position",), fields=FIELDS, default_sort="position")
"""``fields`` are members of the tracks."""


class Collections(web.View):
    """Own collections, page by page."""

    async def get(self) -> web.Response:
        """A page, as one of tracks is."""
        identity = await require(self.request, "read")
        is_for_people = is_browser(self.request)
        parameters = for_a_page(self.request.query) if is_for_people else self.request.query
        query = read_query(parameters, RULES, identity.user_id)
        page = await collections.page_collections(self.request.app[DATABASE], listing_of(query, identity.user_id))
        found = Page([_packed(row, query.fields) for row in page.rows], page.before, page.after, page.count)
        listed = link(self.request.path, parameters, query, found)
        if is_for_people:
            found_here = [orjson.loads(item) for item in listed.items]
            return render(self.request, "collections.html", collections=found_here, page=listed)
        return page_response(self.request, listed)

    head = get

    async def post(self) -> web.Response:
        """Make an empty collection; a browser goes to its page."""
        identity = await require(self.request, "upload")
        data = await load(self.request, NewCollectionSchema(), types=TYPES)
        collection_id, now = str(ulid.ULID()), clock.now()
        row = await self.request.app[DATABASE].write(
            lambda connection: collections.create(connection, identity.user_id, collection_id, **data, now=now)
        )
        if is_browser(self.request):
            raise web.HTTPSeeOther(f"/collections/{collection_id}")
        headers = {**_headers(row), "Location": f"/collections/{collection_id}"}
        return json_response(dump_collection(row), status=201, headers=headers)


class Collection(web.View):
    """One own collection, without what stands in it."""

    async def get(self) -> web.Response:
        """The collection; 304 when If-None-Match names its version. For a browser with what stands in it."""
        identity = await require(self.request, "read")
        if is_browser(self.request):
            return await _page(self.request, identity.user_id)
        collection_id = _collection_id(self.request)
        row = await collections.get_collection(self.request.app[DATABASE], identity.user_id, collection_id)
        headers = _headers(row)
        if is_not_modified(self.request.headers, headers["ETag"]):
            return web.Response(status=304, headers=headers)
        return json_response(dump_collection(row), headers=headers)

    head = get

    async def patch(self) -> web.Response:
        """Rename or describe it; needs If-Match."""
        identity = await require(self.request, "upload")
        patch = await load(self.request, CollectionChangeSchema(), types=PATCH_TYPES)
        if "description" in patch:
            patch["description"] = patch["description"] or ""
        change = partial(collections.change, patch=patch, now=clock.now())
        row = await _write(self.request, identity.user_id, change, needs_match=True)
        return json_response(dump_collection(row), headers=_headers(row))

    async def delete(self) -> web.Response:
        """Forget it; its tracks stay."""
        identity = await require(self.request, "delete")
        await _write(self.request, identity.user_id, collections.delete)
        return web.Response(status=204)


class Items(web.View):
    """What stands in a collection, in its order."""

    async def get(self) -> web.Response:
        """A page of ``{item_id, position, track}``."""
        identity = await require(self.request, "read")
        row, listed = await _listed(self.request, self.request.query, identity.user_id)
        return page_response(self.request, listed, partial(collection_etag, row))

    head = get

    async def post(self) -> web.Response:
        """Put tracks into it, at its end or from ``position`` on; a browser goes to the collection."""
        identity = await require(self.request, "upload")
        data = await load(self.request, AddSchema(), types=TYPES)
        track_ids = data.get("track_ids") or [data["track_id"]]
        add = partial(items.add, track_ids=track_ids, position=data.get("position"), now=clock.now())
        row, added = await _write(self.request, identity.user_id, add)
        if is_browser(self.request):
            raise web.HTTPSeeOther(f"/collections/{row['collection_id']}")
        headers = _headers(row)
        if len(added) == 1:
            headers["Location"] = f"{self.request.path}/{added[0].item_id}"
        body = f'{{"items":[{",".join(map(_item, added))}]}}'
        return web.Response(status=201, text=body, content_type="application/json", headers=headers)

    async def put(self) -> web.Response:
        """Make this the whole order; needs If-Match."""
        identity = await require(self.request, "upload")
        order = await load(self.request, OrderSchema())
        arrange = partial(items.arrange, **order, now=clock.now())
        row = await _write(self.request, identity.user_id, arrange, needs_match=True)
        return json_response(dump_collection(row), headers=_headers(row))


class OneItem(web.View):
    """One item of a collection."""

    async def get(self) -> web.Response:
        """The item with its track."""
        identity = await require(self.request, "read")
        collection_id, item_id = _collection_id(self.request), _item_id(self.request)
        item = await items.get_item(self.request.app[DATABASE], identity.user_id, collection_id, item_id, FIELDS)
        return web.Response(text=_item(item), content_type="application/json", headers=CACHE)

    head = get

    async def delete(self) -> web.Response:
        """Take it out; the track stays."""
        identity = await require(self.request, "upload")
        remove = partial(items.remove, item_id=_item_id(self.request), now=clock.now())
        row = await _write(self.request, identity.user_id, remove)
        return web.Response(status=204, headers=_headers(row))


async def _page(request: web.Request, user_id: str) -> web.Response:
    """The collection and what stands in it, for people: as much as there may be on one page."""
    parameters = MultiDict((name, value) for name, value in request.query.items() if name in ("limit", "cursor"))
    parameters.setdefault("limit", str(MAX_LIMIT))
    row, page = await _listed(request, parameters, user_id)
    return render(
        request,
        "collection.html",
        collection=dump_collection(row),
        items=[orjson.loads(item) for item in page.items],
        page=page,
    )


async def _listed(request: web.Request, parameters: MultiMapping[str], user_id: str) -> tuple[sqlite3.Row, Listed]:
    """The collection that the URL names, and the page of its items that `parameters` ask for."""
    collection_id = _collection_id(request)
    # A cursor of one collection means nothing in another, as one of another user.
    query = read_query(parameters, ITEM_RULES, f"{user_id} {collection_id}")
    page = await items.page_items(request.app[DATABASE], collection_id, listing_of(query, user_id))
    count = page.collection["track_count"] if query.is_counted else None
    found = Page([_item(each) for each in page.items], page.before, page.after, count)
    return page.collection, link(request.path, parameters, query, found)


async def _write(request: web.Request, user_id: str, change: Callable[..., T], *, needs_match: bool = False) -> T:
    """Change the collection that the URL names, if If-Match lets it."""

    def check(row: sqlite3.Row) -> None:
        is_equal = partial(is_version_of, row=row)
        check_match(request.headers, collection_etag(row), is_required=needs_match, is_equal=is_equal)

    collection_id = _collection_id(request)
    return await request.app[DATABASE].write(lambda connection: change(connection, user_id, collection_id, check=check))


def _collection_id(request: web.Request) -> str:
    return request.match_info["collection_id"]


def _item_id(request: web.Request) -> int:
    text = request.match_info["item_id"]
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise NotFound("There is no such item in the collection.")
    return int(text)


def _headers(row: sqlite3.Row) -> dict[str, str]:
    return {**CACHE, "ETag": collection_etag(row)}


def _packed(row: sqlite3.Row, fields: tuple[str, ...]) -> str:
    document = dump_collection(row)
    return orjson.dumps({name: document[name] for name in fields}).decode()


def _item(item: Item) -> str:
    return f'{{"item_id":{item.item_id},"position":{item.position},"track":{item.track}}}'
