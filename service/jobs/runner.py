"""Runs jobs: takes each from its table, lets it be done, and sees to it when that fails.

There is a lane for each kind, with a process of its own, so that a long one never keeps a short one waiting.
"""

import asyncio
import logging
import sqlite3
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from functools import partial
from typing import TypeVar

from service.catalogue import clock, jobs, tracks
from service.catalogue.database import Database
from service.catalogue.jobs import Job
from service.catalogue.tracks import Cover, Description
from service.errors import DatabaseFull, NotAPicture, Overloaded, StorageFailed
from service.jobs.analyse import Analyst
from service.jobs.worker import Died, Unreadable, Worker
from service.metrics import Metrics
from service.storage.failures import FULL_ERRORS, failure_of

T = TypeVar("T")

logger = logging.getLogger(__name__)

BACKOFF_S = (2, 30)
"""After the first attempt, after the second."""

POLL_S = 5.0
"""Somebody else may have queued jobs: a command beside the service."""

IDLE_S = 20.0
"""After so long without a job the process of a lane ends, and its memory is free."""

BATCH = 16
BATCH_BYTES = 32 << 20
"""So much is taken from the queue at once: one transaction for many small files, and not much for who comes next."""

PLACES = 4
"""Of a batch so many are on their way: one is looked at, what was found of others is being committed."""

BUSY = 0.5
"""Of one core: when this process uses more, uploads or downloads have much to do."""
LULL_S = 0.1
LULL_PATIENCE_S = 5.0
AT_LEAST_S = 1.0

DRAIN_S = 5.0
RETRY_AFTER_S = 5
FAILURE_PAUSE_S = 5.0

FARTHEST_S = 60
"""No job is put off for longer."""

NO_ROOM_PAUSE_S = 30
"""Until a disk that was full is tried again; that says nothing about the file, and counts as no attempt."""

MAX_PICTURES = 6
MAX_PICTURES_PER_USER = 3
"""How many pictures are taken in and wait to be rendered; each is in memory until then."""


