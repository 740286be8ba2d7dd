"""A data directory with tracks, as the service leaves it, without the service."""

import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from service.storage.covers import SIZES, LocalCovers
from service.storage.local import LocalBlobs
from service.storage.spool import Spool
from tests.rows import add_track, add_user


class DataDirectory:
    """Rows and files of a few tracks, and ways to change them."""

    def __init__(self, path: Path, template: bytes) -> None:
        self.path = path
        path.mkdir()
        (path / "catalogue.db").write_bytes(template)
        self.blobs = LocalBlobs(path / "blobs", durable=False)
        self.covers = LocalCovers(path / "covers")
        self.spool = Spool(path / "spool", durable=False)
        self.write("PRAGMA journal_mode = WAL")
        with self.opened() as connection:
            add_user(connection, "u1")

    def opened(self):
        connection = sqlite3.connect(self.path / "catalogue.db", isolation_level=None)
        connection.row_factory = sqlite3.Row
        return closing(connection)

    def write(self, sql: str, *parameters) -> None:
        with self.opened() as connection:
            connection.execute(sql, parameters)

    def add(self, number: int) -> str:
        """A track with its file; the key of its blob."""
        content = f"the bytes of {number}".encode()
        key = f"{number:032x}"
        self.blobs.path(key).write_bytes(content)
        with self.opened() as connection:
            add_track(connection, number, sha256=sha256(content).digest(), size=len(content), key=key)
        return key

    def remove(self, number: int) -> None:
        """What purging and sweeping leave of it: nothing."""
        key = f"{number:032x}"
        with self.opened() as connection:
            (size,) = connection.execute("SELECT size FROM tracks WHERE key = ?", (key,)).fetchone()
            connection.execute("DELETE FROM tracks WHERE key = ?", (key,))
            connection.execute("DELETE FROM blobs WHERE key = ?", (key,))
            connection.execute("UPDATE users SET used_bytes = used_bytes - ?, used_tracks = used_tracks - 1", (size,))
        self.blobs.path(key).unlink()

    def add_cover(self, digest: bytes) -> None:
        self.covers.put(digest, dict.fromkeys(SIZES, b"a picture"))
        self.write("INSERT INTO covers (digest, width, height, created_at) VALUES (?, 1, 1, 0)", digest)

    def add_upload(self, upload_id: str, offset: int, content: bytes | None) -> None:
        if content is not None:
            self.spool.path(upload_id).write_bytes(content)
        self.write(
            """
            INSERT INTO uploads (upload_id, user_id, state, filename, "offset", reserved_bytes, boot_id, created_at,
                                 updated_at, expires_at)
            VALUES (?, 'u1', 'receiving', 'x.mp3', ?, 0, '', 0, 0, 0)
            """,
            upload_id,
            offset,
        )


@pytest.fixture
def data(tmp_path, template):
    return DataDirectory(tmp_path / "data", template)
