"""@tus/server on Node: only measured when somebody has put it there (see bench/README.md)."""

import http.client
import shutil
from pathlib import Path
from typing import ClassVar

from bench.paths import HOME
from bench.server import Request, Server, ServerFailed

MODULES = HOME / "tus" / "node_modules"


class TusNode(Server):
    name = "tus-node"
    work = "@tus/server with its file store; checks nothing, no fsync, no login"
    identity: ClassVar[dict[str, str]] = {}

    def command(self) -> list[str]:
        script = Path(__file__).parent / "tus_server.mjs"
        return ["node", str(script), str(MODULES), str(self.port), str(self.data)]

    def tus_create(self, length: int) -> Request:
        tus = {"Tus-Resumable": "1.0.0"}
        status, headers, answer = self.exchange("POST", "/files", b"", {**tus, "Upload-Length": str(length)})
        if status != http.client.CREATED:
            raise ServerFailed(f"tus creation: {status} {answer[:500]!r}")
        patch = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        return Request("PATCH", headers["location"], expect=(204,), headers=patch)

    @staticmethod
    def is_available() -> bool:
        return shutil.which("node") is not None and (MODULES / "@tus" / "server").is_dir()
