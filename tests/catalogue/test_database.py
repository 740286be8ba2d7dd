"""The handles: group commit, one failure undoing only itself, and what a broken disk turns into."""

import asyncio
import sqlite3

import pytest

from service.catalogue import database as database_module
from service.catalogue.database import MAX_GROUP, Database, write_together
from service.errors import DatabaseFull, NotFound, StorageFailed


@pytest.fixture
async def numbers(database):
    await database.write(lambda connection: connection.execute("CREATE TABLE numbers (n INTEGER UNIQUE) STRICT"))
    return database


def insert(number):
    def work(connection):
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        return number

    return work


async def all_numbers(database):
    return [row[0] for row in await database.read("SELECT n FROM numbers ORDER BY n")]


async def test_a_write_is_read_as_soon_as_it_is_told(numbers):
    assert await numbers.write(insert(1)) == 1
    assert await all_numbers(numbers) == [1]
    assert (await numbers.find("SELECT n FROM numbers WHERE n = ?", (1,)))["n"] == 1
    assert await numbers.find("SELECT n FROM numbers WHERE n = 2") is None
    assert await numbers.run_reading(lambda connection: connection.execute("SELECT 7").fetchone()[0]) == 7


async def test_writes_that_wait_together_share_a_transaction(numbers):
    commits = []
    await numbers.write(lambda connection: connection.set_trace_callback(commits.append))
    commits.clear()
    await asyncio.gather(*(numbers.write(insert(number)) for number in range(50)))
    assert commits.count("COMMIT") <= 2
    assert await all_numbers(numbers) == list(range(50))


async def test_more_writes_than_a_group_takes(numbers):
    count = MAX_GROUP * 3 + 7
    assert await asyncio.gather(*(numbers.write(insert(each)) for each in range(count))) == list(range(count))
    assert await all_numbers(numbers) == list(range(count))


async def test_one_failure_undoes_only_itself(numbers):
    def fails(connection):
        connection.execute("INSERT INTO numbers VALUES (100)")
        raise NotFound("nothing there")

    outcomes = await asyncio.gather(
        numbers.write(insert(1)),
        numbers.write(fails),
        numbers.write(insert(1)),
        numbers.write(insert(2)),
        return_exceptions=True,
    )
    assert [type(each) for each in outcomes] == [int, NotFound, sqlite3.IntegrityError, int]
    assert await all_numbers(numbers) == [1, 2]


