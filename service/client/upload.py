"""Uploads many files, a few at a time: each is hashed, looked for, sent, resumed as often as it takes, and verified."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from service.client.api import Api, Standing, Stored
from service.client.files import Source, find
from service.client.job import Job
from service.client.memory import Memory, sweep
from service.client.patience import Patience
from service.client.problems import Gone, Problem, Trouble
from service.client.progress import Show

T = TypeVar("T")

DONE = 0
FAILED = 1
INTERRUPTED = 130

MOST_LOSSES = 5

CHANGED = "file-changed"
GOES_ON = frozenset({"given-up", "unreadable"})
"""Problems after which the next run goes on where this one stopped. So does it after those that are for all files."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to upload, where, and how. ``retries`` is how many failures in a row without progress are borne."""

    paths: tuple[str, ...]
    server: str
    token: str = field(repr=False)
    state_dir: Path
    jobs: int = 4
    retries: int = 10
    stall_timeout_s: float = 60.0


def upload(options: Options, show: Show) -> int:
    """Upload everything; the exit code: 0 when all is there, 1 when something is not, 130 after Ctrl-C."""
    try:
        return asyncio.run(_upload(options, show))
    except KeyboardInterrupt:
        return INTERRUPTED


async def _upload(options: Options, show: Show) -> int:
    jobs = [Job(each) for each in find(options.paths)]
    sweep(options.state_dir)
    show.begin(jobs)
    drawing = asyncio.create_task(show.keep_drawn())
    try:
        async with Api(
            options.server, options.token, jobs=options.jobs, stall_timeout_s=options.stall_timeout_s
        ) as api:
            await Run(options, api, show).all(jobs)
    except asyncio.CancelledError:
        for job in jobs:
            if job.status is None:
                job.fail(Problem("interrupted", "Interrupted"))
                show.end(job, is_told=False)
        show.close(is_interrupted=True)
        raise
    finally:
        drawing.cancel()
    show.close()
    return DONE if all(job.status != "failed" for job in jobs) else FAILED


class Run:
    """One run of the command."""

    def __init__(self, options: Options, api: Api, show: Show) -> None:
        self._options = options
        self._api = api
        self._show = show
        self._moves = 0
        self._workers = 0
        self._hopeless: Problem | None = None
        self._digests: dict[str, asyncio.Lock] = {}

    async def all(self, jobs: Iterable[Job]) -> None:
        """Every job to its end, a few at a time."""
        queue = deque(jobs)
        self._workers = self._options.jobs
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work(queue))

    async def _work(self, queue: deque[Job]) -> None:
        while queue:
            job = queue.popleft()
            job.start()
            self._show.start(job)
            try:
                if job.found.problem or self._hopeless:
                    raise self._hopeless or Problem("unreadable", job.found.problem or "")
                await self._settle(job)
                self._note_move()
            except Trouble:
                queue.append(job)
                self._show.put_back(job)
                return
            except Problem as problem:
                if problem.is_for_all:
                    self._hopeless = problem
                job.fail(problem)
            self._show.end(job)
        self._workers -= 1

    async def _settle(self, job: Job) -> None:
        """Bring one file to the service, or find it there."""
        with Source(job.found) as source:
            job.sha256 = sha256 = await source.digest(job.hashed)
            patience = Patience(self._options.retries, lambda: self._moves)
            # The same content twice in one run: the second waits, and then finds it there.
            async with self._digests.setdefault(sha256, asyncio.Lock()):
                track = await self._patiently(job, patience, lambda: self._api.find_track(sha256))
                if track is not None:
                    job.end("skipped", track.track_id)
                    return
                track = await self._send(job, source, patience)
        if track.sha256 != sha256:
            raise Problem("digest-mismatch", f"Track {track.track_id} of the service has other bytes than the file")
        job.end("uploaded", track.track_id)

    async def _send(self, job: Job, source: Source, patience: Patience) -> Stored:
        assert job.sha256 is not None
        with Memory(self._options.state_dir, self._options.server, job.sha256) as memory:
            transfer = Transfer(self._api, job, source, memory, patience, self._note_move)
            try:
                track = await self._patiently(job, patience, transfer.go_on)
            except Problem as problem:
                if problem.code == CHANGED:
                    await transfer.abandon()
                if problem.code not in GOES_ON and not problem.is_for_all:
                    memory.forget()
                raise
            memory.forget()
        return track

    async def _patiently(self, job: Job, patience: Patience, step: Callable[[], Awaitable[T]]) -> T:
        """Do `step` until there is no trouble with it.

        Raises:
            Trouble: the service takes fewer files at once than we send. The others go on, and come back to this one.
        """
        while True:
            try:
                return await step()
            except Trouble as trouble:
                if trouble.is_queue and self._workers > 1:
                    self._workers -= 1
                    raise
                wait_s = patience.wait_s(trouble)
                self._show.wait(job, trouble.detail, wait_s)
                await asyncio.sleep(wait_s)

    def _note_move(self) -> None:
        self._moves += 1


class Transfer:
    """One file on its way. What has arrived is asked for before anything is sent, and never believed otherwise."""

    def __init__(
        self, api: Api, job: Job, source: Source, memory: Memory, patience: Patience, moved: Callable[[], None]
    ) -> None:
        self._api = api
        self._job = job
        self._source = source
        self._memory = memory
        self._patience = patience
        self._moved = moved
        self._upload_id = memory.upload_id
        self._losses = 0

    async def go_on(self) -> Stored:
        """Send what is missing, in one request; the track it has become.

        Raises:
            Trouble: to be called again.
        """
        self._source.check_unchanged()
        try:
            standing = await self._standing()
            if standing.track is None:
                standing = await self._append(standing.offset)
        except Gone as gone:
            self._lose(gone)
            raise Trouble("The service has lost the upload") from None
        if standing.track is None:
            raise Trouble("The service has not counted all bytes")
        return standing.track

    async def _standing(self) -> Standing:
        """How far the upload is, which is created if there is none."""
        if self._upload_id is not None:
            try:
                return await self._api.look(self._upload_id)
            except Gone as gone:
                self._lose(gone)
        sha256 = self._job.sha256
        assert sha256 is not None
        self._upload_id = await self._api.create(self._source.name, self._source.size, sha256)
        self._memory.keep(self._upload_id, path=self._source.path)
        return Standing(0)

    async def _append(self, offset: int) -> Standing:
        assert self._upload_id is not None
        self._patience.note(offset)
        self._job.stand(offset)
        chunks = self._source.chunks(offset)
        await self._api.send(self._upload_id, offset, self._source.size, chunks, self._sent)
        return await self._api.look(self._upload_id)

    def _sent(self, offset: int) -> None:
        self._job.send(offset)
        self._moved()

    def _lose(self, gone: Gone) -> None:
        """Begin anew, unless the service does not want the content, or loses every upload.

        Raises:
            Problem: so it is.
        """
        self._upload_id = None
        self._memory.forget()
        self._patience.start_over()
        self._losses += 1
        if gone.reason is not None:
            raise gone.reason
        if self._losses > MOST_LOSSES:
            raise Problem("upload-expired", "The service has lost the upload again and again")

    async def abandon(self) -> None:
        """Give back what was sent, if the service can be asked to."""
        if self._upload_id is not None:
            with suppress(Trouble, Problem):
                await self._api.terminate(self._upload_id)
