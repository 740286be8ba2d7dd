"""Rendered covers in a local directory: ``covers/ab/ab34…/512.jpg``, named after the digest of what they were made of.

Many tracks share one picture, and it lies here once. What came out of an mp3 can be made again, so it need not survive
a power loss: a file that is empty or missing then is one that is not there. What a user chose cannot, and is flushed.
"""

import asyncio
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from service.storage.local import flush

SIZES = (64, 128, 256, 512, 1024)
"""Longest sides in pixels."""


class LocalCovers:
    """The directory of covers. All methods block: call them in a thread.

    Hold `lock` from `put` until a track shows the picture, and from finding that no track does until it is deleted.
    """

    def __init__(self, directory: Path, *, durable: bool = True) -> None:
        self.directory = directory
        self._durable = durable
        self.lock = asyncio.Lock()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, digest: bytes, size: int) -> Path:
        """Where that picture lies in that size, one of `SIZES`."""
        return self.folder(digest) / f"{size}.jpg"

    def put(self, digest: bytes, images: Mapping[int, bytes]) -> None:
        """Keep a picture in all its sizes; a reader sees whole files only.

        Raises:
            OSError: the disk failed or is full.
        """
        folder = self.folder(digest)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for size, image in images.items():
            target = folder / f"{size}.jpg"
            new = folder / f".{token_hex(8)}"
            try:
                new.write_bytes(image)
                os.replace(new, target)  # noqa: PTH105 - says what it does to a file that is there
            except OSError:
                with suppress(OSError):
                    new.unlink()
                raise

    def flush(self, digest: bytes) -> None:
        """Make sure that the picture survives a power loss.

        Raises:
            OSError: it failed, or there is no such picture.
        """
        if not self._durable:
            return
        folder = self.folder(digest)
        for size in SIZES:
            flush(self.path(digest, size))
        for directory in (folder, folder.parent, self.directory):
            flush(directory)

    def read(self, digest: bytes, size: int) -> bytes | None:
        """The picture in that size; None when it is not there."""
        with suppress(FileNotFoundError):
            return self.path(digest, size).read_bytes() or None
        return None

    def delete(self, digest: bytes) -> None:
        """Remove the picture; nothing happens when it is not there."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.folder(digest))

    def list_all(self) -> list[bytes]:
        """The digests of all pictures that are there."""
        return [bytes.fromhex(path.name) for path in self.directory.glob("??/" + "[0-9a-f]" * 64)]

    def folder(self, digest: bytes) -> Path:
        """Where that picture lies in all its sizes."""
        name = digest.hex()
        return self.directory / name[:2] / name
