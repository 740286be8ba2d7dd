"""How many of my tracks there are of each artist, album, genre and year: what a page can be narrowed to."""

from hashlib import sha256

import orjson
from aiohttp import web

from service.catalogue.facets import FACETS, count_facets
from service.errors import InvalidQuery
from service.keys import DATABASE
from service.views.listing import CACHE, RULES
from service.web.conditional import is_not_modified
from service.web.identity import require
from service.web.paging import DEFAULT_LIMIT, read_conditions, read_limit

CONTROLS = ("by", "limit")
DEFAULT = ("artist", "album", "genre", "year")


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


def _names(text: str) -> tuple[str, ...]:
    names = text.split(",")
    if not set(names) <= set(FACETS) or len(set(names)) < len(names):
        raise InvalidQuery("by: Name each facet once.", parameter="by", allowed=list(FACETS))
    return tuple(names)
