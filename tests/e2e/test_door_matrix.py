"""Begun at one door, broken off, finished at another: every pair of doors, whoever went away, client or server."""

import hashlib
import time
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import quote

import pytest

from tests import corpus
from tests.e2e.conftest import Server
from tests.e2e.raw import Wire

pytestmark = pytest.mark.e2e

FIRST_BYTES = 100_000
SENT_BYTES = 150_000
TUS = {"Tus-Resumable": "1.0.0"}
TUS_TYPE = {"Content-Type": "application/offset+octet-stream"}
DRAFT_TYPE = {"Content-Type": "application/partial-upload"}
BOUNDARY = "a-boundary-that-no-frame-holds"


@dataclass(slots=True)
class Broken:
    """A file of which a part has been sent. `location` is its upload, where the door tells it."""

    name: str
    content: bytes
    wire: Wire
    location: str | None = None


# How to begin: a head, some of the body, and then nothing.


def begin_form(server, wire, name, content):
    head = form_head(name)
    size = len(head) + len(content) + len(form_tail())
    fields = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Length": str(size)}
    wire.request("POST", "/tracks", {**server.auth, **fields}, head + content[:FIRST_BYTES])


def form_head(name):
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="mp3"; filename="{name}"\r\n\r\n'.encode()


def form_tail():
    return f"\r\n--{BOUNDARY}--\r\n".encode()


def begin_put(server, wire, name, content):
    fields = {**server.auth, "Content-Length": str(len(content))}
    wire.request("PUT", f"/spool/{quote(name)}", fields, content[:FIRST_BYTES])


def begin_tus(server, wire, name, content):
    metadata = f"filename {b64encode(name.encode()).decode()}"
    fields = {**server.auth, **TUS, "Upload-Length": str(len(content)), "Upload-Metadata": metadata}
    wire.request("POST", "/uploads", fields)
    location = wire.read().headers["location"]
    fields = {**server.auth, **TUS, **TUS_TYPE, "Upload-Offset": "0", "Content-Length": str(len(content))}
    wire.request("PATCH", location, fields, content[:FIRST_BYTES])
    return location


def begin_draft(server, wire, name, content):
    fields = {"Upload-Complete": "?1", "Upload-Draft-Interop-Version": "8", "Content-Length": str(len(content))}
    disposition = {"Content-Type": "audio/mpeg", "Content-Disposition": f'inline; filename="{name}"'}
    wire.request("POST", "/tracks", {**server.auth, **fields, **disposition}, content[:FIRST_BYTES])
    interim = wire.read()
    assert interim.status == 104
    return interim.headers["location"]


def begin_range(server, wire, name, content):
    size = len(content)
    fields = {"Content-Range": f"bytes 0-{size - 2}/{size}", "Content-Length": str(size - 1)}
    wire.request("PUT", f"/spool/{quote(name)}", {**server.auth, **fields}, content[:FIRST_BYTES])


# How to finish: with what a client of that door knows.


def finish_form(server, broken):
    head, tail = form_head(broken.name), form_tail()
    size = len(head) + len(broken.content) + len(tail)
    fields = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Length": str(size)}
    with Wire(server.port) as wire:
        wire.request("POST", "/tracks", {**server.auth, **fields}, head + broken.content + tail)
        assert wire.read().status == 201


def finish_put(server, broken):
    with Wire(server.port) as wire:
        fields = {**server.auth, "Content-Length": str(len(broken.content))}
        wire.request("PUT", f"/spool/{quote(broken.name)}", fields, broken.content)
        assert wire.read().status == 201


def finish_tus(server, broken):
    location, size = location_of(server, broken), len(broken.content)
    with Wire(server.port) as wire:
        wire.request("HEAD", location, {**server.auth, **TUS})
        state = wire.read(to_head=True).headers
        offset = checked(broken, state)
        fields = {**server.auth, **TUS, **TUS_TYPE, "Upload-Offset": str(offset), "Content-Length": str(size - offset)}
        if "upload-defer-length" in state:
            fields["Upload-Length"] = str(size)
        wire.request("PATCH", location, fields, broken.content[offset:])
        answer = wire.read()
        assert (answer.status, answer.headers["upload-offset"]) == (204, str(size))


