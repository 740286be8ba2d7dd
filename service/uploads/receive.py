"""The hot loop: from a body to the writer. No protocol, no HTTP, no database is known here."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from service.errors import LengthExceeded
from service.uploads.writer import Writer

JUDGED_BYTES = 128 << 10
"""What is no mp3 shows in its first 64 KiB. So far, what has come is judged before more is waited for: whoever sends
something else and then stalls is told at once, and not when the body has been idle for too long."""


class Body(Protocol):
    """Where the bytes of one request come from."""

    async def read(self) -> bytes:
        """The next chunk, empty at the end.

        Raises:
            BodyError: the body ended otherwise than it should.
        """

    def at_end(self) -> bool:
        """Whether it is known already that no more bytes will come."""


async def receive(
    body: Body,
    writer: Writer,
    *,
    offset: int,
    limit: int | None,
    make_room: Callable[[int], Awaitable[None]],
    pending_limit: Callable[[], int],
    progress: Callable[[], Awaitable[None]],
) -> int:
    """Move the whole body into the writer; the offset after its last byte.

    `limit` is the length of the upload, if known. `make_room` is told each new offset before its bytes are taken and
    raises when they may not be (limits, quota, disk). `progress` is called now and then, after bytes were taken.

    Raises:
        LengthExceeded: more bytes than the upload has.
        BodyError: the body broke off; what came before is in the writer.
    """
    judged_end = offset + JUDGED_BYTES
    while chunk := await body.read():
        is_early = offset < judged_end
        offset += len(chunk)
        if limit is not None and offset > limit:
            raise LengthExceeded("More bytes came than were announced.", length=limit)
        await make_room(offset)
        writer.put(chunk)
        if not body.at_end():
            writer.start()
            await writer.room(0 if is_early else pending_limit())
            await progress()
    return offset
