"""Every route of the service, on one screen."""

from aiohttp import web

from service.views import health


def add_routes(app: web.Application) -> None:
    """Add the routes in the order they are matched."""
    router = app.router
    router.add_view("/livez", health.Live)
    router.add_view("/readyz", health.Ready)
    router.add_view("/metrics", health.Metrics)
