"""Every route of the service, on one screen."""

from aiohttp import web

from service.keys import SETTINGS
from service.views import (
    audio,
    collections,
    cover,
    docs,
    drafts,
    exports,
    facets,
    health,
    login,
    me,
    pages,
    peaks,
    proxy,
    report,
    sessions,
    spool,
    static,
    tokens,
    tracks,
    uploads,
)
from service.views.receiving import with_quota
from service.web.expect import expectation


def add_routes(app: web.Application) -> None:
    """Add the routes in the order they are matched; the front end gets what is left."""
    router = app.router
    router.add_view(
        "/spool/{filename:[^/]*}", spool.Spool, expect_handler=expectation(with_quota(spool.judge_expected))
    )
    router.add_view("/tracks/{track_id}/audio", audio.Audio)
    router.add_view("/tracks", tracks.Tracks, expect_handler=expectation(with_quota(drafts.judge_post)))
    router.add_view("/uploads", uploads.Uploads, expect_handler=expectation(uploads.judge_creation))
    router.add_view("/uploads/{upload_id}", uploads.Upload, expect_handler=expectation(uploads.judge_expected))
    router.add_view("/tracks/facets", facets.Facets)
    router.add_view("/tracks/{track_id}", tracks.Track)
    router.add_view("/tracks/{track_id}/restore", tracks.Restore)
    router.add_view("/tracks/{track_id}/cover", cover.Cover)
    router.add_view("/tracks/{track_id}/peaks", peaks.Peaks)
    router.add_view("/tracks/{track_id}/report", report.Report)
    router.add_view("/collections", collections.Collections)
    router.add_view("/collections/{collection_id:[^/.]+}.m3u8", exports.Playlist)
    router.add_view("/collections/{collection_id:[^/.]+}.zip", exports.Zip)
    router.add_view("/collections/{collection_id}", collections.Collection)
    router.add_view("/collections/{collection_id}/tracks", collections.Items)
    router.add_view("/collections/{collection_id}/tracks/{item_id}", collections.OneItem)
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
    router.add_view("/openapi.yaml", docs.Yaml)
    router.add_view("/openapi.json", docs.Json)
    router.add_view("/docs", docs.Explorer)
    router.add_view("/", pages.Home)
    router.add_view("/problems/{code}", pages.ProblemHelp)
    router.add_view("/static/{name:.+}", static.Static)
    if app[SETTINGS].frontend_url is not None:
        app.cleanup_ctx.append(proxy.frontend_session)
        router.add_view("/{path:.*}", proxy.Frontend)
