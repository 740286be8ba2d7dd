"""The bytes of a zip archive of blobs, from any place of it on, while they are sent."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from service.storage.crc import crc32_of
from service.storage.open_blobs import OpenBlob, OpenBlobs
from service.web.ranges import Span
from service.web.sending import FilePiece
from service.wire.zip import Archive

CRC_PIECE_BYTES = 16 << 20  # of one turn in a thread, of which there are few
RECORDS_AT_ONCE = 500


class BlobArchive:
    """The blobs of `keys` as the files of `archive`. ``known`` are CRC-32s by key, ``found`` those it had to look for.

    A CRC is looked for when it is needed, so the first bytes do not wait for all files to be read. What was read for it
    is in memory then, and goes out from there.
    """

    def __init__(
        self,
        blobs: OpenBlobs,
        archive: Archive,
        keys: Sequence[str],
        known: dict[str, int],
        *,
        is_wanted: Callable[[], bool],
    ) -> None:
        self.found: dict[str, int] = {}
        self._blobs = blobs
        self._archive = archive
        self._keys = keys
        self._known = known
        self._is_wanted = is_wanted

    async def pieces(self, span: Span) -> AsyncGenerator[bytes | FilePiece, None]:
        """These bytes of the archive. One file is open at a time, until the next piece is asked for.

        Raises:
            StorageFailed: a blob is not there, or not as long as it was.
            OSError: it cannot be read.
            ConnectionResetError: nobody wants the bytes any more.
        """
        stop = span.start + span.count
        for number, (start, entry) in enumerate(zip(self._archive.starts, self._archive.entries, strict=True)):
            if start + entry.size <= span.start:
                continue
            if self._archive.headers[number] >= stop:
                return
            async with self._blobs.opened(self._keys[number], entry.size) as blob:
                blob.check_whole()
                if span.start < start:
                    header = self._archive.header(number, await self._crc32_of(blob))
                    yield _cut(header, self._archive.headers[number], span)
                first, last = max(span.start, start), min(stop, start + entry.size)
                if first < last:
                    yield FilePiece(blob.descriptor, first - start, last - first)
        async for piece in self._directory(span):
            yield piece

    async def _directory(self, span: Span) -> AsyncGenerator[bytes, None]:
        at = self._archive.directory
        for first in range(0, len(self._keys), RECORDS_AT_ONCE):
            numbers = range(first, min(first + RECORDS_AT_ONCE, len(self._keys)))
            records = b"".join([self._archive.record(number, await self._crc32(number)) for number in numbers])
            yield _cut(records, at, span)
            at += len(records)
        yield _cut(self._archive.ending(), at, span)

    async def _crc32(self, number: int) -> int:
        known = self._known.get(self._keys[number])
        if known is not None:
            return known
        async with self._blobs.opened(self._keys[number], self._archive.entries[number].size) as blob:
            return await self._crc32_of(blob)

    async def _crc32_of(self, blob: OpenBlob) -> int:
        value = self._known.get(blob.key)
        if value is None:
            value = 0
            for start in range(0, blob.size, CRC_PIECE_BYTES):
                if not self._is_wanted():
                    raise ConnectionResetError
                end = min(start + CRC_PIECE_BYTES, blob.size)
                value = await asyncio.to_thread(crc32_of, blob.descriptor, start, end, value)
            self._known[blob.key] = self.found[blob.key] = value
        return value


def _cut(data: bytes, at: int, span: Span) -> bytes:
    """What of `data`, which stands at `at`, is in the span."""
    return data[max(0, span.start - at) : max(0, span.start + span.count - at)]
