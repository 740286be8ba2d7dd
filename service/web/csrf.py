"""Unsafe requests of browsers come from our own pages only: Fetch Metadata, with Origin as the fallback.

Only header fields are looked at; nothing here ever reads a body.
"""

from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from service.errors import CrossSite
from service.keys import SETTINGS
from service.web.identity import bearer_token
from service.web.override import effective_method

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def check(request: web.Request) -> None:
    """Raise `CrossSite` for an unsafe request which a page of another origin made a browser send.

    A Bearer token is never sent by a browser on its own, so such requests are exempt. Without Sec-Fetch-Site and Origin
    the client is not a browser.
    """
    # The method that an override names may be the unsafe one, or the one that is not looked at.
    if {request.method, effective_method(request)} <= SAFE_METHODS or bearer_token(request) is not None:
        return
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site in ("same-origin", "none"):
            return
        raise CrossSite(f"Sec-Fetch-Site is {site!r}.")
    origin = request.headers.get("Origin")
    if origin is not None and not _is_own(request, origin):
        raise CrossSite("The Origin is not this service.")


def _is_own(request: web.Request, origin: str) -> bool:
    settings = request.app[SETTINGS]
    if settings.public_url and origin == _origin_of(settings.public_url):
        return True
    try:
        return urlsplit(origin).netloc == request.headers.get("Host") and urlsplit(origin).scheme in ("http", "https")
    except ValueError:
        return False


def _origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


@web.middleware
async def csrf_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse cross-site changes before any view sees them."""
    check(request)
    return await handler(request)
