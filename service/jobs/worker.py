"""The service's end of the process that looks into files: starts it, asks it, kills it."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

MAX_ANSWER_BYTES = 16 << 20
MAX_LINE_BYTES = 4 << 20
MAX_REASON = 300  # characters
TASKS_PER_PROCESS = 500
"""Then a new one takes over, so that nothing a file left behind lasts."""

PROGRAM = ("-m", "service.jobs.child")
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "LC_ALL": "C.UTF-8"}


class Unreadable(Exception):
    """The file was looked at and cannot be read; the text says why. It would be so again."""


class OverLimit(Unreadable):
    """The look at the file was ended, since it took too much work."""


class Died(Exception):
    """The process ended by itself or was ended by somebody else, or the disk failed; another try may go better."""


class TooSlow(Died):
    """It took too long without working too much: the machine was busy, or a disk stood still."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that one task may take: of CPU, and in all."""

    cpu_s: float
    wall_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """``result`` has JSON members; ``pieces`` are the bytes that came with them."""

    result: dict[str, Any]
    pieces: list[bytes]


class Worker:
    """One process, started when it is needed. It does one task after the other, whoever asks."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._tasks = 0
        self._turn = asyncio.Lock()
        self._time: asyncio.Timeout | None = None

    @property
    def process_id(self) -> int | None:
        """Of the process that runs now."""
        return self._process.pid if self._process else None

    async def ask(self, task: str, path: Path | None, limits: Limits, data: bytes = b"") -> Answer:
        """Let the process do one task.

        Raises:
            Unreadable: the file cannot be read.
            OverLimit: the task took more CPU than `limits`.
            TooSlow: it took longer.
            Died: the process ended without an answer, or cannot be started.
        """
        async with self._turn:
            return await self._ask(task, path, limits, data)

    async def _ask(self, task: str, path: Path | None, limits: Limits, data: bytes) -> Answer:
        process = await self._start()
        line = orjson.dumps({"task": task, "path": str(path), "cpu_s": limits.cpu_s, "size": len(data)})
        try:
            async with asyncio.timeout(limits.wall_s) as self._time:
                document, pieces = await _exchange(process, line + b"\n" + data)
        except TimeoutError:
            await self.close()
            raise TooSlow(f"It took longer than {limits.wall_s:.0f} s to read.") from None
        except (ConnectionError, EOFError, ValueError) as error:
            raise await self._cause_of_death(limits) from error
        except BaseException:
            await self.close()  # what the process answers now would be taken for the answer to the next task
            raise
        finally:
            self._time = None
        self._tasks += 1
        if self._tasks >= TASKS_PER_PROCESS or document.get("is_last"):
            await self.close()
        if "reason" in document:
            raise Unreadable(_plain(document["reason"]))
        if "trouble" in document:
            raise Died(f"The file cannot be read: {_plain(document['trouble'])}.")
        return Answer(document["result"], pieces)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the process stand still while the context is open. That time does not count."""
        process, task = self._process, self._time
        ends_at, began = task.when() if task else None, time.monotonic()
        self._signal(process, signal.SIGSTOP)
        if task is not None and not task.expired():
            task.reschedule(None)
        try:
            yield
        finally:
            self._signal(process, signal.SIGCONT)
            if task is not None and task is self._time and ends_at is not None and not task.expired():
                task.reschedule(ends_at + time.monotonic() - began)

    @staticmethod
    def _signal(process: Process | None, number: int) -> None:
        if process is not None:
            with suppress(ProcessLookupError):
                process.send_signal(number)

    async def close(self) -> None:
        """End the process, if there is one."""
        process, self._process, self._tasks = self._process, None, 0
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def _start(self) -> Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._tasks = 0
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", *PROGRAM),
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,  # what libraries say of every broken frame belongs in no log
                env=ENVIRONMENT,
                start_new_session=True,  # Ctrl-C is for the service, which lets it finish
                limit=MAX_LINE_BYTES,
            )
        except OSError as error:
            raise Died(
                f"The process that looks into files cannot be started: {os.strerror(error.errno or 0)}."
            ) from error
        return self._process

    async def _cause_of_death(self, limits: Limits) -> Exception:
        process = self._process
        assert process is not None
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 1)
        code = process.returncode
        await self.close()
        if code == -signal.SIGXCPU:
            return OverLimit(f"It took more than {limits.cpu_s:.0f} s of CPU to read.")
        if code is not None and code < 0:
            return Died(f"The process that read it was ended by {_signal_name(-code)}.")
        if code is None:
            return Died("The process that read it answered nonsense.")
        return Died(f"The process that read it ended without an answer (exit code {code}).")


async def _exchange(process: Process, request: bytes) -> tuple[dict[str, Any], list[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(request)
    await process.stdin.drain()
    line = await process.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    document = orjson.loads(line)
    if not isinstance(document, dict) or not document.keys() & {"result", "reason", "trouble"}:
        raise ValueError("That is no answer.")
    sizes = document.pop("sizes", None)
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError("That is no answer.")
    if sum(sizes) > MAX_ANSWER_BYTES:
        raise ValueError("The answer is too long.")
    return document, [await process.stdout.readexactly(size) for size in sizes]


def _plain(text: Any) -> str:
    """Words that come from a file, or who took hold of the process, as a short line."""
    return "".join(each if each.isprintable() else " " for each in str(text)[:MAX_REASON])


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
