"""What a person sees first, and the pages that explain problems."""

from aiohttp import web

from service.errors import NotFound
from service.web.negotiate import is_browser
from service.web.pages import render
from service.web.payload import json_response
from service.web.problems import BY_CODE


class ProblemHelp(web.View):
    """``/problems/{code}``: the address in every problem's ``type`` leads here (RFC 9457 section 3.1.1)."""

    async def get(self) -> web.Response:
        problem = BY_CODE.get(self.request.match_info["code"])
        if problem is None:
            raise NotFound("There is no problem of that name.")
        if is_browser(self.request):
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
