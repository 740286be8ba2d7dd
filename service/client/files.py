"""The files to upload: found, opened, hashed, read."""

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from service.client.problems import Problem

SUFFIX = ".mp3"
MAC_SHADOW = "._"  # what macOS writes beside a file on a foreign disk: named like it, and never an mp3
HASHED_BYTES = 4 << 20
SENT_BYTES = 256 << 10
_CHANGED = "The file changed while it was being uploaded"


@dataclass(frozen=True, slots=True)
class Found:
    """A file to upload. One that was named may be a link; `problem` says why what was named is no file at all."""

    path: str
    size: int = 0
    is_named: bool = True
    problem: str | None = None


def find(paths: Iterable[str]) -> Iterator[Found]:
    """The files of that name, and the mp3 files in the folders of that name, with no link followed in there."""
    for path in paths:
        try:
            facts = Path(path).stat()
        except (OSError, ValueError) as error:  # a ValueError is a NUL in the name
            yield Found(path, problem=words(error))
            continue
        if stat.S_ISDIR(facts.st_mode):
            yield from _in_folder(path)
        else:
            yield Found(path, facts.st_size)


def _in_folder(path: str) -> Iterator[Found]:
    folders = [path]  # and not a function that calls itself: folders may be nested deeper than calls
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield Found(folder, problem=words(error))
            continue
        folders += [each.path for each in reversed(entries) if each.is_dir(follow_symlinks=False)]
        for each in entries:
            if each.is_file(follow_symlinks=False) and _is_named_mp3(each.name):
                yield _found(each)


def _found(entry: os.DirEntry[str]) -> Found:
    try:
        return Found(entry.path, entry.stat(follow_symlinks=False).st_size, is_named=False)
    except OSError as error:
        return Found(entry.path, problem=words(error))


def _is_named_mp3(name: str) -> bool:
    return name.lower().endswith(SUFFIX) and not name.startswith(MAC_SHADOW)


class Source:
    """An open file, whose content is held to be what it was when it was opened."""

    def __init__(self, found: Found) -> None:
        """Open it.

        Raises:
            Problem: it cannot be read, or is no regular file.
        """
        self.path = found.path
        # A pipe would keep us waiting for its writer.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if found.is_named else os.O_NOFOLLOW)
        try:
            self._file = os.open(found.path, flags)
        except OSError as error:
            raise Problem("unreadable", words(error)) from None
        self._facts = os.fstat(self._file)
        if not stat.S_ISREG(self._facts.st_mode):
            self.close()
            raise Problem("unreadable", "Not a regular file")

    @property
    def name(self) -> str:
        """The last part of the path, as text whatever its bytes are."""
        return os.fsencode(Path(self.path).name).decode("utf-8", "replace")

    @property
    def size(self) -> int:
        return self._facts.st_size

    def check_unchanged(self) -> None:
        """Raise when somebody wrote to the file since it was opened.

        Raises:
            Problem: somebody did.
        """
        now, then = os.fstat(self._file), self._facts
        if (now.st_size, now.st_mtime_ns) != (then.st_size, then.st_mtime_ns):
            raise Problem("file-changed", _CHANGED)

    async def digest(self, tell: Callable[[int], None]) -> str:
        """The SHA-256 of the content in hexadecimal digits; `tell` is given offsets. Threads read and hash.

        Raises:
            Problem: it cannot be read, or changed meanwhile.
        """
        digest = hashlib.sha256()

        def feed(offset: int) -> int:
            data = self._read(HASHED_BYTES, offset)
            digest.update(data)
            return len(data)

        offset = 0
        while size := await asyncio.to_thread(feed, offset):
            offset += size
            tell(offset)
        self.check_unchanged()
        return digest.hexdigest()

    async def chunks(self, offset: int) -> AsyncIterator[bytes]:
        """The content from `offset` to what was the end when the file was opened.

        Raises:
            Problem: it cannot be read, or is shorter now.
        """
        while offset < self.size:
            data = await asyncio.to_thread(self._read, min(SENT_BYTES, self.size - offset), offset)
            if not data:
                raise Problem("file-changed", _CHANGED)
            yield data
            offset += len(data)

    def _read(self, size: int, offset: int) -> bytes:
        try:
            return os.pread(self._file, size, offset)
        except OSError as error:
            raise Problem("unreadable", words(error)) from None

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def words(error: Exception) -> str:
    """What went wrong, without the path."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
