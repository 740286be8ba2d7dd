"""Pages of other origins, as many as the settings name, may call the API (the CORS part of the Fetch standard).

They come with a Bearer token. Cookies never cross: no answer allows credentials, so the login of a browser is of use to
the service's own pages only.
"""

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from service.keys import SETTINGS
from service.web.security import PASSED_ON

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
REQUEST_FIELDS = ", ".join(
    [
        "Authorization",
        "Content-Type",
        "Content-Disposition",
        "Content-Digest",
        "Content-Range",
        "If-Match",
        "If-None-Match",
        "If-Range",
        "Range",
        "Repr-Digest",
        "Tus-Resumable",
        "Upload-Checksum",
        "Upload-Complete",
        "Upload-Concat",
        "Upload-Defer-Length",
        "Upload-Draft-Interop-Version",
        "Upload-Incomplete",
        "Upload-Length",
        "Upload-Metadata",
        "Upload-Offset",
        "Want-Repr-Digest",
        "X-HTTP-Method-Override",
        "X-Request-ID",
        "X-Requested-With",
    ]
)
"""Spelled out: the wildcard would not cover Authorization."""

EXPOSED_FIELDS = ", ".join(
    [
        "Accept-Ranges",
        "Allow",
        "Content-Disposition",
        "Content-Length",
        "Content-Location",
        "Content-Range",
        "ETag",
        "Link",
        "Location",
        "Repr-Digest",
        "Retry-After",
        "Tus-Checksum-Algorithm",
        "Tus-Extension",
        "Tus-Max-Size",
        "Tus-Resumable",
        "Tus-Version",
        "Upload-Complete",
        "Upload-Concat",
        "Upload-Defer-Length",
        "Upload-Draft-Interop-Version",
        "Upload-Expires",
        "Upload-Incomplete",
        "Upload-Length",
        "Upload-Limit",
        "Upload-Metadata",
        "Upload-Offset",
        "WWW-Authenticate",
        "X-Request-ID",
    ]
)
MAX_AGE_S = "7200"  # the most that Chromium keeps


@web.middleware
async def cors_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer preflights of allowed origins, whatever they are for: a browser sends no credentials with them."""
    is_preflight = request.method == hdrs.METH_OPTIONS and "Access-Control-Request-Method" in request.headers
    if not is_preflight or not _is_allowed(request):
        return await handler(request)
    headers = {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": REQUEST_FIELDS,
        "Access-Control-Max-Age": MAX_AGE_S,
    }
    return web.Response(status=204, headers=headers)


async def add_cors_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Let an allowed origin read the answer, be it an error; a handler for the signal ``on_response_prepare``."""
    if not request.app[SETTINGS].cors_origins or response.get(PASSED_ON):
        return
    vary = response.headers.get("Vary")
    response.headers["Vary"] = f"{vary}, Origin" if vary else "Origin"
    if _is_allowed(request):
        response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
        response.headers["Access-Control-Expose-Headers"] = EXPOSED_FIELDS


def _is_allowed(request: web.Request) -> bool:
    origin = request.headers.get("Origin")
    return origin is not None and origin in request.app[SETTINGS].cors_origins
