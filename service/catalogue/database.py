"""The database handles: one connection that writes, a few that read.

SQLite takes one writer at a time and is fast when asked so: every write is a function of the raw connection, queued to
the one writer connection. All functions that wait together share one transaction (group commit), and a failure undoes
only itself. ``write`` returns after COMMIT, and with ``synchronous=FULL`` that means: on stable storage.
"""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import aiosqlite

from service.catalogue.search import refresh
from service.errors import DatabaseFull, StorageFailed

T = TypeVar("T")
Parameters = Sequence[Any] | Mapping[str, Any]
Work = Callable[[sqlite3.Connection], Any]

APPLICATION_ID = 0x79617272  # "yarr"
MAX_GROUP = 64
PATIENCE_S = 0.02
"""How long a write that may wait is kept for one that may not, to be committed with it."""
READERS = 2

WRITER_PRAGMAS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = {synchronous};
PRAGMA foreign_keys = ON;
PRAGMA busy_timeout = 5000;
PRAGMA wal_autocheckpoint = {checkpoint_pages};
PRAGMA journal_size_limit = 67108864;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -16000;
PRAGMA mmap_size = 0;
PRAGMA trusted_schema = OFF;
PRAGMA cell_size_check = ON;
"""

READER_PRAGMAS = """
PRAGMA query_only = ON;
PRAGMA busy_timeout = 5000;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -8000;
PRAGMA trusted_schema = OFF;
"""

# Results that say "the file", not "the statement": what was written is undone, what was read is worth nothing.
FILE_ERRORS = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)


@dataclass(slots=True)
class _Write:
    work: Work
    done: asyncio.Future[Any]


def write_together(connection: sqlite3.Connection, works: Sequence[Work]) -> list[Any]:
    """Run all works in one transaction; the result of each, or the exception that undid it.

    Raises:
        sqlite3.Error: when the transaction itself could not begin or commit; then nothing was written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        results = _run(connection, works)
        if results is None:
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            results = _run_each_in_a_savepoint(connection, works)
        refresh(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return results


def _run(connection: sqlite3.Connection, works: Sequence[Work]) -> list[Any] | None:
    """None when one failed that had written something.

    That is rare, since works look before they write. A savepoint for each would be two more statements, and with each
    statement the interpreter lock is given away and fetched again, which costs more than the statement.
    """
    results: list[Any] = []
    for work in works:
        changes = connection.total_changes
        try:
            results.append(_within(connection, work))
        except Exception as error:
            if not connection.in_transaction:
                raise
            if connection.total_changes != changes:
                return None
            results.append(error)
    return results


def _run_each_in_a_savepoint(connection: sqlite3.Connection, works: Sequence[Work]) -> list[Any]:
    results: list[Any] = []
    for work in works:
        connection.execute("SAVEPOINT work")
        try:
            results.append(_within(connection, work))
        except Exception as error:
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO work")
            results.append(error)
        connection.execute("RELEASE work")
    return results


def _within(connection: sqlite3.Connection, work: Work) -> Any:
    result = work(connection)
    if not connection.in_transaction:  # the file failed and SQLite itself has undone everything: the next would commit
        raise sqlite3.OperationalError("the transaction is over")
    return result


def is_of_the_file(error: Exception) -> bool:
    """Whether the database's file failed, and not what was asked of it."""
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in FILE_ERRORS


def _failure(error: Exception, detail: str) -> StorageFailed:
    is_full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    failure = DatabaseFull("The disk has no room for the database.") if is_full else StorageFailed(detail)
    failure.__cause__ = error
    return failure


class _Connection(aiosqlite.Connection):
    """aiosqlite's connection and thread, with any function of the raw connection as one hop to that thread."""

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        execute: Callable[..., Awaitable[T]] = self._execute
        return await execute(work, self._conn, *arguments)


def _at_one_moment(connection: sqlite3.Connection, work: Callable[[sqlite3.Connection], T]) -> T:
    connection.execute("BEGIN")
    try:
        return work(connection)
    finally:
        if connection.in_transaction:  # SQLite may have ended it when the file failed
            connection.execute("ROLLBACK")


async def _connect(location: str, pragmas: str, *, uri: bool = False) -> _Connection:
    def connector() -> sqlite3.Connection:
        connection = sqlite3.connect(location, uri=uri, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.executescript(pragmas)
        return connection

    return cast(_Connection, await _Connection(connector, iter_chunk_size=64))


async def _catch_up(writer: _Connection) -> None:
    """Let all tracks be found that a migration has made so that they are not."""
    while await writer.execute_fetchall("SELECT 1 FROM unsearched LIMIT 1"):
        [result] = await writer.run(write_together, [refresh])
        if isinstance(result, Exception):
            raise result


class Database:
    """The handles on one SQLite file. Open with `Database.open`, close with `close`."""

    def __init__(self, writer: _Connection, readers: list[_Connection], *, checkpoint: bool = True) -> None:
        self._writer = writer
        self._checkpoint = checkpoint
        self._readers = readers
        self._reads = [0] * len(readers)
        self._writes: deque[_Write] = deque()
        self._patient: deque[_Write] = deque()
        self._patience: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    async def open(cls, path: Path, *, durable: bool = True, checkpoint: bool = True) -> "Database":
        """Open the file at `path`, which has been migrated.

        ``durable=False`` is ``YARRR_DURABILITY=relaxed``: a commit survives a crash of the process, not of the machine.
        ``checkpoint=False`` is for a second process beside the service, which leaves folding the log to it.
        """
        pragmas = WRITER_PRAGMAS.format(
            synchronous="FULL" if durable else "NORMAL", checkpoint_pages=1000 if checkpoint else 0
        )
        writer = await _connect(str(path), pragmas)
        try:
            await _catch_up(writer)
            location = f"{path.resolve().as_uri()}?mode=ro"
            readers = [await _connect(location, READER_PRAGMAS, uri=True) for _ in range(READERS)]
        except BaseException:
            await writer.close()
            raise
        return cls(writer, readers, checkpoint=checkpoint)

    async def write(self, work: Callable[[sqlite3.Connection], T], *, may_wait: bool = False) -> T:
        """Run `work` on the writing connection and return its result once it is committed.

        It may be run a second time, after everything was undone: it must change nothing but the database. With
        `may_wait` nobody sits there and waits for it: it does not begin a transaction that others would have to wait
        for, unless none comes for `PATIENCE_S`.

        Raises:
            StorageFailed: the transaction could not be committed, or the file failed.
            Exception: whatever `work` raised; what it wrote is undone.
        """
        if self._closed:
            raise StorageFailed("The database is closed.")
        entry = _Write(work, asyncio.get_running_loop().create_future())
        if may_wait:
            self._patient.append(entry)
            self._wait()
        else:
            self._writes.append(entry)
            self._begin()
        # A caller that is cancelled must not undo what others wait for, nor leave its own write half known.
        return cast(T, await asyncio.shield(entry.done))

    def _wait(self) -> None:
        if self._writing is None and self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(PATIENCE_S, self._begin)

    def _begin(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        try:
            while group := [
                queue.popleft() for queue in (self._writes, self._patient) for _ in range(min(MAX_GROUP, len(queue)))
            ]:
                try:
                    results = await self._writer.run(write_together, [each.work for each in group])
                except Exception as error:
                    results = [_failure(error, "The database could not commit.")] * len(group)
                for each, result in zip(group, results, strict=True):
                    _settle(each.done, result)
                if not self._writes:
                    break
        finally:
            self._writing = None
            if self._patient:
                self._wait()

    async def read(self, sql: str, parameters: Parameters = ()) -> list[sqlite3.Row]:
        """All rows of one query, on the reading connection that has least to do.

        Raises:
            StorageFailed: the file failed.
        """
        with self._reading() as reader:
            return cast(list[sqlite3.Row], await reader.execute_fetchall(sql, cast(Any, parameters)))

    async def find(self, sql: str, parameters: Parameters = ()) -> sqlite3.Row | None:
        """The first row of one query, or None."""
        rows = await self.read(sql, parameters)
        return rows[0] if rows else None

    async def run_reading(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a reading connection: several queries, one hop, and all of them see the same moment.

        Raises:
            StorageFailed: the file failed.
        """
        with self._reading() as reader:
            return await reader.run(_at_one_moment, work)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[_Connection]:
        number = min(range(len(self._readers)), key=self._reads.__getitem__)
        self._reads[number] += 1
        try:
            yield self._readers[number]
        except sqlite3.Error as error:
            if is_of_the_file(error):
                raise StorageFailed("The database cannot be read.") from error
            raise
        finally:
            self._reads[number] -= 1

    async def close(self) -> None:
        """Finish what is queued, fold the log into the file, close. Idempotent."""
        if self._closed:
            return
        self._closed = True
        while self._writing is not None or self._patient:
            self._begin()
            assert self._writing is not None
            await asyncio.wait([self._writing])
        for reader in self._readers:
            await reader.close()
        if self._checkpoint:
            with contextlib.suppress(sqlite3.Error):
                await self._writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
        await self._writer.close()


def _settle(done: asyncio.Future[Any], result: Any) -> None:
    if done.cancelled():
        return
    if isinstance(result, sqlite3.Error) and is_of_the_file(result):
        result = _failure(result, "The database failed.")
    if isinstance(result, Exception):
        done.set_exception(result)
        done.exception()  # the caller may be gone; then nobody else will look at it
    else:
        done.set_result(result)
