"""Counts and times every request by its route, never by its path: routes are few, paths are what clients invent."""

import time

from aiohttp import web
from aiohttp.typedefs import Handler

from service.keys import METRICS


@web.middleware
async def measure_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Note status and seconds of the request."""
    started = time.perf_counter()
    status = 500
    try:
        response = await handler(request)
        status = response.status
        return response
    except web.HTTPException as exception:
        status = exception.status
        raise
    finally:
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "-"
        method = request.method if resource is not None else "-"
        request.app[METRICS].note_request(method, route, status, time.perf_counter() - started)
