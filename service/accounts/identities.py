"""Identities that were looked up a moment ago, so that a busy client costs the catalogue nothing."""

import time
from collections.abc import Callable

from service.accounts.permissions import Identity

FRESH_S = 2.0
MAX_ENTRIES = 4096


class Identities:
    """A small cache from a credential's digest to its identity.

    An entry lives for two seconds at most, because the command line may change accounts from another process. What this
    process changes it drops at once: a lookup that began before the drop is not remembered after it.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: dict[bytes, tuple[Identity, float]] = {}
        self.generation = 0

    def find(self, digest: bytes) -> Identity | None:
        entry = self._entries.get(digest)
        if entry is None:
            return None
        identity, until = entry
        if self._clock() < until:
            return identity
        del self._entries[digest]
        return None

    def remember(self, digest: bytes, identity: Identity, *, generation: int, lifetime_s: float) -> None:
        """Keep an identity that was looked up since `generation`, for no longer than its credential lives."""
        if generation != self.generation:
            return
        if len(self._entries) >= MAX_ENTRIES:
            del self._entries[next(iter(self._entries))]
        self._entries[digest] = (identity, self._clock() + min(FRESH_S, lifetime_s))

    def drop(self, *, user_id: str | None = None, credential_id: str | None = None) -> None:
        """Forget every identity of a user, or that of one credential."""
        self.generation += 1
        self._entries = {
            digest: entry
            for digest, entry in self._entries.items()
            if entry[0].user_id != user_id and entry[0].credential_id != credential_id
        }
