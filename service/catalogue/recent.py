"""Tracks that were just served, as their views need them, so that the next range of one costs no query."""

import sqlite3
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from service.catalogue import tracks
from service.catalogue.database import Database
from service.errors import NotFound

T = TypeVar("T")

CAPACITY = 4096


class RecentTracks(Generic[T]):
    """The last tracks that were asked for, each as `make` made it of its row. Only those that are not in the trash.

    Right because one process owns the database: whoever changes a track calls `forget` after the commit.
    """

    def __init__(self, database: Database, make: Callable[[sqlite3.Row], T], capacity: int = CAPACITY) -> None:
        self._database = database
        self._make = make
        self._capacity = capacity
        self._kept: OrderedDict[tuple[str, str], T] = OrderedDict()
        self._changes = 0

    def find(self, user_id: str, track_id: str) -> T | None:
        """The track if it is remembered."""
        key = (user_id, track_id)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    async def get(self, user_id: str, track_id: str) -> T:
        """The user's track.

        Raises:
            NotFound: there is none, it is another user's, or it is in the trash.
        """
        kept = self.find(user_id, track_id)
        if kept is not None:
            return kept
        changes = self._changes
        row = await tracks.get_track(self._database, user_id, track_id)
        if row["trashed_at"] is not None:
            raise NotFound("The track is in the trash.")
        made = self._make(row)
        if changes == self._changes:  # else the row may be older than what was forgotten meanwhile
            self._kept[user_id, track_id] = made
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return made

    def forget(self, user_id: str, track_id: str) -> None:
        """The track was changed."""
        self._changes += 1
        self._kept.pop((user_id, track_id), None)
