"""How many of my tracks there are of each artist, album, genre and year: what a page can be narrowed to."""

from hashlib import sha256
from typing import Any

import orjson
from aiohttp import web
from multidict import MultiDict, MultiMapping

from service.catalogue.facets import FACETS, count_facets, count_soon
from service.errors import InvalidQuery
from service.keys import DATABASE
from service.views.listing import CACHE, RULES
from service.web.conditional import is_not_modified
from service.web.identity import require
from service.web.paging import DEFAULT_LIMIT, page_url, read_conditions, read_limit

CONTROLS = ("by", "limit")
DEFAULT = ("artist", "album", "genre", "year")
OF_A_PAGE = ("cursor", "limit", "sort", "count")
MOST_SHOWN = 8  # values of each, on a page for people


class Facets(web.View):
    """Counts of own tracks, of those that the filters of the listing leave."""

    async def get(self) -> web.Response:
        """``{facets: {artist: [{value, count}]}}``, the commonest first."""
        identity = await require(self.request, "read")
        conditions, given = read_conditions(self.request.query, RULES, CONTROLS)
        names = _names(given["by"]) if "by" in given else DEFAULT
        limit = read_limit(given["limit"]) if "limit" in given else DEFAULT_LIMIT
        facets = await count_facets(self.request.app[DATABASE], identity.user_id, tuple(conditions), names, limit)
        body = orjson.dumps({"facets": facets})
        headers = {**CACHE, "ETag": f'W/"{sha256(body).hexdigest()[:32]}"'}
        if is_not_modified(self.request.headers, headers["ETag"]):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type="application/json", headers=headers)

    head = get


async def narrowing(
    request: web.Request, parameters: MultiMapping[str], user_id: str
) -> dict[str, list[dict[str, Any]]]:
    """To what a page of the listing can be narrowed: ``{artist: [{value, count, url}]}``.

    What it is narrowed to already is not offered again, and nothing is where counting would keep the page waiting.
    """
    conditions, _ = read_conditions(parameters, RULES, OF_A_PAGE)
    names = tuple(name for name in DEFAULT if name not in parameters)
    if not names:
        return {}
    counted = await count_soon(request.app[DATABASE], user_id, tuple(conditions), names, MOST_SHOWN)
    facets = {name: orjson.loads(orjson.dumps(values)) for name, values in counted.items()}
    for name, values in facets.items():
        for each in values:
            each["url"] = page_url(request.path, MultiDict([*parameters.items(), (name, str(each["value"]))]), None)
    return {name: values for name, values in facets.items() if values}


def given(request: web.Request, parameters: MultiMapping[str]) -> list[tuple[str, str, str]]:
    """The filters of a page besides its words: name, value, and the URL of the page without it."""
    return [
        (name, value, page_url(request.path, _without(parameters, name), None))
        for name, value in parameters.items()
        if name != "q" and name not in OF_A_PAGE
    ]


def _without(parameters: MultiMapping[str], name: str) -> MultiDict[str]:
    return MultiDict((each, value) for each, value in parameters.items() if each != name)


def _names(text: str) -> tuple[str, ...]:
    names = text.split(",")
    if not set(names) <= set(FACETS) or len(set(names)) < len(names):
        raise InvalidQuery("by: Name each facet once.", parameter="by", allowed=list(FACETS))
    return tuple(names)
