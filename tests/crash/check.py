"""What must hold after a crash: nothing acknowledged is lost, no row lacks its file, no file lacks its row."""

import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, fields
from hashlib import file_digest, sha256
from pathlib import Path

from service.catalogue import inventory
from tests.crash.clients import Connection, Interrupted, Receipt

READERS = 4


@dataclass
class Findings:
    """What is wrong, in sentences."""

    lost: list[str] = field(default_factory=list)  # acknowledged, and not there any more, or not the same
    rows_without_file: list[str] = field(default_factory=list)  # promised by the catalogue, not kept by the disk
    orphans: list[str] = field(default_factory=list)  # on the disk, unknown to the catalogue
    accounts: list[str] = field(default_factory=list)  # quota figures that do not add up, damaged database
    broken_promises: list[str] = field(default_factory=list)  # what a client had been told besides receipts

    def __iadd__(self, other: "Findings") -> "Findings":
        for each in fields(self):
            getattr(self, each.name).extend(getattr(other, each.name))
        return self

    def __bool__(self) -> bool:
        return any(getattr(self, each.name) for each in fields(self))

    def __str__(self) -> str:
        lines = []
        for each in fields(self):
            found = getattr(self, each.name)
            lines += [f"{len(found)} {each.name}:", *(f"  {text}" for text in found[:20])] if found else []
        return "\n".join(lines) or "nothing wrong"


class DataDirectory:
    """The data directory, looked at from outside of the service. Files are hashed when they are new or changed."""

    def __init__(self, path: Path, scratch: Path) -> None:
        self.path = path
        self._scratch = scratch
        self._seen: dict[str, tuple[int, int]] = {}

    def forget_hashes(self) -> None:
        """Hash everything again next time."""
        self._seen.clear()

    def check_stopped(self, receipts: Iterable[Receipt]) -> Findings:
        """What must hold the moment after the crash, before anything is repaired."""
        with self._copy() as database:
            return self._check_rows(database, receipts)

    def check_running(self, receipts: Iterable[Receipt]) -> Findings:
        """What must hold after the next start, before the next request."""
        uri = f"{(self.path / 'catalogue.db').as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as database:
            findings = self._check_rows(database, receipts)
            findings += self._check_files(database)
        return findings

    @contextmanager
    def _copy(self) -> Iterator[sqlite3.Connection]:
        """The database as the crash left it, opened elsewhere: to look at it must not repair it."""
        self._scratch.mkdir(exist_ok=True)
        for suffix in ("", "-wal"):
            target = self._scratch / f"catalogue.db{suffix}"
            target.unlink(missing_ok=True)
            if (source := self.path / f"catalogue.db{suffix}").exists():
                shutil.copyfile(source, target)
        (self._scratch / "catalogue.db-shm").unlink(missing_ok=True)
        with closing(sqlite3.connect(self._scratch / "catalogue.db")) as database:
            yield database

    def _check_rows(self, database: sqlite3.Connection, receipts: Iterable[Receipt]) -> Findings:
        findings = Findings()
        tracks = {
            track_id: (digest.hex(), size, key)
            for track_id, digest, size, key in database.execute("SELECT track_id, sha256, size, key FROM tracks")
        }
        for receipt in receipts:
            track = tracks.get(receipt.track_id)
            if track is None or track[:2] != (receipt.sha256, receipt.size):
                findings.lost.append(f"{receipt} has the row {track}")
        ready = {}
        for key, digest, size in database.execute("SELECT key, sha256, size FROM blobs WHERE state = 'ready'"):
            ready[key] = (digest.hex(), size)
            if (problem := self._check_blob(key, digest, size)) is not None:
                findings.rows_without_file.append(problem)
        for track_id, (digest, size, key) in tracks.items():
            if ready.get(key) != (digest, size):
                findings.rows_without_file.append(f"track {track_id} has the blob {key}, which is {ready.get(key)}")
        findings.accounts += inventory.faults(database)
        return findings

    def _check_blob(self, key: str, digest: bytes, size: int) -> str | None:
        path = self.path / "blobs" / key[:2] / key
        if not path.is_file():
            return f"blob {key} has no file"
        status = path.stat()
        signature = (status.st_size, status.st_mtime_ns)
        if self._seen.get(key) == signature:
            return None
        with path.open("rb") as file:
            found = file_digest(file, "sha256").digest()
        if (status.st_size, found) != (size, digest):
            return f"blob {key} has {status.st_size} bytes and is {found.hex()}, not {size} and {digest.hex()}"
        self._seen[key] = signature
        return None

    def _check_files(self, database: sqlite3.Connection) -> Findings:
        findings = Findings()
        keys = {key for (key,) in database.execute("SELECT key FROM blobs")}
        receiving = dict(database.execute("""SELECT upload_id, "offset" FROM uploads WHERE state = 'receiving'"""))
        parts = {path: path.stat().st_size for path in (self.path / "spool").rglob("*") if path.is_file()}
        for path in (self.path / "blobs").rglob("*"):
            if path.is_file() and path.name not in keys:
                findings.orphans.append(f"{path.relative_to(self.path)} of {path.stat().st_size} bytes has no row")
        for path, size in parts.items():
            if path.suffix != ".part" or path.stem not in receiving:
                findings.orphans.append(f"{path.relative_to(self.path)} of {size} bytes has no row")
        for upload_id, offset in receiving.items():
            size = parts.get(self.path / "spool" / f"{upload_id}.part", 0)
            if size < offset:
                findings.rows_without_file.append(f"upload {upload_id} has the offset {offset} and {size} bytes")
        return findings


def check_served(port: int, token: str, receipts: list[Receipt]) -> list[str]:
    """Ask the running service for every acknowledged track, its facts and its bytes."""
    with ThreadPoolExecutor(READERS) as pool:
        shares = pool.map(lambda number: _check_share(port, token, receipts[number::READERS]), range(READERS))
        return [problem for share in shares for problem in share]


def _check_share(port: int, token: str, receipts: list[Receipt]) -> list[str]:
    connection = Connection(port, token)
    problems = [problem for each in receipts if (problem := _check_track(connection, each)) is not None]
    connection.close()
    return problems


def _check_track(connection: Connection, receipt: Receipt) -> str | None:
    try:
        track = connection.request("GET", f"/tracks/{receipt.track_id}", {"Accept": "application/json"})
        if track.status != 200 or (track.json()["sha256"], track.json()["size"]) != (receipt.sha256, receipt.size):
            return f"{receipt} is served as {track.status} {track.body[:300]!r}"
        audio = connection.request("GET", f"/tracks/{receipt.track_id}/audio")
    except Interrupted as error:
        return f"{receipt} is not served: {error.__cause__!r}"
    if audio.status != 200 or sha256(audio.body).hexdigest() != receipt.sha256:
        return f"the audio of {receipt} is served as {audio.status} with {len(audio.body)} bytes"
    return None
