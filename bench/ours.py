"""The service itself, started as a user would start it, with the limits raised that would end a benchmark."""

import http.client
import json
import sys

from bench.server import UNIQUE, VALUE, Request, Server, ServerFailed

PASSWORD = "bench-only-password"
RAISED = {
    "YARRR_MAX_RUNNING_UPLOADS_PER_USER": "1000",
    "YARRR_MAX_RUNNING_UPLOADS": "1000",
    "YARRR_MAX_OPEN_UPLOADS_PER_USER": "1000",
    "YARRR_QUOTA_BYTES": str(1 << 40),
    "YARRR_QUOTA_TRACKS": "10000000",
    "YARRR_MAX_UPLOAD_BYTES": str(1 << 33),
}


class Ours(Server):
    name = "ours"
    work = "login by token, digest, frames, fsync, commit, request log, metrics"

    def __init__(self, settings: dict[str, str] | None = None, name: str = name) -> None:
        self.name = name
        super().__init__()
        self.settings = settings or {}
        self.token = ""

    def command(self) -> list[str]:
        return [sys.executable, "-m", "service", "serve"]

    def environment(self) -> dict[str, str]:
        return {
            "YARRR_DATA_DIR": str(self.data),
            "YARRR_HOST": "127.0.0.1",
            "YARRR_PORT": str(self.port),
            "YARRR_ADMIN_PASSWORD": PASSWORD,
            **RAISED,
            **self.settings,
        }

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz")[0] == http.client.OK
        except OSError:
            return False

    def on_ready(self) -> None:
        form = json.dumps({"username": "admin", "password": PASSWORD}).encode()
        status, answer = self.call("POST", "/login", form, {"Content-Type": "application/json"})
        if status != http.client.OK:
            raise ServerFailed(f"login: {status} {answer[:500]!r}")
        self.token = json.loads(answer)["token"]

    @property
    def identity(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def put(self) -> Request:
        headers = {**self.identity, "Content-Type": "audio/mpeg"}
        return Request("PUT", f"/spool/{UNIQUE}.mp3", expect=(201,), headers=headers)

    def form(self) -> Request:
        return Request("POST", "/tracks", expect=(201,), headers=self.identity, is_multipart=True)

    def tus_create(self, length: int) -> Request:
        """Creates one upload; the PATCH that carries its bytes."""
        tus = {**self.identity, "Tus-Resumable": "1.0.0"}
        headers = {**tus, "Upload-Length": str(length), "Upload-Metadata": "filename YmVuY2gubXAz"}
        status, answer_headers, answer = self.exchange("POST", "/uploads", b"", headers)
        if status != http.client.CREATED:
            raise ServerFailed(f"tus creation: {status} {answer[:500]!r}")
        patch = {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
        return Request("PATCH", answer_headers["location"], expect=(204, 200), headers=patch)

    def download(self, path: str) -> Request:
        return Request("GET", path, expect=(200,), headers=self.identity)

    def ranges(self, path: str) -> Request:
        return Request("GET", path, expect=(206,), headers={**self.identity, "Range": f"bytes={VALUE}"})

    def page(self) -> Request:
        return Request("GET", VALUE, expect=(200,), headers=self.identity)

    def max_lag_s(self) -> float | None:
        """The longest the event loop was blocked since the start, when the service tells."""
        return self.metric("yarrr_event_loop_lag_seconds")

    def metric(self, name: str) -> float | None:
        """The largest value of all lines of that name, when the service tells."""
        status, answer = self.get("/metrics", self.identity)
        if status != http.client.OK:
            return None
        lines = (line for line in answer.decode().splitlines() if line.startswith(name))
        return max((float(line.rpartition(" ")[2]) for line in lines), default=None)
