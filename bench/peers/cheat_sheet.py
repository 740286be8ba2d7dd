"""aiohttp as its tutorials use it."""

import sys

from bench.server import Request, Server


class CheatSheet(Server):
    name = "cheat-sheet"
    work = "aiohttp, asyncio, read_chunk() of 8 KiB and a blocking write; checks nothing, no fsync, no login"

    def command(self) -> list[str]:
        return [sys.executable, "-m", "bench.peers.cheat_sheet_app", str(self.port)]

    def environment(self) -> dict[str, str]:
        return {"BENCH_DATA": str(self.data)}

    def form(self) -> Request:
        return Request("POST", "/form", expect=(201,), is_multipart=True)
