"""``X-HTTP-Method-Override``: for clients whose network lets only some methods through (tus 1.0.0)."""

from collections.abc import Generator

from aiohttp import hdrs, web

FIELD = "X-HTTP-Method-Override"


def effective_method(request: web.Request) -> str:
    """The method the client means."""
    return request.headers.get(FIELD, request.method).strip().upper()


class OverridableView(web.View):
    """A view that answers the method the client means. Only such views look at the field."""

    def __await__(self) -> Generator[None, None, web.StreamResponse]:
        return self._answer().__await__()

    async def _answer(self) -> web.StreamResponse:
        name = effective_method(self.request)
        handler = getattr(self, name.lower(), None) if name in hdrs.METH_ALL else None
        if handler is None:
            raise web.HTTPMethodNotAllowed(name, [each for each in hdrs.METH_ALL if hasattr(self, each.lower())])
        response: web.StreamResponse = await handler()
        return response
