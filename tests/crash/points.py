"""The service, which kills itself at the nth point of its work on files and database.

    python -m tests.crash.points 17

serves as ``yarrr serve`` does. From SIGUSR1 on it counts: before and after each call that changes a file, before each
statement that changes the catalogue, and when a write has been committed. At the seventeenth it is dead.
"""

import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from typing import Any

from service.catalogue.database import Database
from service.cli import main

CALLS = ("open", "pwritev", "fdatasync", "fsync", "rename", "replace", "link", "unlink", "remove", "ftruncate")
CHANGES = ("BEGIN", "SAVEPOINT", "INSERT", "UPDATE", "DELETE", "RELEASE", "COMMIT", "ROLLBACK")

write = Database.write
connect = sqlite3.connect


class Points:
    """Counts points, in all threads together."""

    def __init__(self, last: int) -> None:
        self._left = last
        self._armed = False
        self._lock = threading.Lock()

    def arm(self, *_: Any) -> None:
        """Count from now on."""
        self._armed = True

    def __call__(self, name: str) -> None:
        if not self._armed:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.write(2, f"dead at {name}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, name: str) -> None:
        """Make a function of `os` two points."""
        function: Callable[..., Any] = getattr(os, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            self(f"the beginning of {name}")
            result = function(*arguments, **named)
            self(f"the end of {name}")
            return result

        setattr(os, name, counted)

    def watch_catalogue(self) -> None:
        """Make a point of every statement that changes something, and of every end of a write."""

        def connected(*arguments: Any, **named: Any) -> sqlite3.Connection:
            connection = connect(*arguments, **named)
            connection.set_trace_callback(self._statement)
            return connection

        async def written(database: Database, work: Callable[[sqlite3.Connection], Any]) -> Any:
            result = await write(database, work)
            self("the end of a write")
            return result

        sqlite3.connect = connected
        Database.write = written

    def _statement(self, sql: str) -> None:
        word = sql.split(None, 1)[0].upper()
        if word in CHANGES:
            self(word)


if __name__ == "__main__":
    points = Points(int(sys.argv[1]))
    for each in CALLS:
        points.around(each)
    points.watch_catalogue()
    signal.signal(signal.SIGUSR1, points.arm)
    main(["serve"])
