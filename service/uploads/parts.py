"""The bytes of several partial uploads, one after the other, as the body of the upload they make together."""

from collections.abc import Sequence
from concurrent.futures import Executor

from service.errors import UploadExpired
from service.storage.spool import Part, Spool
from service.uploads.writer import run_in

READ_BYTES = 1 << 20


class PartsBody:
    """A body made of parts of the spool, in the order of `upload_ids`; one may be named twice."""

    def __init__(self, spool: Spool, upload_ids: Sequence[str], pool: Executor) -> None:
        self._spool = spool
        self._rest = list(upload_ids)
        self._pool = pool
        self._part: Part | None = None
        self._offset = 0

    async def read(self) -> bytes:
        """The next bytes; empty at the end of the last part.

        Raises:
            UploadExpired: a part is gone.
        """
        return await run_in(self._pool, self._read)

    def at_end(self) -> bool:
        """Whether all parts have been read."""
        return self._part is None and not self._rest

    def close(self) -> None:
        """Close the part that is being read. Call it when nobody reads any more, however that came."""
        if self._part is not None:
            self._part.close()
            self._part = None

    def _read(self) -> bytes:
        while self._part is not None or self._rest:
            if self._part is None:
                self._part, self._offset = self._open(self._rest.pop(0)), 0
            data = self._part.read(READ_BYTES, self._offset)
            self._offset += len(data)
            if data:
                return data
            self._part.close()
            self._part = None
        return b""

    def _open(self, upload_id: str) -> Part:
        try:
            return self._spool.open(upload_id)
        except FileNotFoundError:
            raise UploadExpired("A part of the upload is gone.", upload_id=upload_id) from None
