"""The service with one of its guarantees removed, so that the crash tests can show that they would see it.

    python -m tests.crash.broken receipt-before-commit

serves as ``yarrr serve`` does. Only the order of steps is changed, never what they do: without a crash nobody would
notice.
"""

import asyncio
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from service import app
from service.catalogue import uploads
from service.catalogue.database import Database
from service.cli import main
from service.storage.local import LocalBlobs
from service.storage.spool import Part

LATE_S = 0.25

write = Database.write
adopt = LocalBlobs.adopt


class Undo(Exception):
    """Carries the result of a write that is undone."""


def is_finish(work: Callable[[sqlite3.Connection], Any]) -> bool:
    """Whether this is the transaction that makes an upload a track."""
    return getattr(work, "func", None) in (uploads.finish, uploads.take_at_once)


def receipt_before_commit() -> None:
    """201 first, the transaction a moment later."""
    later: set[asyncio.Task[Any]] = set()

    async def write_late(database: Database, work: Callable[[sqlite3.Connection], Any]) -> None:
        await asyncio.sleep(LATE_S)
        await write(database, work)

    async def broken(database: Database, work: Callable[[sqlite3.Connection], Any]) -> Any:
        if not is_finish(work):
            return await write(database, work)

        def rehearse(connection: sqlite3.Connection) -> None:
            raise Undo(work(connection))

        try:
            await write(database, rehearse)
        except Undo as undo:
            later.add(asyncio.create_task(write_late(database, work)))
            return undo.args[0]

    Database.write = broken


def row_before_file() -> None:
    """The track is in the catalogue first, its blob in its place a moment later."""

    def broken(blobs: LocalBlobs, part: Path, key: str) -> None:
        timer = threading.Timer(LATE_S, adopt, (blobs, part, key))
        timer.daemon = True
        timer.start()

    LocalBlobs.adopt = broken


def no_recovery() -> None:
    """The order is right, and a step slow, but the start does not repair what a crash left between two steps."""

    async def broken(database: Database, work: Callable[[sqlite3.Connection], Any]) -> Any:
        if is_finish(work):
            await asyncio.sleep(LATE_S)
        return await write(database, work)

    async def nothing(*_: Any, **__: Any) -> None:
        pass

    Database.write = broken
    app.recover = nothing


def no_flush() -> None:
    """The catalogue is flushed, the bytes of the files are not."""
    Part.sync = lambda _: None


BROKEN = (receipt_before_commit, row_before_file, no_recovery, no_flush)
VARIANTS = {each.__name__.replace("_", "-"): each for each in BROKEN}


if __name__ == "__main__":
    VARIANTS[sys.argv[1]]()
    main(["serve"])
