"""What people see on standard error while files go up: bars on a terminal, lines elsewhere; JSON lines for programs."""

import asyncio
import json
import os
import sys
import time
import unicodedata
from collections import Counter, deque
from collections.abc import Sequence
from typing import TextIO

from service.client.job import Job

REDRAW_S = 0.1
SPEED_OVER_S = 5.0
LEAST_SPEED_OVER_S = 0.5
BAR_COLUMNS = 16
FACTS_COLUMNS = 24

COLOURS = {"uploaded": "\x1b[32m", "skipped": "\x1b[33m", "failed": "\x1b[31m"}
PLAIN = "\x1b[0m"
ERASE_LINE = "\x1b[2K"


class Show:
    """Tells people on `stream` of every file that ends and of every wait; with `is_json`, programs on `output`.

    On a terminal, bars are drawn below what has been told. With `is_quiet` people hear of failures only.
    """

    def __init__(
        self,
        stream: TextIO = sys.stderr,
        output: TextIO = sys.stdout,
        *,
        is_json: bool = False,
        is_quiet: bool = False,
        is_terminal: bool = False,
        is_coloured: bool = False,
    ) -> None:
        self._stream = stream
        self._output = output
        self._is_json = is_json
        self._is_quiet = is_quiet
        self._is_coloured = is_coloured
        self._bars = Bars(stream) if is_terminal and not is_quiet else None
        self._jobs: Sequence[Job] = ()
        self._started_at = time.monotonic()

    def begin(self, jobs: Sequence[Job]) -> None:
        """All there is to do."""
        self._jobs = jobs
        if self._bars:
            self._bars.begin(jobs)

    def start(self, job: Job) -> None:
        """A file's turn has come."""
        if self._bars:
            self._bars.running.append(job)

    def put_back(self, job: Job) -> None:
        """A file has to wait for another turn."""
        if self._bars:
            self._bars.running.remove(job)

    def wait(self, job: Job, why: str, wait_s: float) -> None:
        """A file waits for its next try."""
        if not self._is_quiet:
            self._tell(f"{shown(job.found.path)}: {shown(why)}; again in {wait_s:.1f} s")

    def end(self, job: Job, *, is_told: bool = True) -> None:
        """A file is settled, or is not going to be."""
        if self._bars:
            self._bars.end(job)
        if is_told and (job.status == "failed" or not (self._is_quiet or self._is_json)):
            self._tell(self._line(job))
        if self._is_json:
            if self._bars:
                self._bars.erase()
            print(json.dumps(job.document()), file=self._output, flush=True)

    def close(self, *, is_interrupted: bool = False) -> None:
        """All is done, or it ends here."""
        if self._bars:
            self._bars.erase()
        counts = Counter[str](job.status or "" for job in self._jobs)
        if is_interrupted:
            settled = counts["uploaded"] + counts["skipped"]
            text = f"Interrupted: {settled} of {len(self._jobs)} files are there. The same command goes on from here."
            print(text, file=self._stream, flush=True)
        elif not self._is_quiet and not self._is_json:
            told = ", ".join(f"{counts[each]} {each}" for each in COLOURS if counts[each]) or "No mp3 files found"
            seconds = time.monotonic() - self._started_at
            text = f"{told}; {size_text(sum(job.sent_bytes for job in self._jobs))} sent in {seconds:.1f} s"
            print(text, file=self._stream, flush=True)

    async def keep_drawn(self) -> None:
        """Draw the bars until cancelled."""
        while self._bars:
            self._bars.draw()
            await asyncio.sleep(REDRAW_S)

    def _tell(self, text: str) -> None:
        if self._bars:
            self._bars.erase()
        print(text, file=self._stream, flush=True)

    def _line(self, job: Job) -> str:
        status = job.status or ""
        word = f"{COLOURS[status]}{status:<8}{PLAIN}" if self._is_coloured else f"{status:<8}"
        facts = {
            "uploaded": f"{size_text(job.found.size)} in {job.seconds:.1f} s",
            "skipped": "is there already",
            "failed": f"{shown(job.problem.detail)} ({shown(job.problem.code)})" if job.problem else "",
        }
        return f"{word}  {shown(job.found.path)}  {facts[status]}"


