"""The scripts, styles and pictures of the pages, out of the package."""

from aiohttp import web

from service.errors import NotFound
from service.web.pages import STATIC, static_files

ONE_YEAR = 365 * 86_400


class Static(web.View):
    """``/static/{name}``: with the right version in ``v`` cached for ever, else asked for again by its ETag."""

    async def get(self) -> web.FileResponse:
        name = self.request.match_info["name"]
        version = static_files().get(name)
        if version is None:
            raise NotFound("There is no such file.")
        is_versioned = self.request.query.get("v") == version
        caching = f"public, max-age={ONE_YEAR}, immutable" if is_versioned else "public, no-cache"
        return web.FileResponse(STATIC / name, headers={"Cache-Control": caching})

    head = get
