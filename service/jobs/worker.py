"""The service's end of the process that looks into files: starts it, asks it, kills it."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from service.jobs.child import READY

MAX_ANSWER_BYTES = 16 << 20
MAX_LINE_BYTES = 4 << 20
MAX_REASON = 300  # characters
TASKS_PER_PROCESS = 500
"""Then a new one takes over, so that nothing a file left behind lasts."""

PROGRAM = ("-m", "service.jobs.child")
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "LC_ALL": "C.UTF-8"}


class Unreadable(Exception):
    """The file was looked at and cannot be read; the text says why. It would be so again."""


class Gone(Unreadable):
    """There is no such file, which says nothing about what was in it."""


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
        self._is_ready = False
        self._is_paused = False
        self._time: asyncio.Timeout | None = None  # of the task that runs
        self._left_s = 0.0  # of that, while it stands still

    @property
    def process_id(self) -> int | None:
        """Of the process that runs now."""
        return self._process.pid if self._process else None

    async def ask(self, task: str, path: Path | None, limits: Limits, data: bytes = b"") -> Answer:
        """Let the process do one task.

        Raises:
            Unreadable: the file cannot be read.
            Gone: it is not there.
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
            async with self._timed(limits.wall_s):
                await self._get_ready(process)
                document, pieces = await _exchange(process, line + b"\n" + data)
        except TimeoutError:
            await self.close()
            raise TooSlow(f"It took longer than {limits.wall_s:.0f} s to read.") from None
        except (ConnectionError, EOFError, ValueError) as error:
            raise await self._cause_of_death(limits) from error
        except BaseException:
            await self.close()  # what the process answers now would be taken for the answer to the next task
            raise
        self._tasks += 1
        if self._tasks >= TASKS_PER_PROCESS or document.get("is_last"):
            await self.close()
        if "reason" in document:
            raise (Gone if document.get("is_gone") else Unreadable)(_plain(document["reason"]))
        if "trouble" in document:
            raise Died(f"The file cannot be read: {_plain(document['trouble'])}.")
        return Answer(document["result"], pieces)

    @asynccontextmanager
    async def _timed(self, wall_s: float) -> AsyncIterator[None]:
        self._left_s = wall_s
        async with asyncio.timeout(None if self._is_paused else wall_s) as time:
            self._time = time
            try:
                yield
            finally:
                self._time = None

    async def _get_ready(self, process: Process) -> None:
        """Only a process that dies with the service may be stopped: another one would stay for ever."""
        if not self._is_ready:
            assert process.stdout is not None
            if await process.stdout.readline() != READY:
                raise EOFError
            self._is_ready = True
            if self._is_paused:
                self._signal(signal.SIGSTOP)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the process stand still while the context is open. That time does not count. One context at a time."""
        loop = asyncio.get_running_loop()
        self._is_paused = True
        try:
            self._signal(signal.SIGSTOP)
            if self._time is not None and (ends_at := self._time.when()) is not None and not self._time.expired():
                self._left_s = ends_at - loop.time()
                self._time.reschedule(None)
            yield
        finally:
            self._is_paused = False
            self._signal(signal.SIGCONT)
            if self._time is not None and self._time.when() is None:
                self._time.reschedule(loop.time() + self._left_s)

    def _signal(self, number: int) -> None:
        if self._process is not None and self._is_ready:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def close(self) -> None:
        """End the process, if there is one."""
        process, self._process, self._tasks, self._is_ready = self._process, None, 0, False
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def _start(self) -> Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        self._tasks, self._is_ready = 0, False
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
