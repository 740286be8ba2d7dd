"""One file of a run, and what has become of it."""

import time
from typing import Any, Literal

from service.client.files import Found
from service.client.problems import Problem

Status = Literal["uploaded", "skipped", "failed"]


class Job:
    """A file on its way; ``status`` is None until it is settled. Offsets and sizes are bytes."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.status: Status | None = None
        self.track_id: str | None = None
        self.sha256: str | None = None
        self.problem: Problem | None = None
        self.offset = 0
        self.sent_bytes = 0
        self.is_hashing = False
        self.seconds = 0.0
        self._started_at: float | None = None

    def start(self) -> None:
        """Its turn has come, perhaps again."""
        self.offset = 0
        self._started_at = self._started_at or time.monotonic()

    def hashed(self, offset: int) -> None:
        """The digest is known up to here."""
        self.is_hashing = True
        self.offset = offset

    def stand(self, offset: int) -> None:
        """The service has that much, whatever was sent."""
        self.is_hashing = False
        self.offset = offset

    def send(self, offset: int) -> None:
        """Handed to the network up to here."""
        self.sent_bytes += offset - self.offset
        self.offset = offset

    def end(self, status: Status, track_id: str | None = None) -> None:
        """Settled."""
        self.status = status
        self.track_id = track_id
        if self._started_at is not None:
            self.seconds = time.monotonic() - self._started_at

    def fail(self, problem: Problem) -> None:
        """Not settled, and it will not be in this run."""
        self.problem = problem
        self.end("failed")

    def document(self) -> dict[str, Any]:
        """The line of ``--json``."""
        problem = self.problem
        return {
            "path": self.found.path,
            "status": self.status,
            "track": self.track_id,
            "sha256": self.sha256,
            "seconds": round(self.seconds, 3),
            "problem": {"code": problem.code, "detail": problem.detail} if problem else None,
        }
