"""Logging in and out: the form of a browser and the JSON of a program, by one view and one schema."""

from typing import Any, ClassVar

from aiohttp import web

from service.accounts.accounts import LoggedIn
from service.errors import Forbidden, Invalid, Overloaded, RateLimited, Unauthenticated, YarrrError
from service.keys import ACCOUNTS
from service.schemas.accounts import LoginSchema, UserSchema
from service.schemas.fields import Timestamp
from service.web.forwarded import client_address
from service.web.identity import drop_session_cookie, identify, set_session_cookie
from service.web.negotiate import Flow, is_browser
from service.web.pages import render
from service.web.payload import FORM_TYPES, NO_STORE, json_response, load
from service.web.problems import problem_of

MAX_NEXT = 2000


class Login(web.View):
    """``/login``. A form is answered with a redirect or the form again, JSON with JSON."""

    types: ClassVar = ("application/json", *FORM_TYPES)

    async def get(self) -> web.Response:
        return self._form(target=self.request.query.get("next", "/"))

    head = get

    async def post(self) -> web.Response:
        if not is_browser(self.request, Flow.BROWSER):
            data = await load(self.request, LoginSchema(), types=self.types)
            return logged_in_answer(self.request, await self._log_in(data))
        try:
            data = await load(self.request, LoginSchema(), types=self.types)
            logged_in = await self._log_in(data)
        except (Invalid, Unauthenticated, RateLimited, Overloaded) as error:
            return await self._form_again(error)
        redirect = web.HTTPSeeOther(local_path(data["next"]), headers=NO_STORE)
        set_session_cookie(self.request, redirect, logged_in.secret)
        raise redirect

    async def _log_in(self, data: dict[str, Any]) -> LoggedIn:
        return await self.request.app[ACCOUNTS].log_in(
            data["username"],
            data["password"],
            address=client_address(self.request),
            user_agent=self.request.headers.get("User-Agent", ""),
        )

    async def _form_again(self, error: YarrrError) -> web.Response:
        """The form with what is wrong and what was typed, but for the password."""
        form = await self.request.post()
        username, target = (value if isinstance(value, str) else "" for value in map(form.get, ("username", "next")))
        message = "Enter your name and your password." if isinstance(error, Invalid) else error.detail
        response = self._form(message, username, target, status=problem_of(error).status)
        if isinstance(error, Unauthenticated):
            response.headers["WWW-Authenticate"] = 'Bearer realm="yarrr"'
        if "retry_after" in error.facts:
            response.headers["Retry-After"] = str(error.facts["retry_after"])
        return response

    def _form(self, message: str = "", username: str = "", target: str = "/", *, status: int = 200) -> web.Response:
        context = {"message": message, "username": username, "next": local_path(target)}
        return render(self.request, "login.html", status=status, **context)


class Logout(web.View):
    """``/logout``: the session ends on the server, at once. Without one there is nothing to do."""

    async def post(self) -> web.Response:
        identity = await identify(self.request)
        if identity is not None and identity.credential == "token":
            raise Forbidden("An API token has no session to end; revoke it with DELETE /tokens/{id}.")
        if identity is not None:
            await self.request.app[ACCOUNTS].end_session(identity.user_id, identity.credential_id)
        if is_browser(self.request):
            redirect = web.HTTPSeeOther("/login", headers=NO_STORE)
            drop_session_cookie(self.request, redirect)
            raise redirect
        response = web.Response(status=204, headers=NO_STORE)
        drop_session_cookie(self.request, response)
        return response


def logged_in_answer(request: web.Request, logged_in: LoggedIn) -> web.Response:
    """``{user, token, expires_at}`` and the cookie; the token is the session's secret, to be sent as a Bearer token."""
    data = {
        "user": UserSchema().dump(logged_in.user),
        "token": logged_in.secret,
        "expires_at": Timestamp().serialize("expires_at", logged_in.session),
    }
    response = json_response(data, headers=NO_STORE)
    set_session_cookie(request, response, logged_in.secret)
    return response


def local_path(target: str) -> str:
    """`target` where it is a path of this service, else ``/``.

    Browsers read a backslash as a slash and drop tabs and line ends, so what has any of them is refused; two slashes at
    the start name another host.
    """
    is_local = target.startswith("/") and not target.startswith("//") and "\\" not in target
    if not is_local or len(target) > MAX_NEXT or not target.isprintable():
        return "/"
    return target
