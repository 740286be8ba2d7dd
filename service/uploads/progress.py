"""Durable offsets told while a body is still coming."""

import time
from collections.abc import Awaitable, Callable

INTERVAL_S = 2.0


class Progress:
    """Every two seconds, if somebody wants to know: flush, note the offset, and only then tell it."""

    def __init__(self, tell: Callable[[int], Awaitable[None]] | None, pause: Callable[[], Awaitable[int]]) -> None:
        self._tell = tell
        self._pause = pause
        self._last_s = time.monotonic()

    async def note(self) -> None:
        """More bytes have come."""
        if self._tell is None:
            return
        now_s = time.monotonic()
        if now_s - self._last_s >= INTERVAL_S:
            self._last_s = now_s
            await self._tell(await self._pause())
