"""The peak memory of ours, and how long its event loop was blocked meanwhile; no peer."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench import content
from bench.client import Load, send
from bench.ours import Ours
from bench.row import Row, Run, Shot, Side, Target

AT_ONCE = 200
SMALL, LARGE = 5 << 20, 25 << 20
SAMPLE_S = 0.05
TOLD = 10  # figures over the time of one shot
MB = 1_000_000
KB = 1024


def rows(run: Run) -> list[Row]:
    targets = {
        "idle": Target(80, 60),
        f"{AT_ONCE} uploads at once": Target(150, 100),
        "one huge upload": Target(100, 80),
        f"the same {AT_ONCE} again": Target(150, 100),
        f"{AT_ONCE} forms at once": Target(150, 100),
    }
    flat = {f"ours, {SMALL >> 20} MiB each": Target(1.1, 1.02)}
    lag = {"event loop blocked": Target(50, 10)}
    return [
        Row("memory", "peak memory of the main process", "MB", partial(_memory, run), targets, is_absolute=True),
        Row(
            "memory-growth",
            f"peak of {AT_ONCE} uploads, {LARGE >> 20} MiB each",
            "MB",
            partial(_growth, run),
            flat,
            is_cost=True,
        ),
        Row("event-loop", f"longest block, {AT_ONCE} uploads at once", "ms", partial(_lag, run), lag, is_absolute=True),
    ]


@contextmanager
def _memory(run: Run) -> Iterator[list[Side]]:
    with Ours(run.settings) as server:
        yield [
            Side("idle", lambda: _peak(server, lambda: time.sleep(2))),
            Side("one huge upload", lambda: _peak(server, lambda: _huge(run, server))),
            Side(f"{AT_ONCE} uploads at once", lambda: _peak(server, lambda: _at_once(run, server))),
            Side(f"the same {AT_ONCE} again", lambda: _peak(server, lambda: _at_once(run, server))),
            Side(f"{AT_ONCE} forms at once", lambda: _peak(server, lambda: _forms_at_once(run, server))),
        ]


@contextmanager
def _growth(run: Run) -> Iterator[list[Side]]:
    """Large uploads against small ones, and the memory over the time of either: 1 is flat."""
    yield [
        Side("ours", partial(_grow, run, LARGE)),
        Side(f"ours, {SMALL >> 20} MiB each", partial(_grow, run, SMALL)),
    ]


def _grow(run: Run, size: int) -> Shot:
    what = content.make(run.kind, size)
    with Ours(run.settings) as server:
        send(server, server.put(), Load(4, 40, 5), content.make(run.kind, 100 << 10))
        samples: list[float] = []

        def work() -> None:
            with _sampled(server, samples):
                send(server, server.put(), Load(AT_ONCE, AT_ONCE), what)

        shot = _peak(server, work)
    parts = [samples[len(samples) * n // TOLD : len(samples) * (n + 1) // TOLD] for n in range(TOLD)]
    return Shot(shot.value, {**shot.facts, "rss_mb": [round(max(part)) for part in parts if part]})


@contextmanager
def _sampled(server: Ours, samples: list[float]) -> Iterator[None]:
    """Notes what the process has resident while bytes arrive, again and again."""
    over = threading.Event()
    pid = server.pid

    def sample() -> None:
        while not over.wait(SAMPLE_S):
            samples.append(_status(pid, "VmRSS"))

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def _lag(run: Run) -> Iterator[list[Side]]:
    with Ours(run.settings) as server:

        def shoot() -> Shot:
            _at_once(run, server)
            lag = server.max_lag_s()
            return Shot((lag or 0.0) * 1000, {"is_told": lag is not None})

        yield [Side("event loop blocked", shoot)]


def _at_once(run: Run, server: Ours) -> None:
    send(server, server.put(), Load(AT_ONCE, 2 * AT_ONCE), content.make(run.kind, SMALL))


def _forms_at_once(run: Run, server: Ours) -> None:
    send(server, server.form(), Load(AT_ONCE, 2 * AT_ONCE), content.make(run.kind, SMALL))


def _huge(run: Run, server: Ours) -> None:
    send(server, server.put(), Load(), content.make(run.kind, run.huge))


def _peak(server: Ours, work: Callable[[], object]) -> Shot:
    """The main process counts; the children that analyse tracks are told beside it."""
    server.settle()
    for pid in server.pids():
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak starts again from here
    work()
    peaks = {pid: _status(pid, "VmHWM") for pid in server.pids()}
    facts: dict[str, Any] = {"rss_after_mb": _status(server.pid, "VmRSS"), "max_lag_s": server.max_lag_s()}
    facts["children_mb"] = [peak for pid, peak in peaks.items() if pid != server.pid]
    return Shot(peaks[server.pid], facts)


def _status(pid: int, key: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * KB / MB
    return 0.0
