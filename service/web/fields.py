"""Header fields of a request, for those who know nothing of requests."""

from aiohttp import web
from multidict import CIMultiDict, MultiMapping


def combined(request: web.Request) -> CIMultiDict[str]:
    """Each field once; lines of one name are joined by commas (RFC 9110 section 5.3), so that none is overlooked."""
    return joined(request.headers)


def joined(headers: MultiMapping[str]) -> CIMultiDict[str]:
    """The same of any header, such as that of a part of a form."""
    return CIMultiDict({name: ", ".join(headers.getall(name)) for name in headers})