class Bars:
    """One line for each running file and one for all, redrawn in place at the bottom of a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self.running: list[Job] = []
        self._stream = stream
        self._marks = "█░" if (stream.encoding or "").lower().startswith("utf") else "#."
        self._jobs: Sequence[Job] = ()
        self._all_bytes = 0
        self._settled = 0
        self._settled_bytes = 0
        self._settled_sent = 0
        self._drawn = 0
        self._sent: deque[tuple[float, int]] = deque()

    def begin(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._all_bytes = sum(job.found.size for job in jobs)

    def end(self, job: Job) -> None:
        if job in self.running:
            self.running.remove(job)
        self._settled += 1
        self._settled_bytes += job.found.size
        self._settled_sent += job.sent_bytes

    def draw(self) -> None:
        """Draw all lines over those drawn before."""
        columns, rows = _size_of(self._stream)
        lines = [self._file_line(job, columns - 1) for job in self.running[: max(0, rows - 2)]]
        self._put([*lines, self._total_line(columns - 1)])

    def erase(self) -> None:
        """Leave the place to other text; the next drawing is below it."""
        self._put([])

    def _put(self, lines: list[str]) -> None:
        up = f"\x1b[{self._drawn}A\r" if self._drawn else "\r"
        text = up + "".join(f"{ERASE_LINE}{line}\n" for line in lines) + "\x1b[J"
        self._drawn = len(lines)
        self._stream.write(text)
        self._stream.flush()

    def _file_line(self, job: Job, columns: int) -> str:
        facts = "hashing" if job.is_hashing else f"{size_text(job.offset)} of {size_text(job.found.size)}"
        return self._bar_line(shown(job.found.path), job.offset, job.found.size, facts, columns)

    def _total_line(self, columns: int) -> str:
        done = self._settled_bytes + sum(job.offset for job in self.running if not job.is_hashing)
        name = f"{self._settled}/{len(self._jobs)} files"
        if speed := self._speed():
            name += f", {size_text(speed)}/s, {_time_text((self._all_bytes - done) / speed)} left"
        facts = f"{size_text(done)} of {size_text(self._all_bytes)}"
        return self._bar_line(name, done, self._all_bytes, facts, columns)

    def _speed(self) -> float:
        """Bytes per second in the last seconds."""
        now = time.monotonic()
        self._sent.append((now, self._settled_sent + sum(job.sent_bytes for job in self.running)))
        while now - self._sent[0][0] > SPEED_OVER_S:
            self._sent.popleft()
        (then, before), (_, after) = self._sent[0], self._sent[-1]
        return (after - before) / (now - then) if now - then >= LEAST_SPEED_OVER_S else 0.0

    def _bar_line(self, name: str, done: int, size: int, facts: str, columns: int) -> str:
        part = min(1.0, done / size) if size else 1.0
        filled = int(part * BAR_COLUMNS)
        bar = self._marks[0] * filled + self._marks[1] * (BAR_COLUMNS - filled)
        room = max(8, columns - BAR_COLUMNS - FACTS_COLUMNS - len("  100%  "))
        return fit(f"{fit(name, room, is_padded=True)} {bar} {part:4.0%}  {facts}", columns)


def is_terminal(stream: TextIO) -> bool:
    """Whether bars can be drawn there."""
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def shown(text: str) -> str:
    """`text` without what would move the cursor or ring the bell."""
    return "".join(each if each.isprintable() else "?" for each in text)


def fit(text: str, columns: int, *, is_padded: bool = False) -> str:
    """`text` cut at its front to that many columns of a terminal: the end of a path says more."""
    width = sum(map(_columns_of, text))
    if width > columns:
        kept = len(text)
        room = columns - 1
        while kept and _columns_of(text[kept - 1]) <= room:
            kept -= 1
            room -= _columns_of(text[kept])
        text = "…" + text[kept:]
        width = columns - room
    return text + " " * (columns - width) if is_padded else text


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def size_text(size: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def _time_text(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _size_of(stream: TextIO) -> tuple[int, int]:
    try:
        columns, rows = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, rows = 80, 24
    return columns or 80, rows or 24
