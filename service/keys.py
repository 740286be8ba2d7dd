"""Every key of the app's and the request's state."""

from typing import TYPE_CHECKING

from aiohttp import ClientSession, web

if TYPE_CHECKING:
    import jinja2

    from service.accounts.accounts import Accounts
    from service.accounts.permissions import Identity
    from service.catalogue.database import Database
    from service.catalogue.recent import RecentTracks
    from service.jobs.runner import Runner
    from service.metrics import Metrics
    from service.settings import Settings
    from service.storage.covers import LocalCovers
    from service.storage.local import LocalBlobs
    from service.storage.open_blobs import OpenBlobs
    from service.uploads.intake import Intake
    from service.views.audio import Served
    from service.web.drain import Drain

SETTINGS: "web.AppKey[Settings]" = web.AppKey("settings")
DATABASE: "web.AppKey[Database]" = web.AppKey("database")
ACCOUNTS: "web.AppKey[Accounts]" = web.AppKey("accounts")
INTAKE: "web.AppKey[Intake]" = web.AppKey("intake")
BLOBS: "web.AppKey[LocalBlobs]" = web.AppKey("blobs")
COVERS: "web.AppKey[LocalCovers]" = web.AppKey("covers")
JOBS: "web.AppKey[Runner]" = web.AppKey("jobs")
OPEN_BLOBS: "web.AppKey[OpenBlobs]" = web.AppKey("open_blobs")
SERVED: "web.AppKey[RecentTracks[Served]]" = web.AppKey("served")
METRICS: "web.AppKey[Metrics]" = web.AppKey("metrics")
DRAIN: "web.AppKey[Drain]" = web.AppKey("drain")
FRONTEND: "web.AppKey[ClientSession]" = web.AppKey("frontend", ClientSession)
PAGES: "web.AppKey[jinja2.Environment]" = web.AppKey("pages")

IDENTITY: "web.RequestKey[Identity | None]" = web.RequestKey("identity")
STARTED: "web.RequestKey[bool]" = web.RequestKey("started", bool)
EARLY: "web.RequestKey[Exception | None]" = web.RequestKey("early")
