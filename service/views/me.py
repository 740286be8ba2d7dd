"""Oneself: profile, quota, password."""

from dataclasses import asdict
from typing import Any

from aiohttp import web

from service.accounts.permissions import SCOPES, Identity
from service.catalogue import users
from service.catalogue.users import User
from service.keys import ACCOUNTS, DATABASE, SETTINGS
from service.schemas.accounts import PasswordSchema, ProfileSchema
from service.settings import Settings
from service.views.login import logged_in_answer
from service.web.forwarded import client_address
from service.web.identity import known
from service.web.payload import NO_STORE, json_response, load


class Me(web.View):
    """``/me``. Every credential may read it, whatever its scopes."""

    async def get(self) -> web.Response:
        identity = await known(self.request)
        user = await users.get(self.request.app[DATABASE], identity.user_id)
        profile = _profile(user, identity, self.request.app[SETTINGS])
        return json_response(ProfileSchema().dump(profile), headers=NO_STORE)

    head = get

    async def patch(self) -> web.Response:
        """Change the password: all sessions end, the answer has a new one. An API token may not."""
        identity = await known(self.request)
        data = await load(self.request, PasswordSchema())
        logged_in = await self.request.app[ACCOUNTS].change_password(
            identity,
            data["current_password"],
            data["password"],
            address=client_address(self.request),
            user_agent=self.request.headers.get("User-Agent", ""),
        )
        return logged_in_answer(self.request, logged_in)


def _profile(user: User, identity: Identity, settings: Settings) -> dict[str, Any]:
    limit = settings.quota_bytes if user.quota_bytes is None else user.quota_bytes
    quota = {
        "limit_bytes": limit,
        "used_bytes": user.used_bytes,
        "reserved_bytes": user.reserved_bytes,
        "left_bytes": max(0, limit - user.used_bytes - user.reserved_bytes),
        "limit_tracks": settings.quota_tracks,
    }
    scopes = [scope for scope in SCOPES if scope in identity.scopes and (scope != "admin" or user.is_admin)]
    return {**asdict(user), "scopes": scopes, "quota": quota}
