"""A backup that is taken while clients upload and delete, and that is served afterwards."""

import json
import os
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.e2e.conftest import ROOT, Server

pytestmark = pytest.mark.e2e

ROUNDS = 3


class Uploader(threading.Thread):
    """Uploads files with bytes of their own, one after another, and deletes every fourth; notes what it was told."""

    def __init__(self, server: Server, content: bytes) -> None:
        super().__init__(daemon=True)
        self.server, self.content = server, content
        self.receipts: dict[str, str] = {}
        self.deleted: list[str] = []
        self.is_over = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.is_over.is_set():
            tag = b"TXXX\0\0\0\x0a\0\0\0%09d" % number
            body = b"ID3\x04\0\0\0\0\0\x14" + tag + self.content
            track_id = self.request("PUT", f"/spool/{number}.mp3", body)["id"]
            self.receipts[track_id] = sha256(body).hexdigest()
            if number % 4 == 3:
                self.request("DELETE", f"/tracks/{track_id}")
                self.deleted.append(track_id)
            number += 1

    def request(self, method: str, path: str, body: bytes | None = None) -> dict:
        headers = {"Authorization": f"Bearer {self.server.token}", "If-Match": "*"}
        request = Request(self.server.base_url + path, data=body, method=method, headers=headers)
        with urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"{}")


def yarrr(*arguments: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "YARRR_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-m", "service", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


def test_a_backup_beside_a_busy_service_restores(make_server, content_of, tmp_path):
    server = make_server(trash_days=0)
    target = tmp_path / "backup"
    uploader = Uploader(server, content_of("jingle"))
    uploader.start()
    for _ in range(ROUNDS):
        before = dict(uploader.receipts)
        made = yarrr("backup", str(target), "--json", data_dir=server.data_dir)
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["blobs"] > 0 or not before
        checked = yarrr("fsck", str(target), data_dir=server.data_dir)
        assert (checked.returncode, checked.stdout) == (0, "")
        checked = yarrr("fsck", data_dir=server.data_dir)
        assert (checked.returncode, checked.stdout) == (0, ""), "beside the service, too"
    uploader.is_over.set()
    uploader.join(30)
    assert len(before) > 20

    busy = make_server(data_dir=target)
    refused = yarrr("backup", str(target), data_dir=server.data_dir)
    assert refused.returncode == 1
    assert "is in use" in refused.stderr
    for track_id in before.keys() - set(uploader.deleted):
        request = Request(f"{busy.base_url}/tracks/{track_id}/audio", headers={"Authorization": f"Bearer {busy.token}"})
        with urlopen(request, timeout=30) as answer:
            assert sha256(answer.read()).hexdigest() == before[track_id]
