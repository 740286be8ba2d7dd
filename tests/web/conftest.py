"""Apps behind the real server's runner, with its limits; aiohttp's own test server cancels handlers, ours does not."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web

from service.server import make_runner
from service.settings import Settings


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[int]:
    """The port on which the app is served."""
    runner = make_runner(app, Settings(access_log=False))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        runner._shutdown_timeout = 0.1
        await runner.cleanup()


@pytest.fixture
async def serve() -> AsyncIterator[Callable]:
    """A function that serves an app until the test ends; the port."""
    async with AsyncExitStack() as stack:
        yield lambda app: stack.enter_async_context(served(app))
