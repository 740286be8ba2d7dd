"""One's own API tokens."""

from typing import Any

from aiohttp import web

from service.catalogue import clock, tokens
from service.keys import ACCOUNTS, DATABASE
from service.schemas.accounts import NewTokenSchema, TokenSchema
from service.web.identity import known, require_manager
from service.web.payload import NO_STORE, json_response, load


class Tokens(web.View):
    """``/tokens``, for a session or a token with the scope ``admin``."""

    async def get(self) -> web.Response:
        identity = await require_manager(self.request)
        found = await tokens.all_of_user(self.request.app[DATABASE], identity.user_id)
        return json_response({"items": TokenSchema(many=True).dump(found)}, headers=NO_STORE)

    head = get

    async def post(self) -> web.Response:
        """Make a token; this answer is the only one that ever has its text."""
        identity = await require_manager(self.request)
        data = await load(self.request, NewTokenSchema())
        token, text = await self.request.app[ACCOUNTS].create_token(
            identity, data["name"], tuple(dict.fromkeys(data["scopes"])), _end(data)
        )
        headers = {**NO_STORE, "Location": f"/tokens/{token.token_id}"}
        return json_response({**TokenSchema().dump(token), "token": text}, status=201, headers=headers)


class Token(web.View):
    """``/tokens/{token_id}``."""

    async def get(self) -> web.Response:
        identity = await require_manager(self.request)
        token_id = self.request.match_info["token_id"]
        token = await tokens.get_of_user(self.request.app[DATABASE], token_id, identity.user_id)
        return json_response(TokenSchema().dump(token), headers=NO_STORE)

    head = get

    async def delete(self) -> web.Response:
        """Revoke it. Every token may revoke itself."""
        token_id = self.request.match_info["token_id"]
        identity = await known(self.request)
        if identity.credential_id != token_id:
            identity = await require_manager(self.request)
        await self.request.app[ACCOUNTS].revoke_token(identity.user_id, token_id)
        return web.Response(status=204, headers=NO_STORE)


def _end(data: dict[str, Any]) -> int | None:
    if data["expires_at"] is not None:
        return clock.from_datetime(data["expires_at"])
    if data["expires_in_s"] is not None:
        return clock.now() + int(data["expires_in_s"]) * clock.SECOND
    return None
