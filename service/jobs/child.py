"""The process that looks into files: one task after the other, within hard limits, and free to be killed.

An empty line on standard output says that it is ready, its limits set. A task is a line of JSON on standard input,
``{"task", "path", "cpu_s", "size"}``, and ``size`` bytes behind it. The answer is a line of JSON on standard output,
with the ``sizes`` of the pieces of bytes behind it: ``{"result"}``, or ``{"reason"}`` when the file cannot be read or
``is_gone``, or ``{"trouble"}`` when the disk cannot. Behind one that ``is_last`` the process ends. Whatever a file does
to the libraries that read it happens here: it can write no file, take no more memory and time than this, and knows
nothing but the path it was told.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import orjson

MEMORY_BYTES = 512 << 20
MAX_FILES = 64
NICENESS = 10
PR_SET_PDEATHSIG = 1
READY = b"\n"

Result = tuple[dict[str, Any], list[bytes]]


def scan(path: Path, _data: bytes) -> Result:
    """Where the audio lies in the file, and the digest of its frames."""
    from service.audio import frames

    found = frames.scan(path)
    return {"frames_sha256": found.sha256.hex(), "audio_start": found.start, "audio_end": found.end}, []


def describe(path: Path, _data: bytes) -> Result:
    """What the tags say, and the cover in all sizes."""
    from service.audio import tags

    found = tags.read_tags(path)
    document = asdict(found)
    picture = document.pop("picture")
    return _with_cover({"tags": document}, picture)


def render(_path: Path, data: bytes) -> Result:
    """A picture in all sizes."""
    return _with_cover({}, data)


def _with_cover(result: dict[str, Any], picture: bytes | None) -> Result:
    from service.audio import cover

    if picture is None:
        return {**result, "cover": None, "cover_reason": None}, []
    try:
        rendered = cover.render(picture)
    except cover.Unreadable as error:
        return {**result, "cover": None, "cover_reason": str(error)}, []
    about = {
        "digest": rendered.digest.hex(),
        "width": rendered.width,
        "height": rendered.height,
        "sizes": list(rendered.images),
    }
    return {**result, "cover": about, "cover_reason": None}, list(rendered.images.values())


def measure(path: Path, _data: bytes) -> Result:
    """What decoding finds: numbers, the peaks, a fingerprint."""
    from service.audio import decode

    document = asdict(decode.measure(path))
    peaks, fingerprint = document.pop("peaks"), document.pop("fingerprint")
    return document, [peaks, fingerprint or b""]


TASKS: dict[str, Callable[[Path, bytes], Result]] = {each.__name__: each for each in (scan, describe, render, measure)}


def limit_process() -> None:
    """Give up what reading a file does not need. The parent's end is this process's end."""
    os.nice(NICENESS)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_FILES, MAX_FILES))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write is refused, and does not end the process


def limit_time(cpu_s: float) -> None:
    """Let the kernel end this process after so many more seconds of CPU."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + cpu_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


def answer(document: dict[str, Any], pieces: list[bytes], out: BinaryIO) -> None:
    """Write one answer."""
    out.write(orjson.dumps({**document, "sizes": [len(piece) for piece in pieces]}) + b"\n")
    out.writelines(pieces)
    out.flush()


def run(source: BinaryIO, out: BinaryIO) -> None:
    """Say that it is ready, then do tasks until there are no more."""
    out.write(READY)
    out.flush()
    while line := source.readline():
        task = orjson.loads(line)
        data = source.read(task["size"])
        limit_time(task["cpu_s"])
        try:
            result, pieces = TASKS[task["task"]](Path(task["path"]), data)
        except MemoryError:
            answer({"reason": "It takes too much memory to read.", "is_last": True}, [], out)
            return  # what is left of the memory may be in pieces
        except FileNotFoundError:
            answer({"reason": "No such file.", "is_gone": True}, [], out)
        except ImportError:
            raise  # no fault of the file
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                answer({"trouble": error.strerror}, [], out)  # nor is this, and its text has the path
            else:  # the readers' own words
                answer({"reason": str(error) or type(error).__name__}, [], out)
        except Exception as error:
            answer({"reason": f"It cannot be read ({type(error).__name__})."}, [], out)
        else:
            answer({"result": result}, pieces, out)


def main() -> None:
    """Take tasks from standard input; what libraries print goes nowhere."""
    out = os.fdopen(os.dup(1), "wb")
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    limit_process()
    with contextlib.suppress(BrokenPipeError):
        run(sys.stdin.buffer, out)


if __name__ == "__main__":
    main()
