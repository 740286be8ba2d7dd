"""The spool: the directory of bytes still arriving, one ``<upload_id>.part`` an upload.

The one place in the service where speed decides against aiofiles: a call of it is one thread hop for each write, and
here one hop writes, flushes and hashes a whole batch (measured in bench/README.md).
"""

import ctypes
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from service.storage.local import flush_directory

IOV_MAX = 1024
WRITE_BACK_BYTES = 4 << 20
"""After so many bytes the kernel is asked to start writing, so that the flush at the end finds little to do."""

_SYNC_FILE_RANGE_WRITE = 2


class Spool:
    """The spool directory. All methods block: call them in a thread."""

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        self.directory = directory
        self._durable = durable
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if durable:
            flush_directory(directory.parent)

    def path(self, upload_id: str) -> Path:
        """Where the bytes of an upload lie. Upload ids are ours, never a name a client sent."""
        if not upload_id.isalnum():
            raise ValueError(f"not an upload id: {upload_id!r}")
        return self.directory / f"{upload_id}.part"

    def create(self, upload_id: str) -> "Part":
        """A new, empty part.

        Raises:
            FileExistsError: there is one already.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        path = self.path(upload_id)
        return Part(path, os.open(path, flags, 0o600), 0, durable=self._durable)

    def open(self, upload_id: str) -> "Part":
        """The part of an upload that goes on, at its end.

        Raises:
            FileNotFoundError: there is none.
        """
        path = self.path(upload_id)
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        return Part(path, descriptor, os.fstat(descriptor).st_size, durable=self._durable)

    def size(self, upload_id: str) -> int | None:
        """Bytes in the part, None when there is none."""
        try:
            return self.path(upload_id).stat().st_size
        except FileNotFoundError:
            return None

    def flush(self) -> None:
        """Make sure that the names of new parts survive a power loss.

        Raises:
            OSError: it failed.
        """
        if self._durable:
            flush_directory(self.directory)

    def delete(self, upload_id: str) -> None:
        """Remove a part; nothing happens when it is not there."""
        self.path(upload_id).unlink(missing_ok=True)

    def sizes(self) -> dict[str, int]:
        """The uploads that have a part, and its bytes."""
        with os.scandir(self.directory) as entries:
            return {each.name[:-5]: each.stat().st_size for each in entries if each.name.endswith(".part")}

    def free_bytes(self) -> int:
        """Free space of the file system for an ordinary user."""
        status = os.statvfs(self.directory)
        return status.f_bavail * status.f_frsize


class Part:
    """The bytes of one upload so far. ``offset`` is where the next append goes."""

    def __init__(self, path: Path, descriptor: int, offset: int, *, durable: bool) -> None:
        self.path = path
        self.offset = offset
        self._descriptor = descriptor
        self._durable = durable
        self._written_back = offset

    def append(self, chunks: Sequence[bytes]) -> None:
        """Write all chunks at the end.

        Raises:
            OSError: the disk is full, or failed; then ``offset`` counts what was written.
        """
        for start in range(0, len(chunks), IOV_MAX):
            self._write(chunks[start : start + IOV_MAX])
        if self.offset - self._written_back >= WRITE_BACK_BYTES:
            self._start_write_back()

    def _write(self, chunks: Sequence[bytes]) -> None:
        rest: list[bytes | memoryview] = list(chunks)
        while rest:
            written = os.pwritev(self._descriptor, rest, self.offset)
            self.offset += written
            while rest and written >= len(rest[0]):
                written -= len(rest.pop(0))
            if rest and written:
                rest[0] = memoryview(rest[0])[written:]

    def _start_write_back(self) -> None:
        start, self._written_back = self._written_back, self.offset
        if self._durable and _sync_file_range is not None:
            _sync_file_range(self._descriptor, start, self.offset - start, _SYNC_FILE_RANGE_WRITE)

    def sync(self) -> None:
        """Bring what was appended to stable storage.

        Raises:
            OSError: it failed. Linux then marks the pages clean: a second try would lie, so there must be none.
        """
        if self._durable:
            os.fdatasync(self._descriptor)

    def truncate(self, size: int) -> None:
        """Forget the bytes behind `size`.

        Raises:
            OSError: it failed.
        """
        os.ftruncate(self._descriptor, size)
        self.offset = size
        self._written_back = min(self._written_back, size)

    def read(self, size: int, offset: int) -> bytes:
        """Up to `size` bytes at `offset`."""
        return os.pread(self._descriptor, size, offset)

    def close(self) -> None:
        """Close the file; its bytes stay."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)


def _find_sync_file_range() -> "ctypes._NamedFuncPointer | None":
    try:
        function = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]
    function.restype = ctypes.c_int
    return function


_sync_file_range = _find_sync_file_range()
