"""The two clients: the C load client for everything, curl for one big file."""

import json
import random
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.content import MARK, Content
from bench.paths import CONTENT, LOAD
from bench.server import Request, Server

BOUNDARY = "----------------------------bench5f2a9c"
_PART = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="mp3"; filename="{MARK.decode()}.mp3"\r\n'
    "Content-Type: audio/mpeg\r\n\r\n"
).encode()
_END = f"\r\n--{BOUNDARY}--\r\n".encode()


class ClientFailed(Exception):
    """An answer was not the expected one: the row has no figure."""


@dataclass(frozen=True)
class Load:
    """How much of it: at most ``count`` requests, none started after ``seconds``."""

    clients: int = 1
    count: int = 1
    seconds: float = 600
    expect_bytes: int | None = None  # of every answer's body


@dataclass(frozen=True)
class Outcome:
    requests: int
    seconds: float
    bytes_sent: int
    bytes_received: int
    reconnects: int
    client_cpu_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def send(
    server: Server, request: Request, load: Load, content: Content | None = None, values: Sequence[str] = ()
) -> Outcome:
    """Runs the C client against one server."""
    scratch = CONTENT / f"request-{server.name}"
    scratch.mkdir(exist_ok=True)
    prefix, suffix = _around(request, content)
    length = len(prefix) + len(suffix) + (content.frames.stat().st_size if content else 0)
    files = {"head": _head(server, request, length if content else None), "prefix": prefix, "suffix": suffix}
    if values:
        files["values"] = "\n".join(values).encode()
    command = [str(LOAD), "--port", str(server.port), "--expect", ",".join(map(str, request.expect))]
    command += ["--clients", str(load.clients), "--count", str(load.count), "--seconds", str(load.seconds)]
    command += ["--run", f"{random.getrandbits(32):08x}"]
    for name, data in files.items():
        (scratch / name).write_bytes(data)
        command += [f"--{name}", str(scratch / name)]
    if content:
        command += ["--body", str(content.frames)]
    if load.expect_bytes is not None:
        command += ["--expect-bytes", str(load.expect_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClientFailed(f"{server.name}, {request.method} {request.path}: {done.stderr.strip()}")
    return Outcome(**json.loads(done.stdout))


def send_with_curl(server: Server, request: Request, file: Path) -> Outcome:
    unique = f"{random.getrandbits(64):016x}"
    url = f"http://127.0.0.1:{server.port}{request.path.replace(MARK.decode(), unique)}"
    command = ["curl", "--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{json}"]
    for name, value in request.headers.items():
        command += ["--header", f"{name}: {value}"]
    if request.is_multipart:
        command += ["--form", f"mp3=@{file};type=audio/mpeg"]
    else:
        command += ["--upload-file", str(file), "--request", request.method]
    done = subprocess.run([*command, url], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClientFailed(f"{server.name}, curl: {done.stderr.strip()}")
    told = json.loads(done.stdout)
    if told["http_code"] not in request.expect:
        raise ClientFailed(f"{server.name}, curl: status {told['http_code']}\n{server.log_tail()}")
    seconds = told["time_total"]
    ms = seconds * 1000
    return Outcome(1, seconds, told["size_upload"], told["size_download"], 0, 0.0, ms, ms, ms, ms)


def _head(server: Server, request: Request, length: int | None) -> bytes:
    headers = {"Host": f"127.0.0.1:{server.port}", "Accept": "*/*", **request.headers}
    if request.is_multipart:
        headers["Content-Type"] = f"multipart/form-data; boundary={BOUNDARY}"
    if length is not None:
        headers["Content-Length"] = str(length)
    lines = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def _around(request: Request, content: Content | None) -> tuple[bytes, bytes]:
    """What comes before the shared frames and after them."""
    if content is None:
        return b"", b""
    if not request.is_multipart:
        return content.tag, b""
    return _PART + content.tag, _END
