"""The programs that must be there already, and the load client, which is compiled when its source is newer."""

import importlib.util
import shutil
import subprocess

from bench.paths import BENCH, LOAD

PROGRAMS = {"nginx": "nginx-light", "curl": "curl", "gcc": "gcc libc6-dev", "lame": "lame", "ffmpeg": "ffmpeg"}
MODULES = {"fastapi": "fastapi", "uvicorn": "uvicorn[standard]", "python_multipart": "python-multipart"}


class Missing(Exception):
    """Something the benchmark needs is not installed; the text says what, and how to get it."""


def require() -> None:
    programs = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    modules = [package for module, package in MODULES.items() if not importlib.util.find_spec(module)]
    hints = []
    if programs:
        hints.append(f"Debian packages are missing: apt-get install --no-install-recommends {' '.join(programs)}")
    if modules:
        hints.append(f"Python packages are missing ({', '.join(modules)}): pip install --group bench")
    if hints:
        raise Missing("\n".join(hints))


def build_load_client() -> None:
    source = BENCH / "load.c"
    if LOAD.exists() and LOAD.stat().st_mtime >= source.stat().st_mtime:
        return
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-std=c11", "-o", LOAD, source], check=True)
