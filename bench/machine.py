"""What the machine itself can do, measured beside the servers: no server that hashes or flushes can do more."""

import hashlib
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from bench.paths import DATA, PROJECT

MB = 1_000_000
_BLOCK = 1 << 20


def sha256_mb_s(size: int) -> float:
    """One core, one thread, from memory."""
    block = os.urandom(_BLOCK)
    digest = hashlib.sha256()
    started = time.perf_counter()
    for _ in range(max(1, size // _BLOCK)):
        digest.update(block)
    return size / MB / (time.perf_counter() - started)


def durable_write_mb_s(size: int) -> float:
    """One file written in blocks of 1 MiB, and one fdatasync at the end."""
    path = DATA / "probe"
    block = os.urandom(_BLOCK)
    started = time.perf_counter()
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    try:
        for _ in range(max(1, size // _BLOCK)):
            os.write(fd, block)
        os.fdatasync(fd)
    finally:
        os.close(fd)
    seconds = time.perf_counter() - started
    path.unlink()
    return size / MB / seconds


def facts() -> dict[str, Any]:
    return {
        "cpu": _first("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory": _first("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "nginx": _output("nginx", "-v").partition("/")[2],
        "commit": _output("git", "-C", str(PROJECT), "rev-parse", "--short", "HEAD"),
        "load_average": os.getloadavg(),
    }


def _first(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip()
    return ""


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()
