"""Clients of the IETF draft that nobody here wrote, against the real process, over a network that breaks."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from tests import corpus
from tests.e2e.cutting import CuttingProxy

pytestmark = pytest.mark.e2e

CLIENTS = Path(__file__).parent / "clients"
SIZE = 5_000_000
CUTS = 20
PROTOCOLS = ["ietf-draft-05", "ietf-draft-03"]  # interop versions 6 and 5


@pytest.fixture(scope="module")
def big(corpus_dir):
    return corpus.big(corpus_dir, SIZE)


def tus_js(server, port, path, **options):
    """Upload with tus-js-client; what happened, one event a request."""
    if not (CLIENTS / "node_modules").exists():
        pytest.skip("the clients are not installed: scripts/setup test")
    # It has metadata for tus only; the name comes as any request can tell it.
    headers = {**server.auth, "Content-Disposition": f'inline; filename="{path.name}"'}
    endpoint = f"http://127.0.0.1:{port}/tracks"
    task = {"endpoint": endpoint, "path": str(path), "headers": headers, "options": options}
    done = subprocess.run(
        ["node", "tus.mjs", json.dumps(task)], cwd=CLIENTS, capture_output=True, text=True, timeout=100, check=False
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events, done.stderr
    assert events[-1]["event"] == "success", events[-1]
    return events


def newest(server):
    return server.get_json("/tracks?sort=-created_at&limit=1")["items"][0]


def count(server):
    return server.get_json("/tracks?limit=1&count=exact")["count"]


def check_track(server, path, before):
    """There is one track more, with the bytes of the file, and nothing unfinished."""
    assert count(server) == before + 1
    assert server.get_json("/uploads")["items"] == []
    track = newest(server)
    assert track["filename"] == path.name
    assert server.curl(track["url"]).body == path.read_bytes()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunkSize": 1_000_000},
        {"chunkSize": 1_000_000, "overridePatchMethod": True},
        {"uploadDataDuringCreation": True},
        {"uploadDataDuringCreation": True, "chunkSize": 1_000_000},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_tus_js_client_speaks_the_draft(server, big, protocol, options):
    before = count(server)
    tus_js(server, server.port, big, protocol=protocol, **options)
    check_track(server, big, before)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tus_js_client_gets_through_20_cuts(server, big, protocol):
    before = count(server)
    with CuttingProxy(server.port, cuts=CUTS, after=120_000) as proxy:
        events = tus_js(server, proxy.port, big, protocol=protocol)
        assert proxy.done == CUTS
    assert {event["method"] for event in events if event["event"] == "answer"} == {"POST", "HEAD", "PATCH"}
    check_track(server, big, before)


def test_curl_passes_over_interim_answers(server, big):
    """Slow enough for progress, too."""
    fields = ("-H", "Upload-Complete: ?1", "-H", "Upload-Draft-Interop-Version: 8")
    answer = server.curl("/spool/curl.mp3", "-T", big, "--limit-rate", "2M", *fields)
    assert (answer.status, answer.headers["upload-complete"]) == (201, "?1")
    assert answer.json()["sha256"] == hashlib.sha256(big.read_bytes()).hexdigest()
    heads = [head for head in answer.stderr.replace("\r", "").split("HTTP/1.1 ") if head.startswith("104 ")]
    assert "location: /uploads/" in heads[0].lower()
    assert len(heads) > 1
    assert all("upload-offset: " in head.lower() for head in heads[1:])


def test_curl_finishes_by_append_what_it_began(server, path_of, tmp_path):
    content = path_of("vbr").read_bytes()
    (tmp_path / "first").write_bytes(content[:60_000])
    (tmp_path / "rest").write_bytes(content[60_000:])
    kind = ("-H", "Content-Type: audio/mpeg")
    begun = server.curl("/tracks", "--data-binary", f"@{tmp_path}/first", "-H", "Upload-Complete: ?0", *kind)
    assert begun.status == 201
    assert begun.json()["offset"] == 60_000
    kind = ("-H", "Content-Type: application/partial-upload")
    fields = ("-H", "Upload-Complete: ?1", "-H", f"Upload-Offset: {begun.headers['upload-offset']}", *kind)
    answer = server.curl(begun.headers["location"], "-X", "PATCH", "--data-binary", f"@{tmp_path}/rest", *fields)
    assert answer.status == 201
    assert answer.json()["sha256"] == hashlib.sha256(content).hexdigest()
