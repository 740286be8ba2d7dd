"""Requests that two servers in a row could read differently are refused before anything looks at them (RFC 9112).

aiohttp's parser refuses most of what smugglers try. This middleware, the first after the request id, refuses what it
lets through; the connection is closed after such an answer, because nobody knows where the next request begins.
"""

from urllib.parse import urlsplit

from aiohttp import HttpVersion10, HttpVersion11, web
from aiohttp.typedefs import Handler

from service.keys import SETTINGS
from service.web.problems import HTTP_PROBLEMS, respond


@web.middleware
async def framing_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 400, 501 or 505 and close, or go on. ``Upgrade`` is ignored, as RFC 9110 section 7.8 allows."""
    fault = find_fault(request)
    if fault is None:
        return await handler(request)
    status, detail = fault
    response = respond(request, HTTP_PROBLEMS[status], detail=detail)
    response.force_close()
    return response


def find_fault(request: web.Request) -> tuple[int, str] | None:
    """The status and the detail of what is wrong with the frame of a request, or None."""
    if request.version not in (HttpVersion10, HttpVersion11):
        return 505, "Only HTTP/1.1 and HTTP/1.0 are spoken here."
    if request.method == "CONNECT":
        return 501, "This is no proxy for other protocols."  # any other method is the router's to refuse, with a 405
    codings = request.headers.getall("Transfer-Encoding", [])
    if codings and request.version == HttpVersion10:
        return 400, "Transfer-Encoding does not exist in HTTP/1.0."  # RFC 9112 section 6.1
    if codings and [coding.strip().lower() for coding in codings] != ["chunked"]:
        return 501, "The only transfer coding is chunked."
    if not _names_this_host(request):
        return 400, "The target names another host than the Host field."
    return None


def _names_this_host(request: web.Request) -> bool:
    """Whether the target is a path, or a URL of the host that the Host field names (RFC 9112 section 3.2.2)."""
    target = request.raw_path
    if target.startswith("/") or target == "*":
        return True
    try:
        authority = urlsplit(target).netloc.lower()
    except ValueError:
        return False
    own = {request.headers.get("Host", "").lower()}
    if public_url := request.app[SETTINGS].public_url:
        own.add(urlsplit(public_url).netloc.lower())
    return bool(authority) and authority in own
