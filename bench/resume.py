"""What it costs to go on with a big unfinished upload: HEAD for the offset, PATCH of 1 MiB more, not the last.

Three rows: the process that took the bytes still runs; it was started again, the file still in memory; started again,
and the file has to come from the disk. Less is better. The time of the start itself is beside the figures, not in them.
"""

import http.client
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench import content
from bench.client import ClientFailed, Load, send
from bench.machine import MB, sha256_mb_s
from bench.ours import Ours
from bench.peers.tus_node import TusNode
from bench.row import Row, Run, Shot, Side
from bench.server import Server

STEP = 1 << 20
WARM = 20  # times a shot: one alone is below the clock tick of CPU times


def rows(run: Run) -> list[Row]:
    big = f"{run.big >> 20:,} MiB"
    return [
        _row(run, "resume-warm", f"going on after {big}", _shoot_warm),
        _row(run, "resume-restart", f"the same after a restart, {big}", _shoot_restart),
        _row(run, "resume-cold", "the same, file not in memory", partial(_shoot_restart, is_cold=True)),
    ]


class Unfinished:
    """An upload with room for more, and the client that goes on with it."""

    def __init__(self, server: Ours | TusNode, run: Run) -> None:
        self.server = server
        there = content.make(run.kind, run.big)
        self._more = content.make(run.kind, STEP).frames.read_bytes()  # whole frames, a few bytes short of STEP
        length = run.big + (run.rounds * WARM + 1) * STEP
        request = server.tus_create(length)
        self._path = request.path
        send(server, request, Load(), there)
        self.offset = run.big

    def go_on(self) -> tuple[float, float]:
        """HEAD and PATCH over one new connection; what each took, in ms."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)
        tus = {**self.server.identity, "Tus-Resumable": "1.0.0"}
        patch = {**tus, "Upload-Offset": str(self.offset), "Content-Type": "application/offset+octet-stream"}
        try:
            started = time.perf_counter()
            self._call(connection, "HEAD", tus, None)
            between = time.perf_counter()
            self.offset += len(self._more)
            self._call(connection, "PATCH", patch, self._more)
            return (between - started) * 1000, (time.perf_counter() - between) * 1000
        finally:
            connection.close()

    def _call(
        self, connection: http.client.HTTPConnection, method: str, headers: dict[str, str], body: bytes | None
    ) -> None:
        connection.request(method, self._path, body, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status not in (200, 204) or response.headers["Upload-Offset"] != str(self.offset):
            told = response.headers["Upload-Offset"]
            raise ClientFailed(
                f"{self.server.name}, {method}: {response.status}, offset {told}, not {self.offset}: {answer[:500]!r}"
            )


def _row(run: Run, name: str, title: str, shoot: Callable[[Unfinished], Shot]) -> Row:
    @contextmanager
    def sides() -> Iterator[list[Side]]:
        with ExitStack() as stack:
            servers: list[Ours | TusNode] = [Ours(run.settings)]
            if TusNode.is_available():
                servers.append(TusNode())
            answer = []
            for server in servers:
                stack.enter_context(server)
                upload = Unfinished(server, run)
                label = "ours" if isinstance(server, Ours) else "@tus/server"
                answer.append(Side(label, partial(shoot, upload)))
            if shoot is not _shoot_warm:
                answer.append(Side("SHA-256 alone", lambda: Shot(run.big / MB / sha256_mb_s(run.big) * 1000)))
            yield answer

    also = ("head_ms", "patch_ms", "server_cpu_ms")
    return Row(name, title, "ms", sides, is_cost=True, also=also)


def _shoot_warm(upload: Unfinished) -> Shot:
    upload.go_on()
    return _shoot(upload, WARM - 1)


def _shoot_restart(upload: Unfinished, is_cold: bool = False) -> Shot:
    server = upload.server
    server.stop()
    os.sync()
    if is_cold:
        _evict(server.data)
    started = time.perf_counter()
    server.start()
    start_s = time.perf_counter() - started
    shot = _shoot(upload, 1)
    return Shot(shot.value, {**shot.facts, "start_s": round(start_s, 2)})


def _shoot(upload: Unfinished, times: int) -> Shot:
    server: Server = upload.server
    server.settle()
    os.sync()
    cpu_before = server.cpu_s()
    heads, patches = zip(*(upload.go_on() for _ in range(times)), strict=True)
    time.sleep(0.1)  # what it does after the answer counts, too
    facts = {
        "head_ms": statistics.median(heads),
        "patch_ms": statistics.median(patches),
        "server_cpu_ms": (server.cpu_s() - cpu_before) * 1000 / times,
    }
    return Shot(statistics.median(map(sum, zip(heads, patches, strict=True))), facts)


def _evict(directory: Path) -> None:
    """Has the kernel forget the files' pages; they are clean already."""
    for path in directory.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)
