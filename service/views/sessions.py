"""One's own sessions: where one is logged in, and the end of it."""

from dataclasses import asdict

from aiohttp import web

from service.catalogue import clock, sessions
from service.keys import ACCOUNTS, DATABASE
from service.schemas.accounts import SessionSchema
from service.web.identity import require_manager
from service.web.payload import NO_STORE, json_response


class Sessions(web.View):
    """``/sessions``: those that live, the newest first."""

    async def get(self) -> web.Response:
        identity = await require_manager(self.request)
        found = await sessions.all_of_user(
            self.request.app[DATABASE],
            identity.user_id,
            now=clock.now(),
            idle=self.request.app[ACCOUNTS].session_idle,
        )
        items = [{**asdict(each), "current": each.session_id == identity.credential_id} for each in found]
        return json_response({"items": SessionSchema(many=True).dump(items)}, headers=NO_STORE)

    head = get

    async def delete(self) -> web.Response:
        """End all others."""
        identity = await require_manager(self.request)
        await self.request.app[ACCOUNTS].end_other_sessions(identity)
        return web.Response(status=204, headers=NO_STORE)


class Session(web.View):
    """``/sessions/{session_id}``."""

    async def delete(self) -> web.Response:
        identity = await require_manager(self.request)
        await self.request.app[ACCOUNTS].end_session(identity.user_id, self.request.match_info["session_id"])
        return web.Response(status=204, headers=NO_STORE)
