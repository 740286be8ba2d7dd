"""Whether a data directory is what its catalogue says: every row has its file, every file its row.

Beside a running service, too: what seems wrong is looked at once more, since it may have changed meanwhile.
"""

import sqlite3
from collections.abc import Iterator
from hashlib import file_digest
from pathlib import Path

from service.catalogue import inventory


def check(data_dir: Path, *, is_quick: bool = False) -> Iterator[str]:
    """What is wrong, in sentences. Sizes only where `is_quick`; otherwise every byte is read and hashed."""
    catalogue = data_dir / "catalogue.db"
    files = sorted(path for path in data_dir.glob("blobs/??/*") if path.is_file())
    with inventory.opened(catalogue) as rows:
        yield from inventory.faults(rows)
        for key, digest, size in list(inventory.list_blobs(rows)):
            fault = _fault_of(data_dir / "blobs" / key[:2] / key, None if is_quick else digest, size)
            if fault and inventory.is_ready(rows, key):
                yield f"blob {key} {fault}"
        for path in files:
            if not inventory.may_have_file(rows, path.name) and path.exists():
                yield f"{path.relative_to(data_dir)} of {path.stat().st_size} bytes has no row"
        yield from _check_spool(data_dir, rows)


def _fault_of(path: Path, digest: bytes | None, size: int) -> str | None:
    try:
        found = path.stat().st_size
        if found != size:
            return f"has {found} bytes, not {size}"
        if digest is not None:
            with path.open("rb") as file:
                hashed = file_digest(file, "sha256").digest()
            if hashed != digest:
                return f"has the SHA-256 {hashed.hex()}, not {digest.hex()}"
    except FileNotFoundError:
        return "has no file"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def _check_spool(data_dir: Path, rows: sqlite3.Connection) -> Iterator[str]:
    spool = data_dir / "spool"
    parts = {path.stem for path in spool.glob("*.part")}
    seen = inventory.offsets(rows)
    sizes = {upload_id: _size(spool / f"{upload_id}.part") for upload_id in parts | seen.keys()}
    blobs = {upload_id for upload_id in seen if (data_dir / "blobs" / upload_id[:2] / upload_id).exists()}
    now = inventory.offsets(rows)
    for upload_id, offset in seen.items():
        if sizes[upload_id] < offset and upload_id in now and upload_id not in blobs:
            yield f"upload {upload_id} has {sizes[upload_id]} bytes of the {offset} it was promised"
    for upload_id in sorted(parts - seen.keys()):
        if not inventory.may_have_file(rows, upload_id) and (spool / f"{upload_id}.part").exists():
            yield f"spool/{upload_id}.part has no row"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
