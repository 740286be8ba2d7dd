"""Finished bytes in a local directory: ``blobs/ab/ab34…`` named after the upload that brought them.

A blob is immutable. It gets here by a rename from the spool on the same file system, and both directories are flushed
before anybody hears of it.
"""

import os
from contextlib import suppress
from pathlib import Path

KEY_LENGTH = 32


class LocalBlobs:
    """The blob directory. All methods block: call them in a thread."""

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        self.directory = directory
        self._durable = durable
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number in range(256):
            (directory / f"{number:02x}").mkdir(exist_ok=True, mode=0o700)
        if durable:
            flush_directory(directory)
            flush_directory(directory.parent)

    def path(self, key: str) -> Path:
        """Where the blob of `key` lies. Keys are ours: lower-case hex, never anything a client sent."""
        if len(key) != KEY_LENGTH or not set(key) <= set("0123456789abcdef"):
            raise ValueError(f"not a key: {key!r}")
        return self.directory / key[:2] / key

    def adopt(self, part: Path, key: str) -> None:
        """Make the spool file `part`, whose bytes are already flushed, the blob of `key`, durably.

        Raises:
            OSError: the rename or the flush failed; then the bytes are in the spool again, if the disk allows it.
        """
        target = self.path(key)
        os.rename(part, target)  # noqa: PTH104 - a rename, not a Path that could be mistaken for the new one
        if not self._durable:
            return
        try:
            # The spool need not be flushed: should its name come back after a power loss, the next start removes it.
            flush_directory(target.parent)
        except OSError:
            with suppress(OSError):
                os.rename(target, part)  # noqa: PTH104 - a blob without a row would be found at the next start
            raise

    def flush(self, key: str) -> None:
        """Make sure that the name of the blob survives a power loss.

        Raises:
            OSError: it failed.
        """
        if self._durable:
            flush_directory(self.path(key).parent)

    def size(self, key: str) -> int | None:
        """Size in bytes, None when there is no such blob."""
        try:
            return self.path(key).stat().st_size
        except FileNotFoundError:
            return None

    def open(self, key: str) -> int:
        """A file descriptor for reading; the caller closes it.

        Raises:
            FileNotFoundError: there is no such blob.
        """
        return os.open(self.path(key), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)

    def delete(self, key: str) -> None:
        """Remove the blob, durably; nothing happens when it is not there."""
        path = self.path(key)
        try:
            path.unlink()
        except FileNotFoundError:
            return
        if self._durable:
            flush_directory(path.parent)


def flush_directory(directory: Path) -> None:
    """fsync a directory, so that the names in it survive a power loss."""
    flush(directory, os.O_DIRECTORY)


def flush(path: Path, flags: int = 0) -> None:
    """fsync a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
