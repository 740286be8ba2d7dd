"""Every route of the service, on one screen."""

from aiohttp import web

from service.views import health, login, me, sessions, spool, tokens
from service.views.receiving import judge_upload
from service.web.expect import expectation


def add_routes(app: web.Application) -> None:
    """Add the routes in the order they are matched."""
    router = app.router
    judged = expectation(judge_upload)
    router.add_view("/spool/{filename:[^/]*}", spool.Spool, expect_handler=judged)
    router.add_view("/login", login.Login)
    router.add_view("/logout", login.Logout)
    router.add_view("/me", me.Me)
    router.add_view("/sessions", sessions.Sessions)
    router.add_view("/sessions/{session_id}", sessions.Session)
    router.add_view("/tokens", tokens.Tokens)
    router.add_view("/tokens/{token_id}", tokens.Token)
    router.add_view("/livez", health.Live)
    router.add_view("/readyz", health.Ready)
    router.add_view("/metrics", health.Metrics)
