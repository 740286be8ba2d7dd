"""One append: the bytes of one request on their way into one upload."""

from collections.abc import Sequence

from service.audio.inspector import Inspector, Verdict
from service.catalogue.uploads import Upload
from service.errors import UploadExpired
from service.storage.local import LocalBlobs
from service.storage.spool import Part, Spool
from service.uploads.claims import Claims
from service.uploads.finish import seal

REBUILD_BYTES = 1 << 20


class Append:
    """Store, then inspect: after every batch ``inspector.seen == part.offset``. All methods block.

    The part is opened with the first batch, so that a small upload costs one hop to a thread and not two.
    """

    def __init__(self, upload: Upload, spool: Spool, claims: Claims) -> None:
        self.upload = upload
        self.is_announced = False
        self.offset = upload.offset
        self._spool = spool
        self._claims = claims
        self._part: Part | None = None
        self._inspector = Inspector()

    def open(self) -> Part:
        """The part, at its end, and an inspector that has seen all of it.

        Raises:
            UploadExpired: the bytes that were acknowledged are not there.
        """
        if self._part is None:
            size = self._spool.size(self.upload.upload_id)
            if size is None and self.upload.offset == 0:
                self._part = self._spool.create(self.upload.upload_id)
            elif size is None or size < self.upload.offset:
                raise UploadExpired("The bytes of the upload are lost.")
            else:
                self._part = self._spool.open(self.upload.upload_id)
                rebuild(self._part, self._inspector)
            self.offset = self._part.offset
        return self._part

    def store(self, batch: Sequence[bytes]) -> None:
        """Write a batch, then look at it.

        Raises:
            NotAnMp3: as soon as it is clear.
            OSError: the disk is full or failed.
        """
        part = self.open()
        part.append(batch)
        self.offset = part.offset
        for chunk in batch:
            self._claims.update(chunk)
            self._inspector.feed(chunk)

    def sync(self) -> int:
        """Bring what is stored to stable storage; the offset that may be told now."""
        part = self.open()
        part.sync()
        return part.offset

    def seal(self, blobs: LocalBlobs, *, strict: bool) -> Verdict:
        """The last bytes are in: make them a blob.

        Raises:
            Refused: they are not what they should be.
            OSError: the disk failed.
        """
        self._claims.check()
        return seal(self.upload, self.open(), self._inspector, blobs, strict=strict)

    def rewind(self) -> None:
        """Forget what this append brought, back to the durable offset."""
        self.open().truncate(self.upload.offset)

    def discard(self) -> None:
        """Remove the bytes of the upload."""
        self.close()
        self._spool.delete(self.upload.upload_id)

    def close(self) -> None:
        """Close the file; its bytes stay."""
        if self._part is not None:
            self._part.close()


def rebuild(part: Part, inspector: Inspector) -> None:
    """Show an inspector what lies in the spool; a running digest cannot be stored, so it is computed again.

    Raises:
        NotAnMp3: the bytes are none.
    """
    while inspector.seen < part.offset:
        inspector.feed(part.read(min(REBUILD_BYTES, part.offset - inspector.seen), inspector.seen))
