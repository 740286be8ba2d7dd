"""Analysis of one long file: by the service's own process for that, and by one ffmpeg command that finds the same.

Both find integrated loudness, true peak, silence, statistics of the samples and a waveform. Ours also reads frames and
tags, decodes to 16 numbers and 32,768 points, and takes a fingerprint where the library is there.
"""

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench import content
from bench.paths import CONTENT
from bench.row import Row, Run, Shot, Side, Target
from service.jobs.worker import Limits, Worker

KIND, BYTES_PER_SECOND = "cbr128", 16_000
TASKS = ("scan", "describe", "measure")  # all that is done for a track
AMPLE = Limits(cpu_s=3600, wall_s=3600)
MB = 1_000_000
KB = 1024

_MEASURES = "ebur128=peak=true:framelog=verbose,silencedetect=n=-60dB:d=0.05,astats"
_WAVEFORM = ["-filter_complex", f"{_MEASURES},showwavespic=s=1800x200", "-frames:v", "1"]
COMMANDS = {
    "ffmpeg": [*_WAVEFORM, CONTENT / "waveform.png"],
    "ffmpeg, no waveform": ["-af", _MEASURES, "-f", "null", "-"],
}


def rows(run: Run) -> list[Row]:
    minutes = 60 if run.big >= 1 << 30 else 10
    title = f"analysis of a file of {minutes} minutes"
    rows = {
        "analyse-cpu": (
            f"{title}, CPU",
            "s",
            "cpu_s",
            {"ffmpeg": Target(1, 0.5), "ffmpeg, no waveform": Target(1, 0.5)},
        ),
        "analyse-memory": (f"{title}, peak memory", "MB", "peak_mb", {"ffmpeg": Target(1, 0.25)}),
    }
    return [
        Row(name, text, unit, partial(_sides, minutes * 60, fact), targets, is_cost=True)
        for name, (text, unit, fact, targets) in rows.items()
    ]


@contextmanager
def _sides(seconds: int, fact: str) -> Iterator[list[Side]]:
    path = _file(seconds)

    def shoot(do: Callable[[], dict[str, Any]]) -> Shot:
        facts = do()
        return Shot(facts[fact], facts)

    yield [
        Side("ours", lambda: shoot(lambda: _ours(path))),
        *(Side(name, partial(shoot, partial(_ffmpeg, path, options))) for name, options in COMMANDS.items()),
    ]


def _file(seconds: int) -> Path:
    what = content.make(KIND, seconds * BYTES_PER_SECOND)
    return what.write_unique(CONTENT / f"analyse-{seconds}.mp3", b"analyse")


def _ours(path: Path) -> dict[str, Any]:
    return asyncio.run(_ask(path))


async def _ask(path: Path) -> dict[str, Any]:
    worker = Worker()
    started = time.perf_counter()
    try:
        for task in TASKS:
            answer = await worker.ask(task, path, AMPLE)
        seconds = time.perf_counter() - started
        process = Path(f"/proc/{worker.process_id}")
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        memory = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
        return {
            "cpu_s": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
            "peak_mb": _kb(memory["VmHWM"]) * KB / MB,
            "peak_virtual_mb": _kb(memory["VmPeak"]) * KB / MB,
            "wall_s": seconds,
            "found": answer.result,
        }
    finally:
        await worker.close()


def _kb(value: str) -> int:
    return int(value.split()[0])


def _ffmpeg(path: Path, options: list[str | Path]) -> dict[str, Any]:
    started = time.perf_counter()
    process = subprocess.Popen(
        ["ffmpeg", "-nostdin", "-nostats", "-hide_banner", "-y", "-i", path, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"ffmpeg failed with {process.returncode}")
    return {
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss * KB / MB,
        "wall_s": time.perf_counter() - started,
    }