async def test_a_caller_that_is_cancelled_undoes_nothing(numbers):
    task = asyncio.create_task(numbers.write(insert(1)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await numbers.write(insert(2))
    assert await all_numbers(numbers) == [1, 2]


async def test_a_failed_commit_fails_all_of_its_group(numbers):
    def breaks(connection):
        connection.execute("ROLLBACK")  # what SQLite itself does when the disk is full

    outcomes = await asyncio.gather(
        numbers.write(insert(1)), numbers.write(breaks), numbers.write(insert(2)), return_exceptions=True
    )
    assert [type(each) for each in outcomes] == [StorageFailed] * 3
    assert await all_numbers(numbers) == []
    await numbers.write(insert(3))
    assert await all_numbers(numbers) == [3]


async def test_a_full_database_is_a_failed_storage(numbers):
    await numbers.write(lambda connection: connection.execute("CREATE TABLE filler (bytes BLOB)"))
    pages = await numbers.write(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    await numbers.write(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages}"))
    fill = "INSERT INTO filler VALUES (zeroblob(100000))"
    with pytest.raises(DatabaseFull):
        await numbers.write(lambda connection: connection.execute(fill))
    outcomes = await asyncio.gather(
        *(numbers.write(lambda connection: connection.execute(fill)) for _ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in outcomes] == [DatabaseFull] * 3
    await numbers.write(lambda connection: connection.execute("PRAGMA max_page_count = 1000000"))
    await numbers.write(insert(1))
    assert await all_numbers(numbers) == [1]


async def test_a_locked_database_is_a_failed_storage(numbers, path):
    await numbers.write(lambda connection: connection.execute("PRAGMA busy_timeout = 50"))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageFailed):
        await numbers.write(insert(1))
    other.execute("ROLLBACK")
    other.close()
    await numbers.write(insert(1))


@pytest.mark.parametrize("together", [1, 2])
async def test_a_damaged_database_is_a_failed_storage(numbers, path, together):
    await asyncio.gather(*(numbers.write(insert(each)) for each in range(2000)))
    roots = await numbers.read("SELECT rootpage FROM sqlite_schema WHERE tbl_name = 'numbers'")
    await numbers.close()
    with path.open("r+b") as file:
        for row in roots:
            file.seek((row["rootpage"] - 1) * 4096)
            file.write(bytes(4096))
    damaged = await Database.open(path)
    try:
        outcomes = await asyncio.gather(
            *(damaged.write(insert(5000 + each)) for each in range(together)), return_exceptions=True
        )
        assert [type(each) for each in outcomes] == [StorageFailed] * together
        with pytest.raises(StorageFailed):
            await all_numbers(damaged)
        with pytest.raises(StorageFailed):
            await damaged.run_reading(lambda connection: connection.execute("SELECT * FROM numbers").fetchall())
    finally:
        await damaged.close()


async def test_readers_cannot_write(numbers):
    with pytest.raises(sqlite3.OperationalError):
        await numbers.read("INSERT INTO numbers VALUES (1)")
    with pytest.raises((sqlite3.OperationalError, StorageFailed)):
        await numbers.read("PRAGMA journal_mode = DELETE")


async def test_foreign_keys_and_full_sync_are_on(numbers):
    def look(connection):
        return [
            connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("foreign_keys", "synchronous", "journal_mode")
        ]

    assert await numbers.write(look) == [1, 2, "wal"]


async def test_relaxed_durability_is_only_the_flush(path):
    database = await Database.open(path, durable=False)
    assert await database.write(lambda connection: connection.execute("PRAGMA synchronous").fetchone()[0]) == 1
    await database.close()


async def test_after_closing_nothing_is_written_and_the_log_is_folded(numbers, path):
    writes = [asyncio.create_task(numbers.write(insert(each))) for each in range(10)]
    await asyncio.sleep(0)
    await numbers.close()
    await numbers.close()
    assert [await each for each in writes] == list(range(10))
    with pytest.raises(StorageFailed):
        await numbers.write(insert(11))
    assert not path.with_name("catalogue.db-wal").exists()
    plain = sqlite3.connect(path)
    assert plain.execute("SELECT count(*) FROM numbers").fetchone() == (10,)
    plain.close()


def test_a_transaction_that_cannot_begin_writes_nothing(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    with pytest.raises(sqlite3.OperationalError):
        write_together(connection, [lambda connection: connection.execute("CREATE TABLE x (y)")])
    connection.close()


async def test_who_fails_before_it_writes_costs_the_others_nothing(numbers):
    calls = []

    def counted(number):
        def work(connection):
            calls.append(number)
            return insert(number)(connection)

        return work

    def looks_and_fails(connection):
        connection.execute("SELECT count(*) FROM numbers").fetchone()
        raise NotFound("nothing there")

    outcomes = await asyncio.gather(
        *(numbers.write(work) for work in (counted(1), looks_and_fails, counted(2))), return_exceptions=True
    )
    assert [type(each) for each in outcomes] == [int, NotFound, int]
    assert calls == [1, 2]
    assert await all_numbers(numbers) == [1, 2]


async def test_a_work_that_ends_the_transaction_cannot_make_others_commit_alone(path):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE TABLE numbers (n INTEGER)")
    with pytest.raises(sqlite3.OperationalError):
        write_together(connection, [insert(1), lambda each: each.execute("ROLLBACK"), insert(2)])
    assert connection.execute("SELECT count(*) FROM numbers").fetchone()[0] == 0
    connection.close()


async def test_a_write_that_may_wait_is_committed_with_the_next_one(numbers, monkeypatch):
    monkeypatch.setattr(database_module, "PATIENCE_S", 3600)
    patient = asyncio.create_task(numbers.write(insert(1), may_wait=True))
    await asyncio.sleep(0.05)
    assert await all_numbers(numbers) == []
    await numbers.write(insert(2))
    assert await patient == 1
    assert await all_numbers(numbers) == [1, 2]


async def test_a_write_that_may_wait_does_not_wait_for_ever(numbers):
    assert await asyncio.wait_for(numbers.write(insert(1), may_wait=True), 5) == 1
    assert await asyncio.gather(*(numbers.write(insert(each), may_wait=True) for each in (2, 3, 4))) == [2, 3, 4]


async def test_a_write_that_may_wait_is_not_lost_when_the_database_is_closed(path, monkeypatch):
    monkeypatch.setattr(database_module, "PATIENCE_S", 3600)
    database = await Database.open(path)
    await database.write(lambda connection: connection.execute("CREATE TABLE numbers (n INTEGER)"))
    patient = asyncio.create_task(database.write(insert(1), may_wait=True))
    await asyncio.sleep(0)
    await database.close()
    assert await patient == 1
