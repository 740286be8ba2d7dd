"""The composition root: the only file that knows which adapters there are."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from aiohttp import web
from aiohttp_request_id_logging import REQUEST_ID_KEY, RequestIdMiddleware, noop

from service.accounts.accounts import Accounts
from service.catalogue.database import Database
from service.catalogue.migrations import migrate_apart
from service.jobs.analyse import Analyst
from service.jobs.runner import Runner
from service.jobs.sweep import Sweeper, sweep_for_ever
from service.keys import (
    ACCOUNTS,
    BLOBS,
    COVERS,
    DATABASE,
    DRAIN,
    INTAKE,
    JOBS,
    METRICS,
    OPEN_BLOBS,
    PAGES,
    SERVED,
    SETTINGS,
    STARTED,
)
from service.metrics import Metrics
from service.routes import add_routes
from service.settings import Settings
from service.storage.covers import LocalCovers
from service.storage.local import LocalBlobs
from service.storage.spool import Spool
from service.uploads.intake import Intake
from service.uploads.recover import recover
from service.views.audio import audio_context
from service.views.uploads import add_tus_fields
from service.web.cors import add_cors_headers, cors_middleware
from service.web.csrf import csrf_middleware
from service.web.drain import Drain, drain_middleware
from service.web.framing import framing_middleware
from service.web.measure import measure_middleware
from service.web.pages import environment
from service.web.problems import problems_middleware
from service.web.security import add_security_headers

logger = logging.getLogger(__name__)

MAX_SMALL_BODY_BYTES = 1 << 20
MAX_FORM_FIELDS = 50
LAG_INTERVAL_S = 0.05
LAG_WINDOW = 1200  # intervals: a minute
SWEEP_INTERVAL_S = 600
REQUEST_ID_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that look like another
REQUEST_ID_LENGTH = 10


class RequestIds(RequestIdMiddleware):
    """The library's middleware, without its own answer to exceptions: ours are made further in, and an exception that
    comes this far belongs to a response that has begun. A second response would be written into the first one's body.
    """

    def get_response_for_exception(self, _request: web.Request, exc: Exception) -> web.StreamResponse:
        raise exc


def build_app(settings: Settings) -> web.Application:
    """The whole service, ready for a runner. Files and database are opened at its start-up and closed at its end."""
    app = web.Application(
        middlewares=[
            RequestIds(request_id_factory=_new_request_id, log_request_start=noop, no_fallback_request_id_key=True),
            measure_middleware,
            problems_middleware,
            framing_middleware,
            cors_middleware,
            drain_middleware,
            csrf_middleware,
        ],
        client_max_size=MAX_SMALL_BODY_BYTES,
    )
    app[SETTINGS] = settings
    app[METRICS] = Metrics()
    app[PAGES] = environment()
    app[DRAIN] = Drain()
    app.on_response_prepare.append(_note_start)
    app.on_response_prepare.append(add_security_headers)
    app.on_response_prepare.append(add_cors_headers)
    app.on_response_prepare.append(add_tus_fields)
    app.cleanup_ctx.append(_storage)
    app.cleanup_ctx.append(audio_context)
    app.cleanup_ctx.append(_jobs)
    app.cleanup_ctx.append(_sweep)
    app.cleanup_ctx.append(_measure_event_loop)
    add_routes(app)
    return app


def _new_request_id() -> str:
    """Tells requests apart in answers and logs. It opens nothing, so it need not ask the kernel for randomness."""
    return "".join(random.choices(REQUEST_ID_LETTERS, k=REQUEST_ID_LENGTH))  # noqa: S311


async def _note_start(request: web.Request, response: web.StreamResponse) -> None:
    request[STARTED] = True
    if (identifier := request.get(REQUEST_ID_KEY)) is not None:
        response.headers["X-Request-ID"] = identifier


async def _storage(app: web.Application) -> AsyncIterator[None]:
    settings = app[SETTINGS]
    durable = settings.durability == "full"
    path = prepare(settings)
    spool = Spool(settings.data_dir / "spool", durable=durable)
    blobs = LocalBlobs(settings.data_dir / "blobs", durable=durable)
    database = await Database.open(path, durable=durable)
    try:
        boot_id = read_boot_id()
        await recover(database, spool, blobs, boot_id=boot_id)
        accounts = Accounts(database, settings)
        password = await accounts.ensure_admin(settings.admin_password)
        if password is not None:
            print(f"Created the user admin with the password {password} (shown only this once).", flush=True)  # noqa: T201
        covers = LocalCovers(settings.data_dir / "covers", durable=durable)
        runner = Runner(
            database,
            Analyst(database, blobs, covers),
            app[METRICS],
            processes=settings.analyse_processes,
            changed=lambda user_id, track_id: app[SERVED].forget(user_id, track_id),
        )
        intake = Intake(database, spool, blobs, settings, app[METRICS], boot_id=boot_id, on_track=runner.wake)
        app[DATABASE], app[BLOBS], app[COVERS], app[ACCOUNTS] = database, blobs, covers, accounts
        app[INTAKE], app[JOBS] = intake, runner
        try:
            yield
        finally:
            await intake.close()
            await accounts.close()
    finally:
        await database.close()


def prepare(settings: Settings) -> Path:
    """Make the data directory and bring its database to the newest schema; the database's path."""
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = settings.data_dir / "catalogue.db"
    migrate_apart(path)
    return path


def read_boot_id() -> str:
    """What tells one boot of this machine from another."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"boot-{int(time.time() - time.monotonic())}"


async def _jobs(app: web.Application) -> AsyncIterator[None]:
    await app[JOBS].start()
    yield
    await app[JOBS].close()


async def _sweep(app: web.Application) -> AsyncIterator[None]:
    sweeper = Sweeper(
        app[DATABASE],
        app[BLOBS],
        trash_days=app[SETTINGS].trash_days,
        session_idle_days=app[SETTINGS].session_idle_days,
        covers=app[COVERS],
        open_blobs=app[OPEN_BLOBS],
        intake=app[INTAKE],
    )
    task = asyncio.create_task(sweep_for_ever(sweeper, SWEEP_INTERVAL_S))
    yield
    await _end(task)


async def _measure_event_loop(app: web.Application) -> AsyncIterator[None]:
    task = asyncio.create_task(_watch_lag(app[METRICS]))
    yield
    await _end(task)


async def _end(task: asyncio.Task[None]) -> None:
    """End a task that works in the background. If it died before, that is no reason to stop the shutdown half-way."""
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(outcome, Exception):
        logger.error("a background task had died", exc_info=outcome)


async def _watch_lag(metrics: Metrics) -> None:
    worst, ticks = 0.0, 0
    while True:
        before = time.perf_counter()
        await asyncio.sleep(LAG_INTERVAL_S)
        worst = max(worst, time.perf_counter() - before - LAG_INTERVAL_S)
        metrics.event_loop_lag.set(worst)
        ticks += 1
        if ticks >= LAG_WINDOW:
            worst, ticks = 0.0, 0
