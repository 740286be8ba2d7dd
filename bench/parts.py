"""Parts of the service by themselves, in this process: what the inspector costs, what one hop a batch saves."""

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import aiofiles

from bench import content
from bench.machine import MB
from bench.paths import DATA
from bench.row import Row, Run, Shot, Side
from service.audio.inspector import Inspector
from service.storage.spool import Spool

SIZE = 256 << 20
CHUNK = 256 << 10  # what the socket gives at most
BATCH = 8  # chunks; a batch grows while the one before is written


def rows(run: Run) -> list[Row]:
    return [
        Row("part-inspector", "the inspector alone, chunks of 256 KiB", "MB/s", partial(_inspector, run)),
        Row("part-spool", "write to the spool, 2 MiB a thread hop", "MB/s", partial(_spool, run)),
    ]


@contextmanager
def _inspector(run: Run) -> Iterator[list[Side]]:
    chunks = _chunks(run)

    def inspect() -> None:
        inspector = Inspector()
        for chunk in chunks:
            inspector.feed(chunk)
        inspector.finish()

    def digest() -> None:
        sha256 = hashlib.sha256()
        for chunk in chunks:
            sha256.update(chunk)
        sha256.digest()

    yield [Side("ours", lambda: _timed(inspect)), Side("SHA-256 alone", lambda: _timed(digest))]


@contextmanager
def _spool(run: Run) -> Iterator[list[Side]]:
    chunks = _chunks(run)
    spool = Spool(DATA / "spool", durable=False)

    async def by_batch() -> None:
        part = spool.create("bench")
        for start in range(0, len(chunks), BATCH):
            await asyncio.to_thread(part.append, chunks[start : start + BATCH])
        part.close()

    async def by_aiofiles() -> None:
        async with aiofiles.open(spool.path("bench"), "wb") as file:
            for chunk in chunks:
                await file.write(chunk)

    def shoot(work: Callable[[], None]) -> Shot:
        try:
            return _timed(work)
        finally:
            spool.delete("bench")

    yield [
        Side("ours", lambda: shoot(lambda: asyncio.run(by_batch()))),
        Side("aiofiles, a hop a chunk", lambda: shoot(lambda: asyncio.run(by_aiofiles()))),
    ]


def _chunks(run: Run) -> list[bytes]:
    what = content.make(run.kind, SIZE)
    data = what.tag + what.frames.read_bytes()
    return [data[at : at + CHUNK] for at in range(0, SIZE, CHUNK)]


def _timed(work: Callable[[], None]) -> Shot:
    started = time.perf_counter()
    work()
    return Shot(SIZE / MB / (time.perf_counter() - started))
