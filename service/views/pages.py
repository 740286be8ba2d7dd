"""What a person sees first, and the pages that explain problems."""

import orjson
from aiohttp import web
from multidict import MultiDict

from service.errors import NotFound
from service.keys import SETTINGS
from service.views.listing import listed
from service.web.identity import identify, require
from service.web.negotiate import is_browser
from service.web.pages import render
from service.web.payload import json_response
from service.web.problems import BY_CODE

NEWEST = 20
LINKS = {
    "tracks": "/tracks",
    "collections": "/collections",
    "spool": "/spool/{filename}",
    "uploads": "/uploads",
    "me": "/me",
    "login": "/login",
    "description": "/openapi.yaml",
    "explorer": "/docs",
}


class Home(web.View):
    """``/``: where everything begins; for a browser the page with drop zone, newest tracks and player."""

    async def get(self) -> web.Response:
        if not is_browser(self.request):
            return json_response(LINKS)
        identity = await require(self.request, "read")
        page = await listed(self.request, MultiDict(limit=str(NEWEST)), identity.user_id)
        tracks = [orjson.loads(item) for item in page.items]
        return render(
            self.request, "home.html", tracks=tracks, max_upload_bytes=self.request.app[SETTINGS].max_upload_bytes
        )

    head = get


class ProblemHelp(web.View):
    """``/problems/{code}``: the address in every problem's ``type`` leads here (RFC 9457 section 3.1.1)."""

    async def get(self) -> web.Response:
        problem = BY_CODE.get(self.request.match_info["code"])
        if problem is None:
            raise NotFound("There is no problem of that name.")
        if is_browser(self.request):
            await identify(self.request)  # for the head of the page
            return render(self.request, "problem_help.html", problem=problem)
        return json_response(
            {
                "type": f"/problems/{problem.code}",
                "title": problem.title,
                "status": problem.status,
                "help": problem.help,
            }
        )

    head = get
