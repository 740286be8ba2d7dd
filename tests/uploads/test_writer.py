"""The writer: order, back-pressure, and errors that nobody misses."""

import asyncio
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

from service.uploads.writer import BUDGET_BYTES, MAX_PENDING_BYTES, MIN_PENDING_BYTES, Writer, pending_limit


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as pool:
        yield pool


async def test_chunks_are_stored_in_order_and_never_two_at_once(pool):
    stored, inside = [], threading.Lock()

    def store(batch):
        assert inside.acquire(blocking=False)
        time.sleep(0.001)
        stored.extend(batch)
        inside.release()

    writer = Writer(store, pool)
    chunks = [number.to_bytes(4, "big") for number in range(500)]
    for chunk in chunks:
        writer.put(chunk)
        writer.start()
        await writer.room(64)
    assert await writer.finish(lambda: len(stored)) == 500
    assert stored == chunks


async def test_no_more_is_pending_than_the_limit(pool):
    held, most = 0, 0

    def store(batch):
        nonlocal held
        time.sleep(0.002)
        held -= sum(map(len, batch))

    writer = Writer(store, pool)
    for _ in range(100):
        writer.put(bytes(1000))
        held += 1000
        most = max(most, held)
        writer.start()
        await writer.room(5000)
    await writer.finish(lambda: None)
    assert held == 0
    assert most <= 6000


async def test_without_start_everything_is_stored_at_the_end_in_one_hop(pool):
    batches = []
    writer = Writer(batches.append, pool)
    writer.put(b"a")
    writer.put(b"b")
    assert await writer.finish(lambda: batches.copy()) == [[b"a", b"b"]]


async def test_finish_gives_what_last_raises(pool):
    def last():
        raise ValueError("last")

    with pytest.raises(ValueError, match="last"):
        await Writer(lambda batch: None, pool).finish(last)


@pytest.mark.parametrize("step", ["put", "room", "finish"])
async def test_an_error_of_the_store_reaches_the_next_step(pool, step):
    def store(batch):
        raise OSError("disk")

    writer, done = Writer(store, pool), []
    writer.put(b"chunk")
    if step == "finish":
        with pytest.raises(OSError, match="disk"):
            await writer.finish(lambda: done.append("last"))
    elif step == "room":
        with pytest.raises(OSError, match="disk"):
            await writer.room(0)
    else:
        writer.start()
        await asyncio.sleep(0.05)
        with pytest.raises(OSError, match="disk"):
            writer.put(b"more")
    assert done == []


class LateExecutor(Executor):
    """Says that its work failed only a while after it did: the worst order that two threads can have."""

    def submit(self, work, /, *arguments, **more):
        future = Future()

        def run():
            try:
                result = work(*arguments)
            except BaseException as error:
                time.sleep(0.1)
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=run).start()
        return future


async def test_who_waits_for_room_hears_of_an_error_however_late_it_is_known():
    def store(batch):
        raise OSError("disk")

    writer = Writer(store, LateExecutor())
    writer.put(bytes(10))
    async with asyncio.timeout(2):
        with pytest.raises(OSError, match="disk"):
            await writer.room(0)


async def test_after_an_error_nothing_more_is_stored(pool):
    calls = []

    def store(batch):
        calls.append(batch)
        raise OSError("disk")

    writer = Writer(store, pool)
    writer.put(b"a")
    with pytest.raises(OSError, match="disk"):
        await writer.room(0)
    with pytest.raises(OSError, match="disk"):
        await writer.finish(lambda: None)
    assert calls == [[b"a"]]


async def test_rest_waits_for_the_thread(pool):
    done = []

    def store(batch):
        time.sleep(0.1)
        done.extend(batch)

    writer = Writer(store, pool)
    await writer.rest()
    writer.put(b"a")
    writer.start()
    await writer.rest()
    assert done == [b"a"]


def test_all_uploads_together_stay_within_the_budget():
    assert pending_limit(0) == pending_limit(1) == MAX_PENDING_BYTES
    assert pending_limit(10_000) == MIN_PENDING_BYTES
    for running in range(1, BUDGET_BYTES // MIN_PENDING_BYTES):
        assert running * pending_limit(running) <= BUDGET_BYTES