def finish_draft(server, broken):
    location, size = location_of(server, broken), len(broken.content)
    with Wire(server.port) as wire:
        wire.request("HEAD", location, {**server.auth, "Upload-Draft-Interop-Version": "8"})
        state = wire.read(to_head=True).headers
        assert state["upload-complete"] == "?0"
        offset = checked(broken, state)
        fields = {"Upload-Offset": str(offset), "Upload-Complete": "?1", "Content-Length": str(size - offset)}
        wire.request("PATCH", location, {**server.auth, **DRAFT_TYPE, **fields}, broken.content[offset:])
        answer = wire.read()
        assert (answer.status, answer.headers["upload-complete"]) == (201, "?1")


def finish_range(server, broken):
    state = server.curl(f"/spool/{quote(broken.name)}", "-I").headers
    offset = checked(broken, state)
    path = server.directory / broken.name
    path.write_bytes(broken.content)
    answer = server.curl("/spool/", "-C", str(offset), "-T", path)
    assert answer.status == 201, answer
    assert answer.sent_bytes == len(broken.content) - offset


def location_of(server, broken):
    """Where the upload is: its client was told, or finds it among its own."""
    if broken.location is not None:
        return broken.location
    (found,) = [each for each in server.get_json("/uploads")["items"] if each["filename"] == broken.name]
    return f"/uploads/{found['id']}"


def checked(broken, state):
    """The offset, which counts every byte that was delivered.

    Of a form, whose last bytes may be the beginning of a boundary, what came last waits in memory for what comes next.
    """
    offset = int(state["upload-offset"])
    if broken.name.startswith("form"):
        assert FIRST_BYTES - len(BOUNDARY) - 4 <= offset <= SENT_BYTES
    else:
        assert offset == SENT_BYTES
    return offset


BEGIN = {"form": begin_form, "put": begin_put, "tus": begin_tus, "draft": begin_draft, "range": begin_range}
FINISH = {"form": finish_form, "put": finish_put, "tus": finish_tus, "draft": finish_draft, "range": finish_range}
PAIRS = [(begin, finish) for begin in BEGIN for finish in FINISH]


def all_stored(server):
    """Whether all that was sent lies in the spool, apart from the last bytes of forms."""
    sizes = sorted(path.stat().st_size for path in (server.data_dir / "spool").iterdir())
    forms = len(FINISH)
    return len(sizes) == len(PAIRS) and sizes[0] >= FIRST_BYTES - 100 and sizes[forms] == SENT_BYTES


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory, path_of):
    """A function that gives a server and, by the pair of doors, files that somebody began to send to it.

    All of them are begun at once, so that one kill is enough for the whole matrix.
    """
    frames = path_of("cbr320").read_bytes()
    servers = {}

    def make(who):
        server = Server(tmp_path_factory.mktemp(who), max_running_uploads_per_user=30).start()
        files = {}
        servers[who] = server, files
        for number, (begin, finish) in enumerate(PAIRS):
            content = corpus.id3(padding=1000 + number) + frames
            broken = Broken(f"{begin} {finish} {who}.mp3", content, Wire(server.port))
            broken.location = BEGIN[begin](server, broken.wire, broken.name, content)
            files[begin, finish] = broken
        time.sleep(0.2)
        for broken in files.values():
            broken.wire.send(broken.content[FIRST_BYTES:SENT_BYTES])
        deadline = time.monotonic() + 10
        while not all_stored(server):
            assert time.monotonic() < deadline, "the server does not store what it gets"
            time.sleep(0.05)
        if who == "server":
            server.restart(kill=True)
        for broken in files.values():
            broken.wire.reset()
        return servers[who]

    yield lambda who: servers.get(who) or make(who)
    for server, _ in servers.values():
        server.stop()
        assert "Traceback" not in server.log


@pytest.mark.parametrize("who", ["client", "server"])
@pytest.mark.parametrize(("begin", "finish"), PAIRS)
def test_what_one_door_began_another_one_finishes(broken_off, begin, finish, who):
    server, files = broken_off(who)
    broken = files[begin, finish]
    FINISH[finish](server, broken)
    (track,) = server.get_json(f"/tracks?filename={quote(broken.name)}")["items"]
    assert (track["size"], track["sha256"]) == (len(broken.content), hashlib.sha256(broken.content).hexdigest())
    assert server.curl(track["url"]).body == broken.content
