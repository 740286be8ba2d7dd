"""The runner: load, crash, look, start, look again, and the same once more."""

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.check import DataDirectory, Findings, check_served
from tests.crash.clients import KINDS, Client, Connection, Contents, Crowd, Ledger
from tests.e2e.conftest import Server

SETTINGS = {
    # A crash leaves unfinished uploads behind, and here it crashes far more often than they expire.
    "max_open_uploads_per_user": 1_000_000,
    "max_running_uploads_per_user": 64,
    "access_log": "false",
}
EARLIEST_CRASH_S = 0.05
LATEST_CRASH_S = 1.5
CRASHED_STARTS = 0.15


@dataclass
class Summary:
    """What a run did, and what it found."""

    seed: str
    crashes: int = 0
    crashed_starts: int = 0
    starts_s: list[float] = field(default_factory=list)
    seconds: float = 0.0
    ledger: Ledger = field(default_factory=Ledger)
    findings: Findings = field(default_factory=Findings)

    @property
    def most_starts_s(self) -> float:
        """What 19 of 20 starts did not take longer than: the rest belongs to whatever else the machine does."""
        return sorted(self.starts_s)[int(len(self.starts_s) * 0.95) - 1]

    def __str__(self) -> str:
        ledger = self.ledger
        return (
            f"seed {self.seed}: {self.crashes} crashes and {self.crashed_starts} in a start, "
            f"{len(ledger.receipts)} uploads of {ledger.acknowledged_bytes / 1e6:.0f} MB acknowledged, "
            f"{ledger.interrupted} interrupted, {sum(ledger.refused.values())} refused, "
            f"slowest start {max(self.starts_s, default=0):.2f} s, {self.seconds:.0f} s in all"
        )


class Runner:
    """Crashes a server under load, again and again.

    `crash` ends the process, in whatever way, and returns the moment (``time.monotonic()``) from which on no answer
    counts, if there is one; `repair` makes the disk usable for the next start, if it has to be.
    """

    def __init__(
        self,
        server: Server,
        scratch: Path,
        *,
        seed: str,
        kinds: Iterable[type[Client]] = KINDS,
        max_bytes: int = 8 << 20,
        crash: Callable[[], float | None] | None = None,
        repair: Callable[[], None] = lambda: None,
    ) -> None:
        self.summary = Summary(seed)
        self.data_dir = server.data_dir
        self._server = server
        self._data = DataDirectory(server.data_dir, scratch)
        self._random = random.Random(seed)
        self._crash = crash or server.kill
        self._repair = repair
        ledger = self.summary.ledger
        self._crowd = Crowd(kinds, Contents(seed, max_bytes=max_bytes), ledger, seed)

    def run(self, cycles: int, *, until: Callable[[Findings], bool] = bool) -> Summary:
        """Crash that often, or until the findings are what is looked for (anything, unless told otherwise)."""
        began = time.monotonic()
        self._start()
        self._crowd.start(self._server.port, self._server.token)
        try:
            for _ in range(cycles):
                self._cycle()
                if until(self.summary.findings):
                    break
            else:
                self._check_all()
        finally:
            self._crowd.end()
            self.summary.seconds = time.monotonic() - began
        return self.summary

    def _cycle(self) -> None:
        receipts = self.summary.ledger.receipts
        findings = self.summary.findings
        known = len(receipts)
        self._crowd.open_gate()
        time.sleep(EARLIEST_CRASH_S * (LATEST_CRASH_S / EARLIEST_CRASH_S) ** self._random.random())
        moment = self._crash()
        self.summary.crashes += 1
        self._crowd.close_gate()
        if moment is not None:
            self.summary.ledger.forget_since(moment)
        self._repair()
        findings += self._data.check_stopped(receipts)
        while self._random.random() < CRASHED_STARTS:
            self._crash_start()
        self._start()
        findings += self._data.check_running(receipts)
        findings.lost += check_served(self._server.port, self._server.token, receipts[known:])
        self._audit()

    def _crash_start(self) -> None:
        """Repairing must survive a crash too."""
        self._server.start(wait=False)
        time.sleep(self._random.uniform(0.2, 0.5))
        self._server.kill()
        self.summary.crashed_starts += 1

    def _start(self) -> None:
        began = time.monotonic()
        try:
            self._server.start()
        except RuntimeError as error:
            raise RuntimeError(f"{self.summary}\n{self.summary.findings}\n{str(error)[-2000:]}") from None
        self.summary.starts_s.append(time.monotonic() - began - self._waited_s())

    def _waited_s(self) -> float:
        """How long the new process was ready to run and the machine did something else."""
        assert self._server.process is not None
        try:
            return int(Path(f"/proc/{self._server.process.pid}/schedstat").read_text().split()[1]) / 1e9
        except OSError:  # a kernel without it
            return 0.0

    def _audit(self) -> None:
        connection = Connection(self._server.port, self._server.token)
        for client in self._crowd.clients:
            self.summary.findings.broken_promises += client.audit(connection)
        connection.close()

    def _check_all(self) -> None:
        """Everything once more, every byte."""
        receipts = self.summary.ledger.receipts
        self._data.forget_hashes()
        self.summary.findings += self._data.check_running(receipts)
        self.summary.findings.lost += check_served(self._server.port, self._server.token, receipts)
