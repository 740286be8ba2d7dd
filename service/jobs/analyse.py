"""What is done with a track after acceptance: read what its file says, and decode it. The looking itself is a worker's.

Each ends in one transaction with the end of its job, so that it is done once, whatever happens between.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from service.audio.fingerprint import SAME, similarity
from service.catalogue import analyses, clock, jobs, tracks
from service.catalogue.analyses import Analysis
from service.catalogue.database import Database
from service.catalogue.jobs import Job
from service.catalogue.tracks import Cover, Description
from service.jobs.worker import Answer, Died, Limits, Unreadable, Worker
from service.storage.covers import LocalCovers
from service.storage.local import LocalBlobs

T = TypeVar("T")

DESCRIBE = Limits(cpu_s=5, wall_s=10)
SLOWEST_READ = 20e6  # bytes a second, of a disk that is busy
SLOWEST_HASH = 100e6
SLOWEST_DECODE = 100  # seconds of audio for one of CPU

LIKE_DURATION_S = 3.0
MAX_CANDIDATES = 500
"""How many tracks that last as long are listened to, at most."""


class Analyst:
    """Analyses the tracks of jobs. One per app."""

    def __init__(self, database: Database, blobs: LocalBlobs, covers: LocalCovers) -> None:
        self._database = database
        self._blobs = blobs
        self._covers = covers

    async def describe(self, job: Job, worker: Worker) -> None:
        """Read the file's frames and tags; a file whose tags cannot be read is described as that.

        Raises:
            Died: the worker's process ended, and this was not the last attempt.
            OSError, StorageFailed: the disk or the database failed.
        """
        path = self._blobs.path(job.key)
        frames = await _scan(job, worker, path)
        try:
            answer = await worker.ask("describe", path, DESCRIBE)
        except (Unreadable, Died) as error:
            if isinstance(error, Died) and not job.is_last_attempt:
                raise
            await self._note(job, Description(tags={}, reason=str(error), **frames))
            return
        async with self._covers.lock:
            cover = await self._keep(answer)
            await self._note(job, Description(tags=answer.result["tags"], cover=cover, **frames))

    async def _note(self, job: Job, found: Description) -> None:
        def note(connection: sqlite3.Connection) -> None:
            now = clock.now()
            if tracks.describe(connection, job.track_id, found, now=now) is not None:
                jobs.queue(connection, "measure", [job.track_id], now=now)
            jobs.done(connection, job)
            tracks.settle(connection, job.track_id, now=now)

        await self._database.write(note)

    async def measure(self, job: Job, worker: Worker) -> None:
        """Decode the file, and see which of the user's tracks sound the same.

        Raises:
            Unreadable: it cannot be decoded.
            Died: the worker's process ended.
            OSError, StorageFailed: the disk or the database failed.
        """
        answer = await worker.ask("measure", self._blobs.path(job.key), measure_limits(job))
        peaks, fingerprint = answer.pieces
        report: dict[str, Any] = {
            name: round(each, 6) if isinstance(each, float) else each for name, each in answer.result.items()
        }
        analysis = Analysis(
            sample_rate=report["sample_rate"],
            samples_per_point=report.pop("samples_per_point"),
            report=report,
            peaks=peaks,
            fingerprint=fingerprint or None,
        )
        sound_id = await self._recognise(job, fingerprint) if fingerprint else None

        def note(connection: sqlite3.Connection) -> None:
            now = clock.now()
            if tracks.hear(connection, job.track_id, sound_id, now=now) is not None:
                analyses.save(connection, job.track_id, analysis, now=now)
            jobs.done(connection, job)
            tracks.settle(connection, job.track_id, now=now)

        await self._database.write(note)

    async def _recognise(self, job: Job, fingerprint: bytes) -> str:
        """The sound id of the most similar of the user's other tracks, or a new one."""
        rows = await analyses.of_like_duration(
            self._database,
            job.user_id,
            job.track_id,
            shortest=job.duration - LIKE_DURATION_S,
            longest=job.duration + LIKE_DURATION_S,
            limit=MAX_CANDIDATES,
        )
        return await asyncio.to_thread(_most_similar, fingerprint, rows) or job.track_id

    async def render(self, picture: bytes, worker: Worker, commit: Callable[[Cover], Awaitable[T]]) -> T:
        """Keep a picture that a user chose, and let `commit` give it to a track.

        Raises:
            Unreadable: it is none, or too large.
            Died: the worker's process ended.
        """
        answer = await worker.ask("render", None, DESCRIBE, picture)
        async with self._covers.lock:
            cover = await self._keep(answer)
            if cover is None:
                raise Unreadable(answer.result["cover_reason"])
            return await commit(cover)

    async def _keep(self, answer: Answer) -> Cover | None:
        about = answer.result["cover"]
        if about is None:
            return None
        cover = Cover(bytes.fromhex(about["digest"]), about["width"], about["height"])
        images = dict(zip(about["sizes"], answer.pieces, strict=True))
        await asyncio.to_thread(partial(self._covers.put, cover.digest, images))
        return cover


def scan_limits(size: int) -> Limits:
    """For walking through so many bytes."""
    return Limits(cpu_s=DESCRIBE.cpu_s + size / SLOWEST_HASH, wall_s=DESCRIBE.wall_s + size / SLOWEST_READ)


def measure_limits(job: Job) -> Limits:
    """For decoding what lasts as long as the frames say, which were counted."""
    cpu_s = 2 * DESCRIBE.cpu_s + job.duration / SLOWEST_DECODE
    return Limits(cpu_s=cpu_s, wall_s=2 * cpu_s + job.size / SLOWEST_READ)


async def _scan(job: Job, worker: Worker, path: Path) -> dict[str, Any]:
    try:
        result = (await worker.ask("scan", path, scan_limits(job.size))).result
    except Unreadable:
        return {}
    return {**result, "frames_sha256": bytes.fromhex(result["frames_sha256"])}


def _most_similar(fingerprint: bytes, rows: list[sqlite3.Row]) -> str | None:
    best, found = SAME, None
    for row in rows:
        score = similarity(fingerprint, row["fingerprint"])
        if score >= best and row["sound_id"] is not None:
            best, found = score, row["sound_id"]
    return found
