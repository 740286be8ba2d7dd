"""Where the benchmark keeps its things: everything under ``.bench/``, which git ignores."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
BENCH = PROJECT / "bench"
HOME = PROJECT / ".bench"
DATA = HOME / "data"  # what the servers store; wiped after every shot
CONTENT = HOME / "content"  # what the clients send
LOGS = HOME / "logs"
RESULTS = HOME / "results"
RECORDINGS = HOME / "recordings"  # real music and speech, if somebody has put some there
LOAD = HOME / "load"  # the compiled load client


def make_all() -> None:
    for directory in (DATA, CONTENT, LOGS, RESULTS):
        directory.mkdir(parents=True, exist_ok=True)
    for log in LOGS.iterdir():
        log.unlink()
