"""A server under test: started on a free port of 127.0.0.1 in its own process group, watched through /proc, stopped."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench.content import MARK
from bench.paths import DATA, LOGS, PROJECT

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
UNIQUE = MARK.decode()  # in a path or header: becomes the request's own 16 hex digits
VALUE = "@@VALUE@@"  # the same for the next of a list of values
_TICKS = os.sysconf("SC_CLK_TCK")


class ServerFailed(Exception):
    """It did not start, or died; the text holds the end of its log."""


@dataclass(frozen=True)
class Request:
    """What a client sends to one server; the content is added by the client."""

    method: str
    path: str
    expect: tuple[int, ...]
    headers: dict[str, str] = field(default_factory=dict)
    is_multipart: bool = False


class Server:
    name: str
    work: str  # what it does besides moving bytes, for the report

    def __init__(self) -> None:
        self.data = DATA / self.name
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    # -- what a peer defines

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {}

    def is_ready(self) -> bool:
        """Any HTTP answer will do."""
        try:
            self.get("/")
        except OSError:
            return False
        return True

    def on_ready(self) -> None:
        """Once, after the start: a login, say."""

    # -- its life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.wipe()

    def start(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        self.port = _free_port()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=PROJECT,
                env={**os.environ, **self.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
            self.on_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            print(f"  {self.name} did not stop in {STOP_TIMEOUT_S} s and was killed")
        _kill_group(process.pid)
        process.wait()

    def wipe(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.is_ready():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed(
                    f"{self.name} did not start; the end of {self.log.relative_to(PROJECT)}:\n{self.log_tail()}"
                )
            time.sleep(0.02)

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"

    def log_tail(self, size: int = 600) -> str:
        text = self.log.read_bytes() if self.log.exists() else b""
        return text[-size:].decode(errors="replace")

    # -- talking to it outside of the measurement

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        return self.call("GET", path, None, headers or {})

    def call(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        status, _, answer = self.exchange(method, path, body, headers)
        return status, answer

    def exchange(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    # -- what it costs

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerFailed(f"{self.name} is not running")
        return self._process.pid

    def pids(self) -> list[int]:
        """The whole process group."""
        return [pid for pid, group in _process_groups() if group == self.pid]

    def cpu_s(self) -> float:
        """User and system time of the group, with the children that are gone already."""
        total = 0
        for pid in self.pids():
            fields = _stat(pid)
            total += sum(int(n) for n in fields[11:15])
        return total / _TICKS

    def settle(self, timeout_s: float = 60) -> None:
        """Waits until it does nothing any more: later work of one shot must not slow the next."""
        deadline = time.monotonic() + timeout_s
        before = self.cpu_s()
        while time.monotonic() < deadline:
            time.sleep(0.3)
            after = self.cpu_s()
            if after - before < 0.03:
                return
            before = after


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, or none when it is gone: state, parent, group, …"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _process_groups() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            yield int(entry.name), int(fields[2])
