"""What a client remembers of an unfinished upload, so that the next one goes on with it.

One small file an upload, named after what it is for: a server and a content. A file that was moved is still found, and
one that was changed is not mistaken for what it was.
"""

import fcntl
import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from service.client.problems import Problem

KEPT_S = 30 * 86_400
"""Longer than services keep what is unfinished."""
MOST_OPENS = 10


class Memory:
    """The id of the upload that brings this content to this server. Open, it is ours: another client waits for nothing.

    A torn or unreadable file is as good as none: the upload begins anew.
    """

    def __init__(self, directory: Path, server: str, sha256: str) -> None:
        """Open it.

        Raises:
            Problem: another process is uploading the same content to the same server, or there is no place to write.
        """
        self._path = directory / f"{hashlib.sha256(f'{server} {sha256}'.encode()).hexdigest()}.json"
        self._open()
        for _ in range(MOST_OPENS):
            if self._is_in_place():
                break
            os.close(self._file)  # its last owner has removed it since we opened it
            self._open()

    def _open(self) -> None:
        directory = self._path.parent
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Problem("no-memory", f"Cannot remember uploads in {directory}: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise Problem("busy", "Another yarrr is uploading the same content") from None

    def _is_in_place(self) -> bool:
        """Whether what we hold is what others find under the name."""
        try:
            return os.path.samestat(os.fstat(self._file), self._path.stat())
        except OSError:
            return False

    @property
    def upload_id(self) -> str | None:
        """The upload that was begun; None if there is none."""
        try:
            upload_id = json.loads(os.pread(self._file, 4096, 0))["upload"]
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return upload_id if isinstance(upload_id, str) and upload_id.isalnum() else None

    def keep(self, upload_id: str, **about: str) -> None:
        """Remember an upload, and for curious people what it is about."""
        text = json.dumps({"upload": upload_id, **about}).encode()
        with suppress(OSError):  # a full disk takes the memory, not the upload
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text, 0)

    def forget(self) -> None:
        """There is nothing to go on with any more, or not yet. The file stays as long as it is ours."""
        with suppress(OSError):
            os.ftruncate(self._file, 0)

    def close(self) -> None:
        """Let go; what is remembered stays."""
        if self.upload_id is None:
            self._path.unlink(missing_ok=True)
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def sweep(directory: Path) -> None:
    """Forget uploads that no service has any more."""
    oldest = time.time() - KEPT_S
    for path in directory.glob("*.json"):
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()
