"""How much may come: running uploads, the free space of the disk, the quota of the user."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from service.catalogue import uploads
from service.catalogue.database import Database
from service.catalogue.uploads import Upload
from service.errors import Overloaded, QuotaExceeded, StorageFull, TooLarge, TooManyUploads
from service.settings import Settings
from service.storage.spool import Spool

RESERVE_STEP_BYTES = 16 << 20
FREE_SPACE_FRESH_S = 0.25
RETRY_AFTER_S = 5


class Running:
    """The uploads that receive bytes at this moment."""

    def __init__(self, *, per_user: int, overall: int) -> None:
        self._per_user = per_user
        self._overall = overall
        self._of_user: Counter[str] = Counter()

    @property
    def count(self) -> int:
        return self._of_user.total()

    def check(self, user_id: str) -> None:
        """Raise when the user, or the service, has as many as is allowed.

        Raises:
            TooManyUploads: the user has.
            Overloaded: the service has.
        """
        if self._of_user[user_id] >= self._per_user:
            raise TooManyUploads("You have too many uploads running.", limit=self._per_user, retry_after=RETRY_AFTER_S)
        if self.count >= self._overall:
            raise Overloaded("Too many uploads are running.", retry_after=RETRY_AFTER_S)

    @contextmanager
    def slot(self, user_id: str) -> Iterator[None]:
        """Count as one while the context is open; raises as `check` does."""
        self.check(user_id)
        self._of_user[user_id] += 1
        try:
            yield
        finally:
            self._of_user[user_id] -= 1
            if not self._of_user[user_id]:
                del self._of_user[user_id]


class FreeSpace:
    """The free space of the spool's disk, asked at most a few times a second."""

    def __init__(self, spool: Spool, reserve_bytes: int) -> None:
        self._spool = spool
        self._reserve_bytes = reserve_bytes
        self._asked_at = -FREE_SPACE_FRESH_S
        self._free_bytes = 0

    def check(self, size: int = 0) -> None:
        """Raise `StorageFull` when `size` more bytes would go into the reserve."""
        now = time.monotonic()
        if now - self._asked_at >= FREE_SPACE_FRESH_S:
            self._free_bytes = self._spool.free_bytes()
            self._asked_at = now
        if self._free_bytes - size < self._reserve_bytes:
            raise StorageFull("The disk has no room for this upload.")

    def note(self, size: int) -> None:
        """So much is going to be written: until the disk is asked again, it counts as gone."""
        self._free_bytes -= size


class Allowance:
    """How far one upload may grow. An upload of unknown length reserves its quota in steps as it grows."""

    def __init__(self, upload: Upload, database: Database, settings: Settings, free_space: FreeSpace) -> None:
        self._upload_id = upload.upload_id
        self._reserved = upload.reserved_bytes
        self._is_known = upload.length is not None
        self._database = database
        self._settings = settings
        self._free_space = free_space
        self._checked = upload.offset

    async def make_room(self, offset: int) -> None:
        """See that the upload may grow to `offset`.

        Raises:
            TooLarge: over ``max_upload_bytes``.
            QuotaExceeded, StorageFull: no room.
        """
        if offset - self._checked >= RESERVE_STEP_BYTES:  # the disk may have been filled by others meanwhile
            self._free_space.check()
            self._checked = offset
        if self._is_known or offset <= self._reserved:
            return
        limit = self._settings.max_upload_bytes
        if offset > limit:
            raise TooLarge("The upload is too large.", limit_bytes=limit)
        self._free_space.check(RESERVE_STEP_BYTES)
        need = offset - self._reserved
        try:
            await self._reserve(max(need, min(RESERVE_STEP_BYTES, limit - self._reserved)))
        except QuotaExceeded:
            await self._reserve(need)

    async def _reserve(self, size: int) -> None:
        quota = self._settings.quota_bytes
        await self._database.write(lambda connection: uploads.reserve_more(connection, self._upload_id, size, quota))
        self._reserved += size
