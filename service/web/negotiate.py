"""Who gets which flow: a browser pages and redirects, a program JSON and statuses."""

from enum import Enum

from aiohttp import web

JSON_TYPES = frozenset({"application/json", "application/problem+json"})


class Flow(Enum):
    """The two ways one view answers."""

    BROWSER = "browser"
    API = "api"


def flow_of(request: web.Request, default: Flow = Flow.API) -> Flow:
    """The flow this request asks for; `default` when it has no preference (``*/*``, as curl sends)."""
    headers = request.headers
    if headers.get("Authorization", "").startswith("Bearer ") or request.content_type in JSON_TYPES:
        return Flow.API
    accept = headers.get("Accept")
    if not accept or accept == "*/*":
        return default
    html, json = accepted(accept)
    if html > json:
        return Flow.BROWSER
    return Flow.API if json > 0 else default


def is_browser(request: web.Request, default: Flow = Flow.API) -> bool:
    return flow_of(request, default) is Flow.BROWSER


def accepted(accept: str) -> tuple[float, float]:
    """The qualities an Accept field names for HTML and for JSON; wildcards name neither (RFC 9110 section 12.5.1)."""
    return quality(accept, "text/html", "application/xhtml+xml"), quality(accept, *JSON_TYPES)


def quality(accept: str, *media_types: str) -> float:
    """The best quality that the field names for one of these types; 0 when it names none of them."""
    best = 0.0
    for part in accept.split(","):
        media_type, _, parameters = part.strip().lower().partition(";")
        if media_type.strip() in media_types:
            best = max(best, _quality(parameters))
    return best


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0
