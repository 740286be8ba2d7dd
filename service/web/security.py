"""What every response tells browsers not to do.

Each field is set only where the view has not set its own: the audio and the explorer bring stricter or other policies.
"""

from aiohttp import web

from service.keys import SETTINGS
from service.web.forwarded import is_https

API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'"

# Trusted types make the browser itself refuse innerHTML and its kin: our scripts only ever write text.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self' blob:; "
    "connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; object-src 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)

ALL = {
    "X-Content-Type-Options": "nosniff",
    # With "no-referrer" the Origin of our forms is null over plain http, where browsers send no Sec-Fetch-Site.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
PAGE = {
    "Content-Security-Policy": PAGE_POLICY,
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
API = {"Content-Security-Policy": API_POLICY}
# Without includeSubDomains: what other names below this one speak is not for this service to say.
HTTPS = {"Strict-Transport-Security": "max-age=63072000"}
# Over plain http browsers do not heed it and complain.
HTTPS_PAGE = {"Cross-Origin-Opener-Policy": "same-origin"}

PASSED_ON: web.ResponseKey[bool] = web.ResponseKey("passed_on", bool)
"""Set on a response that another server made, such as the front end: its policies are its own, ours would break it."""


async def add_security_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Complete the header fields of `response`; a handler for the signal ``on_response_prepare``."""
    response.headers["Server"] = "yarrr"
    is_ours, is_page = not response.get(PASSED_ON), response.content_type == "text/html"
    fields = {**ALL, **(PAGE if is_page else API)} if is_ours else {}
    if request.app[SETTINGS].is_https or is_https(request):
        fields |= {**HTTPS, **(HTTPS_PAGE if is_ours and is_page else {})}
    for name, value in fields.items():
        response.headers.setdefault(name, value)
