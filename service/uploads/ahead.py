"""A body that is read a little ahead of what is done with it, to see whether all of it is there already."""

import asyncio
from collections.abc import Callable

from service.uploads.receive import Body


class Ahead:
    """A body, of which `arrives_whole` has read the beginning. `read` gives all of it, from the first byte."""

    def __init__(self, body: Body) -> None:
        self.chunks: list[bytes] = []
        self._body = body
        self._reading: asyncio.Task[bytes] | None = None
        self._size = 0

    async def arrives_whole(self, *, limit: Callable[[], int], within_s: float) -> bool:
        """Whether the body has ended within so many bytes and seconds; then ``chunks`` are all of it.

        How many there may be is asked anew with each chunk. A body that broke off, or is late, says so when it is read.
        """
        deadline = asyncio.get_running_loop().time() + within_s
        while not self._body.at_end():
            self._reading = asyncio.ensure_future(self._body.read())
            try:
                await asyncio.wait({self._reading}, timeout=deadline - asyncio.get_running_loop().time())
            except asyncio.CancelledError:
                self._reading.cancel()
                raise
            if not self._reading.done() or self._reading.exception() is not None:
                return False
            chunk, self._reading = self._reading.result(), None
            if not chunk:
                break
            self.chunks.append(chunk)
            self._size += len(chunk)
            if self._size > limit():
                return False
        return True

    async def read(self) -> bytes:
        """The next bytes; empty at the end.

        Raises:
            BodyError: the body broke off.
        """
        if self.chunks:
            return self.chunks.pop(0)
        if self._reading is not None:
            reading, self._reading = self._reading, None
            return await reading
        return await self._body.read()

    async def close(self) -> None:
        """End a read that nobody waits for any more: the body may be read on by others from here."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def at_end(self) -> bool:
        """Whether the last byte has been read and the body is known to be over."""
        return not self.chunks and self._reading is None and self._body.at_end()
