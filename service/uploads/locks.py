"""One writer an upload. A newer request ends the older one and waits until that has saved what it has.

The usual reason for a second request is that the first one's client is long gone and its connection has not noticed; so
the newer one is right, and a hung writer never blocks its own client's retry.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service.errors import UploadLocked

WAIT_S = 10.0


@dataclass(slots=True, eq=False)
class _Holder:
    stop: Callable[[], None]
    released: asyncio.Event = field(default_factory=asyncio.Event)


class Locks:
    """Who writes to which upload at this moment. One process owns all uploads, so memory is the right place."""

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self._holders: dict[str, _Holder] = {}
        self._wait_s = wait_s

    def is_held(self, upload_id: str) -> bool:
        return upload_id in self._holders

    @asynccontextmanager
    async def hold(self, upload_id: str, stop: Callable[[], None]) -> AsyncIterator[None]:
        """Hold the upload while the context is open. `stop` is called, once or more, when a newer request wants it.

        Raises:
            UploadLocked: the older request did not let go in time.
        """
        try:
            async with asyncio.timeout(self._wait_s):
                while (older := self._holders.get(upload_id)) is not None:
                    older.stop()
                    await older.released.wait()
        except TimeoutError:
            raise UploadLocked("Another request is writing to this upload and does not stop.") from None
        holder = self._holders[upload_id] = _Holder(stop)
        try:
            yield
        finally:
            del self._holders[upload_id]
            holder.released.set()
