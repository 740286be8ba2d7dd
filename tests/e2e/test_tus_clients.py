"""tus clients that nobody here wrote, against the real process, over a network that breaks."""

import hashlib
import json
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.async_api import async_playwright
from tusclient import client as tuspy

from tests import corpus
from tests.e2e.conftest import Server, free_port
from tests.e2e.cutting import CuttingProxy

pytestmark = pytest.mark.e2e

CLIENTS = Path(__file__).parent / "clients"
CHROMIUM = Path("/usr/bin/chromium")
SIZE = 5_000_000
CUTS = 20
AFTER = 120_000  # bytes; so the cuts come long before the end


@pytest.fixture(scope="module", autouse=True)
def installed():
    if not (CLIENTS / "node_modules").exists():
        pytest.skip("the clients are not installed: scripts/setup test")


@pytest.fixture(scope="module")
def big(corpus_dir):
    return corpus.big(corpus_dir, SIZE)


@pytest.fixture
def cutting(server):
    """A proxy in front of the server that cuts 20 times."""
    with CuttingProxy(server.port, cuts=CUTS, after=AFTER) as proxy:
        yield proxy


def check_whole(server, location, path):
    """The upload of this URL has become one track with the bytes of the file, and nothing else is left of it."""
    upload = server.get_json(f"/uploads/{location.rsplit('/', 1)[1]}")
    assert upload["state"] == "finished"
    answer = server.curl(upload["track"]["url"])
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(path.read_bytes()).digest()
    assert len(server.get_json("/tracks?limit=500")["items"]) == len(list((server.data_dir / "marks").iterdir())) + 1
    (server.data_dir / "marks" / upload["track"]["id"]).touch()
    assert list((server.data_dir / "spool").iterdir()) == []
    return upload["track"]


@pytest.fixture(autouse=True)
def marks(server):
    """Counts the tracks there are, a file each."""
    directory = server.data_dir / "marks"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for track in server.get_json("/tracks?limit=500")["items"]:
        (directory / track["id"]).touch()


# tus-js-client


