"""Who asks: a Bearer token or a session cookie."""

from aiohttp import web

from service.accounts.permissions import Identity
from service.errors import Unauthenticated
from service.keys import ACCOUNTS, IDENTITY, SETTINGS

SECURE_COOKIE = "__Host-session"
PLAIN_COOKIE = "session"


def cookie_name(app: web.Application) -> str:
    """``__Host-`` binds the cookie to https and to this very host (RFC 6265bis section 4.1.3.2)."""
    return SECURE_COOKIE if app[SETTINGS].is_https else PLAIN_COOKIE


def bearer_token(request: web.Request) -> str | None:
    """The token of an ``Authorization: Bearer`` field, or None."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def identify(request: web.Request) -> Identity | None:
    """Who asks, or None. A Bearer token that is sent but not valid is nobody, whatever the cookies say."""
    if IDENTITY in request:
        return request[IDENTITY]
    accounts = request.app[ACCOUNTS]
    token = bearer_token(request)
    if token is not None:
        identity = await accounts.identity_of_token(token)
    else:
        secret = request.cookies.get(cookie_name(request.app))
        identity = await accounts.identity_of_session(secret) if secret else None
    request[IDENTITY] = identity
    return identity


async def known(request: web.Request) -> Identity:
    """Who asks, by whatever credential.

    Raises:
        Unauthenticated: nobody is logged in.
    """
    identity = await identify(request)
    if identity is None:
        detail = "The token is not valid." if bearer_token(request) is not None else "Log in, or send a Bearer token."
        raise Unauthenticated(detail)
    return identity


async def require(request: web.Request, scope: str) -> Identity:
    """Who asks, and may `scope`.

    Raises:
        Unauthenticated: nobody is logged in.
        InsufficientScope: the token does not have the scope.
    """
    identity = await known(request)
    identity.require(scope)
    return identity


async def require_still(request: web.Request, scope: str) -> Identity:
    """The same, asked anew: a body may take hours, and its sender's rights may end meanwhile.

    Raises:
        Unauthenticated, InsufficientScope
    """
    request.pop(IDENTITY, None)
    return await require(request, scope)


async def require_manager(request: web.Request) -> Identity:
    """Who asks, and may manage credentials: a session, or an API token with the scope ``admin`` of an administrator.

    Any other token that leaks could otherwise make itself successors that outlive its revocation.

    Raises:
        Unauthenticated: nobody is logged in.
        InsufficientScope, Forbidden: another API token.
    """
    identity = await known(request)
    if identity.credential != "session":
        identity.require("admin")
    return identity


def set_session_cookie(request: web.Request, response: web.StreamResponse, secret: str) -> None:
    """Give the browser its session: for this host only, not for scripts, not for other sites' forms."""
    settings = request.app[SETTINGS]
    response.set_cookie(
        cookie_name(request.app),
        secret,
        max_age=int(settings.session_max_days * 86_400),
        path="/",
        secure=settings.is_https,
        httponly=True,
        samesite="Lax",
    )


def drop_session_cookie(request: web.Request, response: web.StreamResponse) -> None:
    """Take the session from the browser."""
    response.del_cookie(
        cookie_name(request.app), path="/", secure=request.app[SETTINGS].is_https, httponly=True, samesite="Lax"
    )