class Runner:
    """The lanes of an app. `changed` hears of each track (user id, track id) that a job has changed."""

    def __init__(
        self,
        database: Database,
        analyst: Analyst,
        metrics: Metrics,
        *,
        processes: int,
        changed: Callable[[str, str], None] = lambda _user_id, _track_id: None,
    ) -> None:
        self._database = database
        self._analyst = analyst
        self._metrics = metrics
        self._changed = changed
        self._work: dict[str, Callable[[Job, Worker], Awaitable[str | None]]] = {
            "describe": analyst.describe,
            "measure": analyst.measure,
        }
        self._kinds = ["describe", *["measure"] * processes] if processes else []
        self._lanes: list[asyncio.Task[None]] = []
        self._wakes = {kind: asyncio.Event() for kind in jobs.KINDS}
        self._is_stopping = False
        self._renderer = Worker()
        self._rendering = asyncio.Lock()
        self._pictures: Counter[str] = Counter()  # of whom
        self._unsettled: list[Job] = []  # the database failed before it could be told how they ended
        self._is_newest_next = dict.fromkeys(jobs.KINDS, True)

    def wake(self) -> None:
        """There is a new track."""
        self._wakes["describe"].set()

    async def start(self) -> None:
        """Begin, with what a crash has left."""
        if left := await self._database.write(jobs.put_all_back):
            logger.info("%d jobs had been running when the service ended; they run again", left)
        self._lanes = [asyncio.create_task(self._lane(kind)) for kind in self._kinds]

    async def run_all(self) -> None:
        """Do what waits, and what that queues, until nothing does. For who holds the data directory alone."""
        await self._database.write(jobs.put_all_back)
        while [kind for kind in jobs.KINDS if await self._do_those_of(kind)]:
            pass  # another command may have queued more

    async def _do_those_of(self, kind: str) -> bool:
        """Do all jobs of a kind; whether there were any."""
        worker = Worker()
        has_done = False
        try:
            while (pause := await self._pause_before(kind)) is not None:
                await asyncio.sleep(pause)
                await self._do_all(await self._take(kind), worker)
                has_done = True
        finally:
            await worker.close()
        return has_done

    async def close(self) -> None:
        """Let the jobs that run come to their end for a moment; those that do not are put back."""
        self._is_stopping = True
        for wake in self._wakes.values():
            wake.set()
        if self._lanes:
            _, late = await asyncio.wait(self._lanes, timeout=DRAIN_S)
            for lane in late:
                lane.cancel()
            await asyncio.gather(*self._lanes, return_exceptions=True)
        await self._renderer.close()

    async def note_queue(self) -> None:
        """Bring the metrics of the queue up to date."""
        counts = await jobs.counts(self._database)
        for kind in jobs.KINDS:
            for state in jobs.STATES:
                self._metrics.queued_jobs.labels(kind, state).set(counts.get((kind, state), 0))

    @contextmanager
    def place_for_picture(self, user_id: str) -> Iterator[None]:
        """Hold it from before a picture of the user is read until it has been rendered.

        Raises:
            Overloaded: as many as may are there already.
        """
        if self._pictures.total() >= MAX_PICTURES or self._pictures[user_id] >= MAX_PICTURES_PER_USER:
            raise Overloaded("Many pictures are being looked at.", retry_after=RETRY_AFTER_S)
        self._pictures[user_id] += 1
        try:
            yield
        finally:
            self._pictures[user_id] -= 1
            self._pictures += Counter()  # forgets who has none

    async def render(self, picture: bytes, commit: Callable[[Cover], Awaitable[T]]) -> T:
        """Render a picture and `commit` it to a track; what that returns.

        Raises:
            NotAPicture: it cannot be shown; nothing was committed.
            Overloaded: the process that looks at it cannot be had.
            StorageError: no room, or the disk failed.
        """
        async with self._rendering:
            try:
                return await self._analyst.render(picture, self._renderer, commit)
            except Unreadable as error:
                raise NotAPicture(str(error)) from None
            except Died as error:
                raise Overloaded(str(error), retry_after=RETRY_AFTER_S) from error
            except OSError as error:
                raise failure_of(error, "the picture") from error
            finally:
                await self._renderer.close()

    async def _lane(self, kind: str) -> None:
        worker = Worker()
        try:
            while not self._is_stopping:
                try:
                    await self._put_unsettled_back()
                    if kind == "measure":
                        await self._lull()
                    if batch := await self._take(kind):
                        async with self._giving_way(worker) if kind == "measure" else nullcontext():
                            await self._do_all(batch, worker)
                    else:
                        await self._rest(kind, worker)
                except StorageFailed as error:
                    logger.error("jobs have to wait: %s", error)
                    await asyncio.sleep(FAILURE_PAUSE_S)
                except Exception:  # a lane that ended would leave its jobs waiting for ever, and nobody would see it
                    logger.exception("jobs have to wait")
                    await asyncio.sleep(FAILURE_PAUSE_S)
        finally:
            await worker.close()

    async def _lull(self) -> None:
        """Wait until the service is less busy, for a while: nobody waits for what is measured."""
        ends_at = time.monotonic() + LULL_PATIENCE_S
        while time.monotonic() < ends_at and not self._is_stopping:
            if not await _is_busy():
                return

    @asynccontextmanager
    async def _giving_way(self, worker: Worker) -> AsyncIterator[None]:
        """Let the worker stand still while the service is busy; every few seconds it gets on for one all the same."""

        async def give_way() -> None:
            while True:
                if await _is_busy() and not self._is_stopping:
                    with worker.paused():
                        await self._lull()
                    await asyncio.sleep(AT_LEAST_S)

        task = asyncio.create_task(give_way())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _pause_before(self, kind: str) -> float | None:
        """Seconds until a job of that kind is due; None when none waits."""
        due_at = await jobs.next_due_at(self._database, kind)
        if due_at is None:
            return None
        pause = (due_at - clock.now()) / clock.SECOND
        if pause > FARTHEST_S:
            await self._database.write(partial(jobs.bring_forward, now=clock.now()))
            return 0.0
        return max(0.0, pause)

    async def _take(self, kind: str) -> list[Job]:
        if await self._pause_before(kind) != 0:
            return []
        now = clock.now()
        # The oldest and the newest by turns: an upload of now does not wait behind a catalogue that is analysed anew.
        is_newest = self._is_newest_next[kind]
        self._is_newest_next[kind] = not is_newest
        take = partial(jobs.take, kind=kind, now=now, newest=is_newest, limit=BATCH, most_bytes=BATCH_BYTES)
        return await self._database.write(take, may_wait=True)

    async def _put_unsettled_back(self) -> None:
        while self._unsettled:
            job = self._unsettled.pop()  # before anything is waited for: other lanes do the same
            try:
                await self._database.write(partial(jobs.put_back, job=job))
            except Exception:
                self._unsettled.append(job)
                raise

    async def _rest(self, kind: str, worker: Worker) -> None:
        wake = self._wakes[kind]
        rested = 0.0
        while not self._is_stopping:
            due_in_s = await self._pause_before(kind)
            pause = POLL_S if due_in_s is None else min(POLL_S, due_in_s)
            if pause == 0:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(wake.wait(), pause)
                if not self._is_stopping:  # the others of its kind have to hear of it, too
                    wake.clear()
                return
            rested += pause
            if rested >= IDLE_S:
                await worker.close()

    async def _do_all(self, batch: list[Job], worker: Worker) -> None:
        """The worker looks at one after the other; what it found is committed while it goes on."""
        places = asyncio.Semaphore(PLACES)
        ends = await asyncio.gather(*(self._do(job, worker, places) for job in batch), return_exceptions=True)
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    async def _do(self, job: Job, worker: Worker, places: asyncio.Semaphore) -> None:
        try:
            async with places:
                if self._is_stopping:
                    await self._database.write(partial(jobs.put_back, job=job))
                    return
                await self._do_now(job, worker)
        except asyncio.CancelledError:
            await asyncio.shield(self._database.write(partial(jobs.put_back, job=job)))
            raise
        except Exception:
            self._unsettled.append(job)
            raise

    async def _do_now(self, job: Job, worker: Worker) -> None:
        began = time.monotonic()
        try:
            outcome = await self._attempt(job, worker)
        finally:
            self._changed(job.user_id, job.track_id)
        self._metrics.note_job(job.kind, outcome, time.monotonic() - began)
        if job.kind == "describe":
            self._wakes["measure"].set()

    async def _attempt(self, job: Job, worker: Worker) -> str:
        if job.attempts > jobs.MAX_ATTEMPTS:
            return await self._give_up(job, "The service itself ended each time that it was looked at.")
        try:
            problem = await self._work[job.kind](job, worker)
        except Unreadable as error:
            return await self._give_up(job, str(error))
        except Died as error:
            return await self._try_again(job, str(error))
        except OSError as error:
            problem = f"The disk failed: {error.strerror or type(error).__name__}."  # without the path
            if error.errno in FULL_ERRORS:
                return await self._wait_for_room(job, problem)
            return await self._try_again(job, problem)
        except DatabaseFull as error:
            return await self._wait_for_room(job, str(error))
        except StorageFailed as error:
            await self._try_again(job, str(error))
            raise
        except Exception as error:
            logger.exception("%s of track %s", job.kind, job.track_id)
            return await self._try_again(job, f"The service failed ({type(error).__name__}).")
        return "done" if problem is None else self._note_failed(job, problem)

    async def _wait_for_room(self, job: Job, problem: str) -> str:
        due_at = clock.now() + NO_ROOM_PAUSE_S * clock.SECOND
        postpone = partial(jobs.postpone, job=job, due_at=due_at, problem=problem, is_counted=False)
        await self._database.write(postpone)
        logger.warning("%s of track %s: %s", job.kind, job.track_id, problem)
        return "postponed"

    async def _try_again(self, job: Job, problem: str) -> str:
        if job.is_last_attempt:
            return await self._give_up(job, problem)
        due_at = clock.now() + BACKOFF_S[job.attempts - 1] * clock.SECOND
        await self._database.write(partial(jobs.postpone, job=job, due_at=due_at, problem=problem))
        logger.warning("%s of track %s: %s It is tried again.", job.kind, job.track_id, problem)
        return "postponed"

    async def _give_up(self, job: Job, problem: str) -> str:
        def give_up(connection: sqlite3.Connection) -> None:
            now = clock.now()
            if not jobs.fail(connection, job, problem=problem):
                return
            if job.kind == "describe":
                found = Description(tags={}, reason=problem, is_by_file=False)
                if tracks.describe(connection, job.track_id, found, now=now) is not None:
                    jobs.queue(connection, "measure", [job.track_id], now=now)
            tracks.settle(connection, job.track_id, now=now)

        await self._database.write(give_up)
        return self._note_failed(job, problem)

    @staticmethod
    def _note_failed(job: Job, problem: str) -> str:
        logger.warning("%s of track %s: %s", job.kind, job.track_id, problem)
        return "failed"


async def _is_busy() -> bool:
    """Whether this process, and not those that look into files, has much to do at the moment."""
    began, cpu_s = time.monotonic(), time.process_time()
    await asyncio.sleep(LULL_S)
    return time.process_time() - cpu_s > BUSY * (time.monotonic() - began)
