"""The life of the process: one lock, one listening socket, and an end that loses nothing."""

import asyncio
import ctypes
import fcntl
import logging
import os
import resource
import signal
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import aiohttp
from aiohttp import web
from aiohttp.http_parser import HttpRequestParser

from service.app import build_app
from service.keys import DRAIN
from service.log import AccessLogger, is_console, set_up
from service.settings import Settings

logger = logging.getLogger(__name__)

KEEPALIVE_TIMEOUT_S = 60.0
LINGERING_TIME_S = 5.0
SHUTDOWN_TIMEOUT_S = 5.0
SEND_STALL_MS = 60_000
BACKLOG = 1024
READ_BUFFER_BYTES = 16 << 10
MAX_FIELD_BYTES = 16 << 10

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
MALLOC_OPTIONS = {_M_TRIM_THRESHOLD: 16 << 20, _M_MMAP_THRESHOLD: 1 << 20, _M_ARENA_MAX: 2}


class StartError(Exception):
    """The service cannot start; the message says why."""


class AlreadyRunning(StartError):
    """Another process holds the data directory."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        StartError: the data directory is taken or not usable, or the port is.
    """
    set_up(settings.log_format, settings.log_level)
    if HttpRequestParser.__module__ != "aiohttp._http_parser":
        raise StartError("aiohttp was installed without its C parser; the Python one is not safe to serve with.")
    _give_memory_back()
    with locked(settings):
        _raise_file_limit()
        asyncio.run(_serve(settings))


def _raise_file_limit() -> None:
    """Every connection and every file that is written or served is a descriptor; the usual soft limit is 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    logger.info("at most %d open files", resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _give_memory_back() -> None:
    """Have glibc return what was freed: it keeps the 19 MiB of every Argon2 hash, and an arena for every thread.

    Measured: 20 MB less while idle, and as much less at the end of a large upload. Elsewhere there is no mallopt.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in MALLOC_OPTIONS.items():
            mallopt(option, value)


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """Hold the data directory: SQLite and the spool belong to one process at a time.

    Raises:
        AlreadyRunning: another process holds it.
        StartError: it cannot be made.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(settings.data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(f"The data directory {settings.data_dir} cannot be used: {error.strerror}.") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            raise AlreadyRunning(
                f"Another yarrr (process {holder or 'unknown'}) is running on {settings.data_dir}."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    hurry = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: hurry.set() if stop.is_set() else stop.set())
    listener = _listen(settings)
    runner = make_runner(build_app(settings), settings)
    try:
        await runner.setup()
        site = web.SockSite(runner, listener, backlog=BACKLOG)
        await site.start()
        _tell_start(listener)
        await stop.wait()
        await _drain(runner, site, settings.drain_timeout_s, hurry)
    finally:
        listener.close()
        await runner.cleanup()


def make_runner(app: web.Application, settings: Settings) -> web.AppRunner:
    """A runner with every limit of the server set on purpose."""
    return web.AppRunner(
        app,
        access_log_class=AccessLogger,
        access_log=logging.getLogger("yarrr.access") if settings.access_log else None,
        access_log_format="console" if is_console(settings.log_format) else "json",
        keepalive_timeout=KEEPALIVE_TIMEOUT_S,
        lingering_time=LINGERING_TIME_S,
        shutdown_timeout=SHUTDOWN_TIMEOUT_S,
        read_bufsize=READ_BUFFER_BYTES,
        max_field_size=MAX_FIELD_BYTES,
        # A body is counted, hashed and stored as it is sent; nothing may unpack it on the way.
        auto_decompress=False,
        handler_cancellation=False,
    )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # A reader whose window stays shut would hold a response and its file for ever.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SEND_STALL_MS)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise StartError(f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}.") from None
    return listener


def _tell_start(listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    logger.info("serving on %s", url, extra={})
    logger.info("aiohttp %s, SQLite %s", aiohttp.__version__, sqlite3.sqlite_version)


async def _drain(runner: web.AppRunner, site: web.BaseSite, timeout_s: float, hurry: asyncio.Event) -> None:
    """No new work; what runs may finish. aiohttp is told only afterwards: from then on it drops what bodies bring."""
    logger.info("draining")
    drain = runner.app[DRAIN]
    drain.begin()
    await site.stop()
    _close_idle(runner)
    waiting = asyncio.create_task(drain.wait(timeout_s))
    hurrying = asyncio.create_task(hurry.wait())
    await asyncio.wait([waiting, hurrying], return_when=asyncio.FIRST_COMPLETED)
    is_idle = waiting.done() and waiting.result()
    for task in (waiting, hurrying):
        task.cancel()
    logger.info("drained" if is_idle else "stopping while requests are running")


def _close_idle(runner: web.AppRunner) -> None:
    """Close the connections that wait for a request; aiohttp would do it at the end, and has no public way before.

    One that was answered before its body was through is not idle: closed now, what still arrives would reset it, and
    its client might never read the answer. aiohttp reads it out for `LINGERING_TIME_S`.
    """
    assert runner.server is not None
    for connection in runner.server.connections:
        if connection._waiter is not None and not connection._messages:
            connection.force_close()
