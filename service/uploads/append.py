"""One append: the bytes of one request on their way into one upload."""

from collections.abc import Sequence
from contextlib import suppress

from service.audio.inspector import Inspector, Verdict
from service.catalogue.uploads import Upload
from service.errors import UploadExpired
from service.storage.local import LocalBlobs
from service.storage.spool import Part, Spool
from service.uploads.claims import Claims
from service.uploads.seal import seal

REBUILD_BYTES = 1 << 20
JOINED_BYTES = 512 << 10
"""Up to here the chunks of a batch become one: each that is hashed gives the interpreter lock away, and getting it back
takes longer than a copy."""


class Append:
    """Store, then inspect: after every batch ``inspector.seen == part.offset``. All methods block.

    The part is opened with the first batch, so that a small upload costs one hop to a thread and not two.
    ``durable_offset`` is what was flushed, committed, and may have been told. ``is_announced`` says that the client
    knows the upload and may come back to it, even when nothing has come yet.
    """

    def __init__(
        self,
        upload: Upload,
        spool: Spool,
        claims: Claims,
        inspector: Inspector | None = None,
        *,
        is_announced: bool = False,
        only_frames: bool = True,
    ) -> None:
        self.upload = upload
        self.offset = upload.offset
        self.durable_offset = upload.offset
        self.inspector = inspector or Inspector()
        self.is_announced = is_announced
        self._spool = spool
        self._claims = claims
        self._only_frames = only_frames
        self._part: Part | None = None
        self._is_new = False

    def open(self) -> Part:
        """The part, at the durable offset, and an inspector that has seen all of it.

        Raises:
            UploadExpired: the bytes that were acknowledged are not there.
        """
        if self._part is None:
            self._part = self._open()
            if self._part.offset > self.upload.offset:
                self._part.truncate(self.upload.offset)
            self.offset = self._part.offset
            if self._only_frames:
                if self.inspector.seen > self._part.offset:
                    self.inspector = Inspector()
                rebuild(self._part, self.inspector)
        return self._part

    def _open(self) -> Part:
        upload_id, offset = self.upload.upload_id, self.upload.offset
        if offset == 0:
            self._is_new = True  # nobody has seen to it that its name is on stable storage
            with suppress(FileExistsError):
                return self._spool.create(upload_id)
        size = self._spool.size(upload_id)
        if size is None or size < offset:
            raise UploadExpired("The bytes of the upload are lost.")
        return self._spool.open(upload_id)

    @property
    def has_claims(self) -> bool:
        """Whether something is still to be checked of these bytes before they may count."""
        return bool(self._claims)

    def store(self, batch: Sequence[bytes]) -> None:
        """Write a batch, then look at it.

        Raises:
            NotAnMp3: as soon as it is clear.
            OSError: the disk is full or failed.
        """
        part = self.open()
        if sum(map(len, batch)) <= JOINED_BYTES:
            batch = (b"".join(batch),)
        part.append(batch)
        self.offset = part.offset
        for chunk in batch:
            self._claims.update(chunk)
            if self._only_frames:
                self.inspector.feed(chunk)

    def check(self) -> None:
        """Raise `ContentMismatch` unless the claims for this request hold."""
        self._claims.check()

    def sync(self) -> int:
        """Bring what is stored to stable storage; the offset that may be told now."""
        part = self.open()
        part.sync()
        if self._is_new:
            self._spool.flush()
            self._is_new = False
        return part.offset

    def seal(self, blobs: LocalBlobs, *, strict: bool) -> Verdict:
        """The last bytes are in: make them a blob.

        Raises:
            Refused: they are not what they should be.
            OSError: the disk failed.
        """
        self.check()
        return seal(self.upload, self.open(), self.inspector, blobs, strict=strict)

    def rewind(self) -> None:
        """Forget what came since the last durable offset."""
        self.open().truncate(self.durable_offset)

    def discard(self) -> None:
        """Remove the bytes of the upload."""
        self.close()
        self._spool.delete(self.upload.upload_id)

    def close(self) -> None:
        """Close the file; its bytes stay."""
        if self._part is not None:
            self._part.close()


def rebuild(part: Part, inspector: Inspector) -> None:
    """Show an inspector what lies in the spool and it has not seen; a running digest cannot be stored.

    Raises:
        NotAnMp3: the bytes are none.
    """
    while inspector.seen < part.offset:
        inspector.feed(part.read(min(REBUILD_BYTES, part.offset - inspector.seen), inspector.seen))
