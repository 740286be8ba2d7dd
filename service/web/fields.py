"""Header fields of a request, for those who know nothing of requests."""

from aiohttp import web
from multidict import CIMultiDict


def combined(request: web.Request) -> CIMultiDict[str]:
    """Each field once; lines of one name are joined by commas (RFC 9110 section 5.3), so that none is overlooked."""
    headers = request.headers
    return CIMultiDict({name: ", ".join(headers.getall(name)) for name in headers})
