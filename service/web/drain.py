"""Which requests are running, and the end of taking new ones.

aiohttp's own shutdown drops every incoming byte from its first moment, and so kills the uploads it waits for. So the
server waits for this counter first, and shuts aiohttp down when nothing runs any more.
"""

import asyncio

from aiohttp import web
from aiohttp.typedefs import Handler

from service.errors import ShuttingDown
from service.keys import DRAIN

RETRY_AFTER_S = 5


class Drain:
    """Counts running requests."""

    def __init__(self) -> None:
        self.is_draining = False
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self) -> None:
        """From now on new requests are refused with 503."""
        self.is_draining = True

    def enter(self) -> None:
        self._running += 1
        self._idle.clear()

    def leave(self) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until no request runs; False when some still do after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True


@web.middleware
async def drain_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Count the request; refuse it when the service is about to stop, unless it is a health check.

    During the drain nobody listens any more, so only connections that are open already, and busy, bring such requests:
    a checker that connects anew finds the port closed, which tells it the same.
    """
    drain = request.app[DRAIN]
    if drain.is_draining and request.path not in ("/livez", "/readyz"):
        raise ShuttingDown("The service is about to stop.", retry_after=RETRY_AFTER_S)
    drain.enter()
    try:
        response = await handler(request)
    finally:
        drain.leave()
    if drain.is_draining and not response.prepared:
        response.force_close()  # and the client knows not to send more on this connection
    return response
