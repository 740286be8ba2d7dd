"""A copy of a data directory that is one itself, taken while the service runs.

The catalogue is copied first, as it is at one moment. A blob never changes, so whatever that copy lists can be copied
afterwards, in any time. The new catalogue takes its place when all of its files are there: a backup that ends half-way
is still the one before. The next backup copies only what is new.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from shutil import copytree

from service.catalogue import inventory
from service.storage.covers import LocalCovers
from service.storage.local import LocalBlobs, flush, flush_directory

MARK = "backup"
"""The file that says that a directory is a backup and may be written over."""
COPY_BYTES = 1 << 20
TRIES = 3


class NoPlace(Exception):
    """The directory is no place for a backup; the message says why."""


@dataclass
class Copied:
    """What a backup has: ``blobs`` in it, those it copied now, the bytes of those, and what was wrong."""

    blobs: int = 0
    copied: int = 0
    copied_bytes: int = 0
    removed: int = 0
    faults: list[str] = field(default_factory=list)


def prepare(source: Path, target: Path) -> None:
    """Make `target` a place for backups of `source`.

    Raises:
        NoPlace: something else is there, or one lies in the other.
    """
    target = target.resolve()
    source = source.resolve()
    if target == source or source in target.parents or target in source.parents:
        raise NoPlace(f"{target} and the data directory {source} lie in each other.")
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (target / MARK).exists():
        if any(target.iterdir()):
            raise NoPlace(f"{target} is neither empty nor a backup.")
        (target / MARK).touch(mode=0o600)
        flush_directory(target)


def back_up(source: Path, target: Path) -> Copied:
    """Bring `target`, which is prepared and nobody else's at the moment, to what `source` is now.

    A blob that is not what the catalogue says is told among the faults; an earlier copy of it stays.

    Raises:
        OSError: `target` is full, or cannot be written.
    """
    blobs = LocalBlobs(target / "blobs")
    covers = LocalCovers(target / "covers")
    fresh = target / "catalogue.new"
    for _ in range(TRIES):
        _discard(fresh)
        inventory.copy(source / "catalogue.db", fresh)
        result, is_stale = _copy_blobs(source, blobs, fresh)
        if not is_stale:
            break
    else:
        result.faults.append("blobs were removed while they were to be copied; make the backup once more")
    _copy_covers(source, covers, fresh)
    _install(fresh, target)
    result.removed = _remove_what_is_over(blobs, covers, target / "catalogue.db")
    return result


def _copy_blobs(source: Path, blobs: LocalBlobs, catalogue: Path) -> tuple[Copied, bool]:
    """Copy what is new; whether the catalogue lists blobs that the service has removed since."""
    result, is_stale, folders = Copied(), False, set()
    with inventory.opened(catalogue) as rows, inventory.opened(source / "catalogue.db") as now:
        for key, digest, size in inventory.list_blobs(rows):
            result.blobs += 1
            if blobs.size(key) == size:
                continue
            target = blobs.path(key)
            fault = _copy(source / "blobs" / key[:2] / key, target, digest)
            if fault is None:
                result.copied += 1
                result.copied_bytes += size
                folders.add(target.parent)
            elif inventory.is_ready(now, key):
                result.faults.append(f"blob {key} {fault}")
            else:
                is_stale = True
    for folder in folders:
        flush_directory(folder)
    return result, is_stale


def _copy(source: Path, target: Path, digest: bytes) -> str | None:
    """Copy a file, flushed; what is wrong with it, if it has another SHA-256 or cannot be read."""
    new = target.with_suffix(".new")
    hasher = sha256()
    with new.open("wb") as file:
        try:
            for block in _blocks(source):
                hasher.update(block)
                file.write(block)
        except _Unreadable as error:
            new.unlink()
            return f"cannot be read: {error}"
        if hasher.digest() != digest:
            new.unlink()
            return f"has the SHA-256 {hasher.hexdigest()}, not {digest.hex()}"
        file.flush()
        os.fsync(file.fileno())
    new.replace(target)
    return None


class _Unreadable(Exception):
    """The source failed, not the target."""


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb", buffering=0) as file:
            while block := file.read(COPY_BYTES):
                yield block
    except OSError as error:
        raise _Unreadable(error.strerror) from None


def _copy_covers(source: Path, covers: LocalCovers, catalogue: Path) -> None:
    """Copy what is new. A picture that is lacking is no fault: it can be made again from its mp3."""
    with inventory.opened(catalogue) as rows:
        for digest in inventory.list_pictures(rows):
            target = covers.folder(digest)
            if not target.exists():
                new = target.with_suffix(".new")
                target.parent.mkdir(exist_ok=True, mode=0o700)
                with suppress(FileNotFoundError):
                    copytree(source / target.relative_to(covers.directory.parent), new, dirs_exist_ok=True)
                    new.replace(target)


def _install(fresh: Path, target: Path) -> None:
    flush(fresh)
    # A log of the catalogue before, if somebody has served the backup, must never be taken for one of the new.
    _discard(target / "catalogue.db", ("-wal", "-shm"))
    flush_directory(target)
    fresh.chmod(0o600)
    fresh.replace(target / "catalogue.db")
    flush_directory(target)


def _discard(catalogue: Path, suffixes: Sequence[str] = ("", "-wal", "-shm")) -> None:
    for suffix in suffixes:
        catalogue.with_name(catalogue.name + suffix).unlink(missing_ok=True)


def _remove_what_is_over(blobs: LocalBlobs, covers: LocalCovers, catalogue: Path) -> int:
    removed = 0
    with inventory.opened(catalogue) as rows:
        for path in blobs.directory.glob("??/*"):
            if not inventory.is_ready(rows, path.name):
                path.unlink()
                removed += 1
        for digest in covers.list_all():
            if not inventory.has_picture(rows, digest):
                covers.delete(digest)
    return removed