def run_tus_js(server, port, path, *, stream=False, **options):
    """What happened, as tests/e2e/clients/tus.mjs says it."""
    task = {
        "endpoint": f"http://127.0.0.1:{port}/uploads",
        "path": str(path),
        "headers": server.auth,
        "stream": stream,
        "options": options,
    }
    done = subprocess.run(
        ["node", "tus.mjs", json.dumps(task)], cwd=CLIENTS, capture_output=True, text=True, timeout=100, check=False
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events, done.stderr
    assert all(event["tus"] == "1.0.0" for event in events if event["event"] == "answer")
    return events


def succeeded(events):
    assert events[-1]["event"] == "success", events[-1]
    return events[-1]


def test_tus_js_client_uploads(server, big):
    events = run_tus_js(server, server.port, big, metadata={"filename": "Für Elise.mp3", "title": "日本"})
    track = check_whole(server, succeeded(events)["url"], big)
    assert (track["filename"], track["title"]) == ("Für Elise.mp3", "日本")
    assert events[-2]["track"] == f"/tracks/{track['id']}"


@pytest.mark.parametrize(
    "options",
    [
        {"chunkSize": 1_000_000},
        {"chunkSize": 1_000_000, "overridePatchMethod": True},
        {"uploadDataDuringCreation": True},
        {"uploadDataDuringCreation": True, "chunkSize": 1_000_000},
        {"parallelUploads": 3},
        {"parallelUploads": 4, "chunkSize": 500_000},
        {"addRequestId": True},
    ],
    ids=lambda options: " ".join(options),
)
def test_tus_js_client_uploads_in_every_way_it_knows(server, big, options):
    check_whole(server, succeeded(run_tus_js(server, server.port, big, **options))["url"], big)


def test_tus_js_client_tells_the_length_at_the_end(server, path_of):
    path = path_of("cbr320")
    check_whole(server, succeeded(run_tus_js(server, server.port, path, stream=True))["url"], path)


@pytest.mark.parametrize(
    "options",
    [{}, {"chunkSize": 400_000}, {"overridePatchMethod": True}, {"parallelUploads": 3}],
    ids=lambda options: " ".join(options) or "plain",
)
def test_tus_js_client_survives_twenty_cuts(server, cutting, big, options):
    event = succeeded(run_tus_js(server, cutting.port, big, **options))
    assert cutting.done == CUTS
    assert len(event["failures"]) >= CUTS
    check_whole(server, event["url"].replace(str(cutting.port), str(server.port)), big)


def test_tus_js_client_is_told_what_is_no_mp3_and_stops(server, tmp_path):
    path = tmp_path / "notes.mp3"
    path.write_bytes(b"These are words and no frames. " * 100_000)
    events = run_tus_js(server, server.port, path)
    assert (events[-1]["event"], events[-1]["status"]) == ("error", 415)
    assert events[-1]["failures"] == [415]
    assert server.get_json("/uploads")["items"] == []


# Uppy


PAGE = '<!doctype html><title>A page</title><script src="uppy.js"></script>'


class Page(SimpleHTTPRequestHandler):
    """The server of the page, an origin of its own."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory, big):
    """The origin of a page with Uppy on it."""
    directory = tmp_path_factory.mktemp("site")
    esbuild = CLIENTS / "node_modules" / ".bin" / "esbuild"
    command = [
        esbuild,
        "uppy.mjs",
        "--bundle",
        "--format=iife",
        f"--outfile={directory / 'uppy.js'}",
        "--log-level=error",
    ]
    subprocess.run(command, cwd=CLIENTS, check=True)
    (directory / "index.html").write_text(PAGE)
    (directory / "favicon.ico").touch()
    shutil.copy(big, directory / "song.mp3")
    server = ThreadingHTTPServer(("127.0.0.1", free_port()), partial(Page, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory, site):
    """One server for this file; the page with Uppy may call it."""
    server = Server(tmp_path_factory.mktemp("server"), cors_origins=site).start()
    yield server
    server.stop()
    assert "Traceback" not in server.log, server.log


async def run_uppy(site, endpoint, headers, **options):
    """What came of an upload from the page of `site` in Chromium, and what the browser complained about."""
    if not CHROMIUM.exists():
        pytest.skip("chromium is not installed")
    complaints = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await browser.new_page()
        page.set_default_timeout(90_000)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        await page.goto(site)
        task = {
            "endpoint": endpoint,
            "headers": headers,
            "source": "song.mp3",
            "name": "Für Elise.mp3",
            "options": options,
        }
        result = await page.evaluate("task => window.upload(task)", task)
        await browser.close()
    return result, complaints


@pytest.mark.parametrize("options", [{}, {"chunkSize": 1_000_000}, {"parallelUploads": 3}], ids=str)
async def test_uppy_uploads_from_a_page_of_another_origin(server, site, big, options):
    result, complaints = await run_uppy(site, f"{server.base_url}/uploads", server.auth, **options)
    assert (result["failed"], complaints) == ([], [])
    (location,) = result["successful"]
    track = check_whole(server, location, big)
    if "parallelUploads" not in options:
        assert track["filename"] == "Für Elise.mp3"


async def test_uppy_survives_twenty_cuts(server, site, cutting, big):
    result, _ = await run_uppy(site, f"http://127.0.0.1:{cutting.port}/uploads", server.auth)
    assert cutting.done == CUTS
    (location,) = result["successful"]
    check_whole(server, location, big)


async def test_uppy_cannot_upload_from_a_page_that_is_not_allowed(make_server, site):
    server = make_server(cors_origins="https://other.example")
    result, complaints = await run_uppy(site, f"{server.base_url}/uploads", server.auth, retryDelays=[])
    assert result["successful"] == []
    assert any("CORS" in complaint for complaint in complaints)
    assert server.get_json("/uploads")["items"] == []


# tuspy


@pytest.fixture
def make_uploader(server, big):
    """A function that gives a tuspy uploader of the big file, which is closed here: tuspy does not."""
    with big.open("rb") as file:

        def make(port, **options):
            client = tuspy.TusClient(f"http://127.0.0.1:{port}/uploads", headers=server.auth)
            metadata = {"filename": "Für Elise.mp3"}
            return client.uploader(file_stream=file, chunk_size=1_000_000, metadata=metadata, **options)

        yield make


@pytest.mark.parametrize("checksum", [False, True])
def test_tuspy_uploads(server, make_uploader, big, checksum):
    uploader = make_uploader(server.port, upload_checksum=checksum)
    uploader.upload()
    track = check_whole(server, uploader.url, big)
    assert track["filename"] == "Für Elise.mp3"


def test_tuspy_survives_twenty_cuts(server, make_uploader, cutting, big):
    uploader = make_uploader(cutting.port, retries=200, retry_delay=0)
    uploader.upload()
    assert cutting.done == CUTS
    check_whole(server, uploader.url, big)


def test_tuspy_goes_on_where_another_stopped(server, make_uploader, big):
    first = make_uploader(server.port)
    first.upload(stop_at=2_000_000)
    second = make_uploader(server.port, url=first.url)
    assert second.offset == 2_000_000
    second.upload()
    check_whole(server, first.url, big)
