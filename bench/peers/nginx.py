"""nginx: DAV PUT and static files."""

import os
import string
from pathlib import Path

from bench.server import UNIQUE, VALUE, Request, Server


class Nginx(Server):
    name = "nginx"
    work = "DAV PUT (1 MiB buffer, temporary file, rename) and static files; checks nothing, no fsync, no login"

    def command(self) -> list[str]:
        template = string.Template((Path(__file__).parent / "nginx.conf").read_text())
        user = "user root;" if os.geteuid() == 0 else ""
        (self.data / "files").mkdir(exist_ok=True)
        conf = self.data / "nginx.conf"
        conf.write_text(template.substitute(data=self.data, port=self.port, user=user))
        return ["nginx", "-c", str(conf), "-e", "stderr"]

    def put(self) -> Request:
        return Request("PUT", f"/{UNIQUE}.mp3", expect=(201,))

    def download(self, path: str) -> Request:
        return Request("GET", path, expect=(200,))

    def ranges(self, path: str) -> Request:
        return Request("GET", path, expect=(206,), headers={"Range": f"bytes={VALUE}"})
