"""FastAPI on uvicorn with uvloop and httptools, one worker."""

import sys
from pathlib import Path

from bench.server import UNIQUE, VALUE, Request, Server


class FastApi(Server):
    name = "fastapi"
    work = "uvicorn, uvloop, httptools, one worker; checks nothing, no fsync, no login"

    def __init__(self, database: Path | None = None) -> None:
        super().__init__()
        self.database = database

    def command(self) -> list[str]:
        uvicorn = [sys.executable, "-m", "uvicorn", "bench.peers.fastapi_app:app"]
        listen = ["--host", "127.0.0.1", "--port", str(self.port)]
        return [
            *uvicorn,
            *listen,
            "--loop",
            "uvloop",
            "--http",
            "httptools",
            "--no-access-log",
            "--log-level",
            "warning",
        ]

    def environment(self) -> dict[str, str]:
        return {"BENCH_DATA": str(self.data), "BENCH_DATABASE": str(self.database or "")}

    def put_sync(self) -> Request:
        return Request("PUT", f"/sync/{UNIQUE}.mp3", expect=(201,))

    def put_aiofiles(self) -> Request:
        return Request("PUT", f"/aiofiles/{UNIQUE}.mp3", expect=(201,))

    def form(self) -> Request:
        return Request("POST", "/form", expect=(201,), is_multipart=True)

    def page(self) -> Request:
        return Request("GET", VALUE, expect=(200,))
