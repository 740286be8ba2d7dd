"""Stores and inspects one batch in a thread while the next one fills on the event loop.

The thread takes the next batch by itself as long as there is one, so neither side waits for the other's wake-up: the
hash, which is the slowest step, never pauses. Between batches the thread belongs to other uploads.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar

T = TypeVar("T")

BUDGET_BYTES = 16 << 20
MIN_PENDING_BYTES = 64 << 10
MAX_PENDING_BYTES = 4 << 20


def pending_limit(running: int) -> int:
    """How many bytes one of `running` uploads may hold in memory, so that all together stay within the budget."""
    return max(MIN_PENDING_BYTES, min(MAX_PENDING_BYTES, BUDGET_BYTES // max(1, running)))


async def run_in(pool: Executor, work: Callable[[], T]) -> T:
    """Run blocking `work` in a thread of `pool`."""
    return await asyncio.get_running_loop().run_in_executor(pool, work)


class Writer:
    """One upload's way from memory to disk. `store` is called in a thread, never twice at once, in order."""

    def __init__(self, store: Callable[[list[bytes]], None], pool: Executor) -> None:
        self._store = store
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._busy = False
        self._job: asyncio.Future[Any] | None = None
        self._progress = asyncio.Event()

    def put(self, chunk: bytes) -> None:
        """Add a chunk to the batch that fills.

        Raises:
            Exception: whatever `store` raised for an earlier one.
        """
        if self._job is not None and self._job.done():
            self._job.result()
        with self._lock:
            self._pending.append(chunk)
            self._pending_bytes += len(chunk)

    def start(self) -> None:
        """See that what is pending gets stored."""
        with self._lock:
            if self._busy or not self._pending:
                return
            self._busy = True
        self._job = self._loop.run_in_executor(self._pool, self._run)
        # Only now is an error of `store` to be seen; who waits for room must wake up once more.
        self._job.add_done_callback(lambda _: self._progress.set())

    async def room(self, limit: int) -> None:
        """Wait until at most `limit` bytes are pending.

        Raises:
            Exception: whatever `store` raised.
        """
        while self._pending_bytes > limit:
            self._progress.clear()
            self.start()
            if self._pending_bytes > limit:
                await self._progress.wait()
            if self._job is not None and self._job.done():
                self._job.result()

    @property
    def is_busy(self) -> bool:
        """Whether a thread is storing at the moment."""
        return self._job is not None and not self._job.done()

    async def rest(self) -> None:
        """Wait until nothing is stored any more; what `store` raised is left to others."""
        if self._job is not None and not self._job.done():
            await asyncio.wait([self._job])

    async def finish(self, last: Callable[[], T]) -> T:
        """Store what is pending and then call `last`, together in one hop to a thread.

        Raises:
            Exception: whatever `store` or `last` raised.
        """
        if self._job is not None:
            await asyncio.shield(self._job)
        # A caller that is cancelled leaves a thread at work: whoever comes next waits for it.
        job = self._loop.run_in_executor(self._pool, self._run_last, last)
        self._job = job
        return await asyncio.shield(job)

    def _run_last(self, last: Callable[[], T]) -> T:
        self._run()
        return last()

    def _run(self) -> None:
        try:
            while batch := self._take():
                self._store(batch)
                with self._lock:
                    self._pending_bytes -= sum(map(len, batch))
                self._loop.call_soon_threadsafe(self._progress.set)
        except BaseException:
            self._loop.call_soon_threadsafe(self._progress.set)
            raise

    def _take(self) -> list[bytes]:
        with self._lock:
            batch, self._pending = self._pending, []
            self._busy = bool(batch)
        return batch
