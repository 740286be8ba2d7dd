"""How often one may fail to log in: a limit for each name from each address, and ten times that for each address.

The owner of a name that somebody else guesses at can still log in from elsewhere. A try counts from before its hash is
computed, so that many at once do not slip through; one that succeeds is given back.
"""

import ipaddress
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from service.errors import RateLimited

WINDOW_S = 60.0
PER_ADDRESS = 10
MAX_KEYS = 10_000
MAX_NAME = 64

Key = tuple[str, ...]


class Attempts:
    """The tries of the last minute, in memory; of the names and addresses seen last only."""

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._tries: OrderedDict[Key, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tries)

    def begin(self, name: str, address: str) -> Callable[[], None]:
        """Count a try. Returns what takes it back, for a try that succeeded.

        Raises:
            RateLimited: there were too many; this one does not count, so waiting ``retry_after`` seconds is enough.
        """
        now = self._clock()
        place = _place(address)
        limits = {(place,): self._per_minute * PER_ADDRESS, (place, name[:MAX_NAME].casefold()): self._per_minute}
        wait = max(self._wait(key, limit, now) for key, limit in limits.items())
        if wait > 0:
            raise RateLimited("Too many tries to log in.", retry_after=math.ceil(wait))
        for key in limits:
            self._tries.setdefault(key, deque()).append(now)
            self._tries.move_to_end(key)
        while len(self._tries) > MAX_KEYS:
            self._tries.popitem(last=False)
        return lambda: self._take_back(limits, now)

    def _wait(self, key: Key, limit: int, now: float) -> float:
        """Seconds until one more try may come."""
        tries = self._tries.get(key)
        if tries is None:
            return 0.0
        while tries and tries[0] <= now - WINDOW_S:
            tries.popleft()
        return tries[-limit] + WINDOW_S - now if len(tries) >= limit else 0.0

    def _take_back(self, keys: dict[Key, int], moment: float) -> None:
        for key in keys:
            tries = self._tries.get(key)
            if tries is not None and moment in tries:
                tries.remove(moment)
                if not tries:
                    del self._tries[key]


def _place(address: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits, which is what one customer gets."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
