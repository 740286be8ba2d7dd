"""Every route of the service, on one screen."""

from aiohttp import web

from service.views import health, spool
from service.views.receiving import judge_upload
from service.web.expect import expectation


def add_routes(app: web.Application) -> None:
    """Add the routes in the order they are matched."""
    router = app.router
    judged = expectation(judge_upload)
    router.add_view("/spool/{filename:[^/]*}", spool.Spool, expect_handler=judged)
    router.add_view("/livez", health.Live)
    router.add_view("/readyz", health.Ready)
    router.add_view("/metrics", health.Metrics)
