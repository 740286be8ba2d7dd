"""The intake on a real database, spool and blob directory, below HTTP."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.catalogue import users
from service.catalogue.database import Database
from service.catalogue.uploads import Upload
from service.metrics import Metrics
from service.settings import Settings
from service.storage.local import LocalBlobs
from service.storage.spool import Spool
from service.uploads.intake import Intake
from service.uploads.model import NewUpload
from service.uploads.recover import recover

BOOT = "this boot"


class Bytes:
    """A body of given chunks; an exception among them is raised when its turn comes."""

    def __init__(self, *chunks: bytes | Exception) -> None:
        self._chunks = list(chunks)

    async def read(self) -> bytes:
        if not self._chunks:
            return b""
        chunk = self._chunks.pop(0)
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    def at_end(self) -> bool:
        return not self._chunks


class Slow(Bytes):
    """Each chunk takes its time."""

    async def read(self) -> bytes:
        await asyncio.sleep(0.05)
        return await super().read()


def pieces(content: bytes, size: int) -> list[bytes]:
    return [content[at : at + size] for at in range(0, len(content), size)]


@dataclass
class Place:
    """What an intake works on, and short ways to look at it."""

    directory: Path
    settings: Settings
    database: Database
    spool: Spool
    blobs: LocalBlobs
    intake: Intake
    user_id: str

    def rows(self, table: str) -> list[sqlite3.Row]:
        connection = sqlite3.connect(self.directory / "catalogue.db")
        connection.row_factory = sqlite3.Row
        try:
            return connection.execute(f"SELECT * FROM {table}").fetchall()
        finally:
            connection.close()

    @property
    def account(self) -> tuple[int, int, int]:
        """Bytes used, bytes reserved, tracks."""
        row = next(row for row in self.rows("users") if row["user_id"] == self.user_id)
        return row["used_bytes"], row["reserved_bytes"], row["used_tracks"]

    @property
    def states(self) -> list[str]:
        return sorted(row["state"] for row in self.rows("uploads"))

    @property
    def spool_files(self) -> list[Path]:
        return sorted(self.spool.directory.iterdir())

    @property
    def blob_files(self) -> list[Path]:
        return sorted(path for path in self.blobs.directory.rglob("*") if path.is_file())

    async def create(self, content_length: int | None, **more: Any) -> Upload:
        return await self.intake.create(self.user_id, NewUpload("song.mp3", length=content_length, **more))

    async def upload(self, content: bytes, *, known: bool = True, step: int = 100_000, **more: Any) -> sqlite3.Row:
        """A whole upload; the track's row."""
        upload = await self.create(len(content) if known else None, **more)
        return await self.intake.take(upload, Bytes(*pieces(content, step)))

    async def recover(self, boot_id: str = BOOT) -> None:
        await recover(self.database, self.spool, self.blobs, boot_id=boot_id)


@pytest.fixture
async def make_place(tmp_path: Path, settings: Settings, template: bytes) -> AsyncIterator[Callable[..., Place]]:
    """A function that makes a place with settings of the test."""
    places: list[Place] = []

    async def make(settings: Settings = settings, spool_class: type[Spool] = Spool) -> Place:
        if not (tmp_path / "catalogue.db").exists():
            (tmp_path / "catalogue.db").write_bytes(template)
        database = await Database.open(tmp_path / "catalogue.db")
        spool, blobs = spool_class(tmp_path / "spool"), LocalBlobs(tmp_path / "blobs")
        intake = Intake(database, spool, blobs, settings, Metrics(), boot_id=BOOT)
        await database.write(lambda connection: users.insert(connection, "anne", "anne", "-", now=0))
        places.append(Place(tmp_path, settings, database, spool, blobs, intake, "anne"))
        return places[-1]

    yield make
    for each in places:
        await each.intake.close()
        await each.database.close()


@pytest.fixture
async def place(make_place: Callable[..., Place]) -> Place:
    return await make_place()
