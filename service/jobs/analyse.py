"""What is done with a track after acceptance: read what its file says, and decode it. The looking itself is a worker's.

Each ends in one transaction with the end of its job, so that it is done once, whatever happens between.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import orjson

from service.audio.fingerprint import SAME, similarity
from service.audio.peaks import MOST
from service.catalogue import analyses, clock, jobs, tracks
from service.catalogue.analyses import Analysis
from service.catalogue.database import Database
from service.catalogue.jobs import Job
from service.catalogue.tracks import Cover, Description
from service.jobs.worker import Answer, Died, Gone, Limits, Unreadable, Worker
from service.storage.covers import SIZES, LocalCovers
from service.storage.local import LocalBlobs

T = TypeVar("T")

DESCRIBE = Limits(cpu_s=5, wall_s=10)
SLOWEST_READ = 20e6  # bytes a second, of a disk that is busy
SLOWEST_HASH = 100e6
SLOWEST_DECODE = 30  # seconds of audio for one of CPU

LIKE_DURATION_S = 3.0
MAX_CANDIDATES = 500
"""How many tracks that last as long are listened to, at most."""

JPEG = b"\xff\xd8\xff"
DIGEST_BYTES = 32
MAX_SIDE = 40_000_000  # as many pixels as a picture may have: it may be one row of them
MAX_TAGS_BYTES = 512 << 10
MAX_REPORT_BYTES = 16 << 10
MAX_FINGERPRINT_BYTES = 1 << 20


class Analyst:
    """Analyses the tracks of jobs. One per app."""

    def __init__(self, database: Database, blobs: LocalBlobs, covers: LocalCovers) -> None:
        self._database = database
        self._blobs = blobs
        self._covers = covers
        self._recognising = asyncio.Lock()

    async def describe(self, job: Job, worker: Worker) -> str | None:
        """Read the file's frames and tags; a file whose tags cannot be read is described as that, and why is returned.

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
            is_by_file = isinstance(error, Unreadable) and not isinstance(error, Gone)
            await self._note(job, Description(tags={}, reason=str(error), is_by_file=is_by_file, **frames))
            return str(error)
        tags, picture = _tags_of(answer), _picture_of(answer)
        async with self._covers.lock:
            cover = await self._keep(*picture) if picture else None
            await self._note(job, Description(tags=tags, cover=cover, **frames))
        return None

    async def _note(self, job: Job, found: Description) -> None:
        def note(connection: sqlite3.Connection) -> None:
            now = clock.now()
            if tracks.describe(connection, job.track_id, found, now=now) is not None:
                jobs.queue(connection, "measure", [job.track_id], now=now)  # until that is done it is not settled
            if found.reason is None:
                jobs.done(connection, job)
            else:
                jobs.fail(connection, job, problem=found.reason)

        await self._database.write(note, may_wait=True)

    async def measure(self, job: Job, worker: Worker) -> None:
        """Decode the file, and see which of the user's tracks sound the same.

        Raises:
            Unreadable: it cannot be decoded.
            Died: the worker's process ended.
            OSError, StorageFailed: the disk or the database failed.
        """
        answer = await worker.ask("measure", self._blobs.path(job.key), measure_limits(job))
        analysis = _analysis_of(answer)
        async with self._recognising:  # two copies that are decoded at once would not know of each other
            sound_id = await self._recognise(job, analysis.fingerprint) if analysis.fingerprint else None
            await self._note_sound(job, analysis, sound_id)

    async def _note_sound(self, job: Job, analysis: Analysis, sound_id: str | None) -> None:
        def note(connection: sqlite3.Connection) -> None:
            now = clock.now()
            if tracks.hear(connection, job.track_id, sound_id, now=now):
                analyses.save(connection, job.track_id, analysis, now=now)
            jobs.done(connection, job)
            tracks.settle(connection, job.track_id, now=now)

        await self._database.write(note, may_wait=True)

    async def _recognise(self, job: Job, fingerprint: bytes) -> str:
        """The sound id of the most similar of the user's other tracks, or a new one."""
        rows = await analyses.of_like_duration(
            self._database,
            job.user_id,
            job.track_id,
            duration=job.duration,
            tolerance=LIKE_DURATION_S,
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
        rendered = _picture_of(answer)
        if rendered is None:
            raise Unreadable(str(answer.result.get("cover_reason")))
        async with self._covers.lock:
            cover = await self._keep(*rendered)
            await asyncio.to_thread(self._covers.flush, cover.digest)
            return await commit(cover)

    async def _keep(self, cover: Cover, images: dict[int, bytes]) -> Cover:
        """First the row, then the files: should no track come to show the picture, the sweep knows of it."""
        await self._database.write(partial(tracks.add_cover, cover=cover, now=clock.now()), may_wait=True)
        await asyncio.to_thread(partial(self._covers.put, cover.digest, images))
        return cover


@contextmanager
def _distrusting() -> Iterator[None]:
    """A file that took hold of the process can have it say anything; what is no answer is as none.

    Raises:
        Died: what was looked at in this block is not as it must be.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise Died("The process that read it answered nonsense.") from error


def _expect(is_so: bool) -> None:
    if not is_so:
        raise ValueError


def _number_of(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError
    return value


def _digest_of(text: Any) -> bytes:
    digest = bytes.fromhex(text)
    _expect(len(digest) == DIGEST_BYTES)
    return digest


def _tags_of(answer: Answer) -> dict[str, Any]:
    with _distrusting():
        tags: dict[str, Any] = answer.result["tags"]
        _expect(isinstance(tags, dict) and len(orjson.dumps(tags)) <= MAX_TAGS_BYTES)
        for name in tracks.TEXTS:
            _expect(isinstance(tags.get(name), str | None))
        for name in tracks.NUMBERS:
            if tags.get(name) is not None:
                _number_of(tags[name], 0, 65_535)
        _expect(isinstance(tags.get("isrc"), str | None) and isinstance(tags.get("bpm"), int | float | None))
        for name, kind in (("musicbrainz", str), ("replaygain", int | float)):
            _expect(all(isinstance(each, kind) for each in (tags.get(name) or {}).values()))
        return tags


def _picture_of(answer: Answer) -> tuple[Cover, dict[int, bytes]] | None:
    with _distrusting():
        about = answer.result["cover"]
        if about is None:
            return None
        sides = (_number_of(about[side], 1, MAX_SIDE) for side in ("width", "height"))
        _expect(about["sizes"] == list(SIZES) and all(image.startswith(JPEG) for image in answer.pieces))
        return Cover(_digest_of(about["digest"]), *sides), dict(zip(SIZES, answer.pieces, strict=True))


def _analysis_of(answer: Answer) -> Analysis:
    with _distrusting():
        peaks, fingerprint = answer.pieces
        _expect(len(peaks) <= 2 * MOST and len(peaks) % 2 == 0 and len(fingerprint) <= MAX_FINGERPRINT_BYTES)
        report: dict[str, Any] = {
            name: round(each, 6) if isinstance(each, float) else each for name, each in answer.result.items()
        }
        _expect(len(orjson.dumps(report)) <= MAX_REPORT_BYTES)
        _expect(all(isinstance(each, int | float | None) for each in report.values()))
        return Analysis(
            sample_rate=_number_of(report["sample_rate"], 1, 1 << 20),
            samples_per_point=_number_of(report.pop("samples_per_point"), 1, 1 << 32),
            report=report,
            peaks=peaks,
            fingerprint=fingerprint or None,
        )


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
    with _distrusting():
        return {
            "frames_sha256": _digest_of(result["frames_sha256"]),
            "audio_start": _number_of(result["audio_start"], 0, job.size),
            "audio_end": _number_of(result["audio_end"], 0, job.size),
        }


def _most_similar(fingerprint: bytes, rows: list[sqlite3.Row]) -> str | None:
    best, found = SAME, None
    for row in rows:
        score = similarity(fingerprint, row["fingerprint"])
        if score >= best and row["sound_id"] is not None:
            best, found = score, row["sound_id"]
    return found
