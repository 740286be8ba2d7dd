"""The real process on a free port, with a data directory of its own, and curl as its client."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

PASSWORD = "correct horse battery"
ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 30
DEFAULTS = {
    "ADMIN_PASSWORD": PASSWORD,
    "ARGON2_MEMORY_KIB": "8192",
    "FREE_SPACE_RESERVE_BYTES": "0",
    "LOGIN_ATTEMPTS_PER_MINUTE": "10000",
    "LOG_FORMAT": "json",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What curl saw: the last response, and how much of the request body it had sent."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes
    sent_bytes: int
    exit_code: int
    stderr: str  # all heads, interim ones too, and what curl complained about

    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """``python -m service serve`` in a process of its own; it keeps its port and its data when it starts again.

    Settings are given by their names without ``YARRR_``: ``Server(directory, max_upload_bytes=1000)``.
    """

    def __init__(
        self, directory: Path, *, data_dir: Path | None = None, command: tuple[str, ...] = (), **settings: Any
    ):
        self.directory = directory
        self.data_dir = data_dir or directory / "data"
        self.log_path = directory / "server.log"
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.settings = {name.upper(): str(value) for name, value in settings.items()}
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self._token: str | None = None

    def start(self, *, wait: bool = True) -> "Server":
        """Start the process; with `wait`, until it says that it is ready."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("YARRR_")}
        settings = {**DEFAULTS, "DATA_DIR": self.data_dir, "PORT": self.port, **self.settings}
        environment |= {f"YARRR_{name}": str(value) for name, value in settings.items()}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.command, sys.executable, "-m", "service", "serve"],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when /readyz answers 200."""
        assert self.process is not None
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log}")
            with suppress(URLError, OSError), urlopen(f"{self.base_url}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"the server is not ready:\n{self.log}")

    def kill(self) -> None:
        """SIGKILL: no goodbye."""
        self._end(signal.SIGKILL)

    def terminate(self, timeout_s: float = 40) -> int:
        """SIGTERM, and wait; the exit code."""
        return self._end(signal.SIGTERM, timeout_s)

    def signal(self, number: int) -> None:
        """Send a signal, and do not wait."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 40) -> int:
        """Wait for the end of the process; its exit code."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    def restart(self, *, kill: bool = False) -> None:
        """End the process, one way or the other, and start it again on the same port and data."""
        self.kill() if kill else self.terminate()
        self.start()

    def stop(self) -> None:
        """See that nothing runs any more."""
        if self.process is None or self.process.poll() is not None:
            return
        try:
            self.terminate(15)
        except subprocess.TimeoutExpired:
            self.kill()

    def _end(self, number: int, timeout_s: float = 40) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)

    @property
    def log(self) -> str:
        """Everything the process has written so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def database_path(self) -> Path:
        return self.data_dir / "catalogue.db"

    @property
    def token(self) -> str:
        """The token of a session of the user admin; it outlives a restart."""
        if self._token is None:
            self._token = self.log_in()
        return self._token

    @property
    def auth(self) -> dict[str, str]:
        """A header field that makes a request the administrator's."""
        return {"Authorization": f"Bearer {self.token}"}

    def log_in(self, username: str = "admin", password: str = PASSWORD) -> str:
        """A new session's token."""
        body = json.dumps({"username": username, "password": password}).encode()
        request = Request(f"{self.base_url}/login", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as answer:
            return json.load(answer)["token"]

    def curl(
        self,
        path: str,
        *arguments: str | Path,
        authenticated: bool = True,
        input: bytes | None = None,  # noqa: A002 - as in subprocess
        timeout_s: float = 60,
    ) -> Answer:
        """Run curl on a path of the server and give its answer; the exit code is not checked."""
        token = ["-H", f"Authorization: Bearer {self.token}"] if authenticated else []
        done = subprocess.run(
            [
                "curl",
                "-sS",
                "-D",
                "/dev/fd/2",
                "-w",
                "%{stderr}\n%{json}",
                *token,
                *arguments,
                f"{self.base_url}{path}",
            ],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
        text = done.stderr.decode(errors="replace")
        *heads, facts_text = text.rsplit("\n", 1)
        facts = json.loads(facts_text[facts_text.index("{") :])
        return Answer(
            status=facts["response_code"],
            headers=_last_head("\n".join(heads)),
            body=done.stdout,
            sent_bytes=facts["size_upload"],
            exit_code=done.returncode,
            stderr=text,
        )

    def get_json(self, path: str) -> Any:
        """The JSON at a path, as the administrator."""
        with urlopen(Request(f"{self.base_url}{path}", headers=self.auth), timeout=10) as answer:
            return json.load(answer)


def _last_head(text: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in text.replace("\r", "").split("\n"):
        if line.startswith("HTTP/"):
            headers = {}
        elif ": " in line:
            name, value = line.split(": ", 1)
            headers[name.lower()] = value
    return headers


def free_port() -> int:
    """A port nobody listens on, outside of the range that outgoing connections take theirs from."""
    while True:
        port = SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A function that starts servers with given settings; they end with the test. ``wait=False`` only starts."""
    servers: list[Server] = []

    def make(*, wait: bool = True, start: bool = True, **options: Any) -> Server:
        directory = tmp_path / f"server{len(servers)}"
        directory.mkdir()
        server = Server(directory, **options)
        servers.append(server)
        return server.start(wait=wait) if start else server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests of a file. Whatever they do to it, no traceback may be in its log at the end."""
    server = Server(tmp_path_factory.mktemp("server")).start()
    yield server
    server.stop()
    assert "Traceback" not in server.log, server.log
