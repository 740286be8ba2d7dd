"""Notes in the catalogue that a session or a token was used: late, together, and never in the way of a request."""

import asyncio
import contextlib
import logging
import sqlite3
from functools import partial

from service.accounts.permissions import Identity
from service.catalogue import sessions, tokens
from service.catalogue.database import Database
from service.errors import StorageFailed

logger = logging.getLogger(__name__)


class Touches:
    """What is to be noted, and the one task that does it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pending: dict[tuple[str, str], int] = {}
        self._task: asyncio.Task[None] | None = None

    def note(self, identity: Identity, now: int) -> None:
        """The credential of `identity` was used at `now`, microseconds. Returns at once."""
        self._pending[identity.credential, identity.credential_id] = now
        if self._task is None:
            self._task = asyncio.create_task(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._pending:
                pending, self._pending = self._pending, {}
                try:
                    await self._database.write(partial(_write, pending=pending))
                except StorageFailed as error:
                    logger.warning("could not note the use of %d credentials: %s", len(pending), error.detail)
        finally:
            self._task = None

    async def close(self) -> None:
        """Write what is pending."""
        while self._task is not None:
            with contextlib.suppress(Exception):
                await asyncio.shield(self._task)


def _write(connection: sqlite3.Connection, *, pending: dict[tuple[str, str], int]) -> None:
    for (credential, credential_id), now in pending.items():
        if credential == "session":
            sessions.touch(connection, credential_id, now=now)
        else:
            tokens.touch(connection, credential_id, now=now)
