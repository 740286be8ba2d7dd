"""`yarrr upload` in a process of its own against the real service, with everything in between that breaks."""

import base64
import hashlib
import json
import os
import pty
import random
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.corpus import big
from tests.e2e.conftest import ROOT, free_port

pytestmark = pytest.mark.e2e

MIB = 1 << 20


class Cutter:
    """A TCP proxy in front of a server, at a bounded speed, that cuts a connection when so many bytes have passed."""

    def __init__(self, port: int, *, bytes_per_s: float = 200 * MIB) -> None:
        self.port = free_port()
        self.bytes_per_s = bytes_per_s
        self.cut_after: list[int] = []  # bytes from clients, over all connections; each number cuts once, by FIN or RST
        self.cuts = 0
        self.passed = 0
        self._server_port = port
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket()
                try:
                    server.connect(("127.0.0.1", self._server_port))
                except OSError:
                    client.close()
                    server.close()
                    continue
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                pair = (client, server)
                with self._lock:
                    self._pairs.add(pair)
                threading.Thread(target=self._pass, args=(pair, client, server, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(pair, server, client, False), daemon=True).start()

    def _pass(self, pair, source, target, is_upward) -> None:
        try:
            while data := source.recv(65536):
                if is_upward:
                    time.sleep(len(data) / self.bytes_per_s)
                    self.passed += len(data)
                target.sendall(data)
                if is_upward and self.cut_after and self.passed >= self.cut_after[0]:
                    self.cut_after.pop(0)
                    self.cuts += 1
                    self._close(pair, is_reset=self.cuts % 2 == 0)
                    return
        except OSError:
            pass
        self._close(pair)

    def _close(self, pair, *, is_reset: bool = False) -> None:
        with self._lock:
            self._pairs.discard(pair)
        for each in pair:
            with suppress(OSError):
                if is_reset:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                else:
                    each.shutdown(socket.SHUT_RDWR)
            each.close()

    def close(self) -> None:
        self._listener.close()
        for pair in list(self._pairs):
            self._close(pair)


@pytest.fixture
def cutter():
    """A function that puts a proxy in front of a server."""
    made = []

    def make(server, **options):
        made.append(Cutter(server.port, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def command(tmp_path):
    """A function that gives the command line and the environment of an upload to a server."""

    def make(server, *arguments, url=None, token=None, **environment):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("YARRR_")}
        return {
            "args": [sys.executable, "-m", "service", "upload", *map(str, arguments)],
            "cwd": ROOT,
            "env": {
                **inherited,
                "XDG_STATE_HOME": str(tmp_path / "state"),
                "YARRR_SERVER": url or server.base_url,
                "YARRR_TOKEN": token or server.token,
                **environment,
            },
        }

    return make


@pytest.fixture
def upload(command):
    """A function that uploads with --json: exit code, the documents, standard error."""

    def run(server, *arguments, **options):
        done = subprocess.run(
            **command(server, "--json", *arguments, **options), capture_output=True, text=True, timeout=60, check=False
        )
        assert "Traceback" not in done.stderr
        assert options.get("token", server.token) not in done.stdout + done.stderr
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr

    return run


@pytest.fixture
def make_song(corpus_dir, tmp_path):
    """A function that makes a valid mp3 of a size, unlike every other."""

    def make(size, name="song.mp3"):
        path = tmp_path / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = bytearray(big(corpus_dir, size).read_bytes())
        content[17:21] = os.urandom(4)  # in the tag
        path.write_bytes(content)
        return path

    return make


def stored(server, document):
    """The bytes of the track a document tells of."""
    return server.curl(f"/tracks/{document['track']}/audio").body


def tracks_of(server, path):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return server.get_json(f"/tracks?sha256={digest}")["items"]


def wait_until(condition, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_folder_arrives_once(server, upload, make_song, path_of, tmp_path):
    songs = [make_song(300_000, f"{name}.mp3") for name in ("a", "deep/b", "deep/er/c")]
    (tmp_path / "music" / "cover.jpg").write_bytes(b"no song")
    (tmp_path / "music" / "words.mp3").write_bytes(path_of("text").read_bytes())
    code, documents, _ = upload(server, tmp_path / "music")
    assert code == 1
    by_path = {each["path"]: each for each in documents}
    failed = by_path.pop(str(tmp_path / "music" / "words.mp3"))
    assert failed["status"] == "failed"
    assert failed["track"] is None
    assert failed["problem"] == {"code": "not-an-mp3", "detail": "This is text."}
    assert by_path.keys() == set(map(str, songs))
    for path, each in by_path.items():
        content = Path(path).read_bytes()
        assert each["status"] == "uploaded"
        assert each["problem"] is None
        assert each["sha256"] == hashlib.sha256(content).hexdigest()
        assert stored(server, each) == content
        assert server.get_json(f"/tracks/{each['track']}")["filename"] == Path(path).name

    code, again, _ = upload(server, *songs)
    assert code == 0
    assert [each["status"] for each in again] == ["skipped"] * 3
    assert {each["track"] for each in again} == {each["track"] for each in by_path.values()}
    assert list((tmp_path / "state" / "yarrr").iterdir()) == []


def test_200_small_files_go_up_in_parallel(server, upload, make_song, tmp_path):
    for number in range(200):
        make_song(164_000, f"{number % 7}/{number}.mp3")
    code, documents, _ = upload(server, "--jobs", 8, tmp_path / "music")
    assert code == 0
    assert len(documents) == 200
    assert {each["status"] for each in documents} == {"uploaded"}
    assert len({each["track"] for each in documents}) == 200


def test_more_jobs_than_the_service_takes_are_no_failure(make_server, upload, make_song, tmp_path, cutter):
    server = make_server(max_running_uploads_per_user=2)
    for number in range(12):
        make_song(1 * MIB, f"{number}.mp3")
    code, documents, _ = upload(server, "--jobs", 12, tmp_path / "music", url=cutter(server, bytes_per_s=4 * MIB).url)
    assert code == 0
    assert [each["status"] for each in documents] == ["uploaded"] * 12


def test_20_cuts_of_the_network_leave_one_whole_track(server, upload, make_song, cutter):
    song = make_song(32 * MIB)
    proxy = cutter(server)
    rng = random.Random(5)
    proxy.cut_after = sorted(rng.randrange(1 * MIB, 30 * MIB) for _ in range(20))
    code, (document,), told = upload(server, song, url=proxy.url)
    assert code == 0, told
    assert proxy.cuts == 20
    assert document["status"] == "uploaded"
    assert stored(server, document) == song.read_bytes()
    assert len(tracks_of(server, song)) == 1
    # What arrived was not sent again, but for what was on its way when the line was cut.
    assert proxy.passed < 32 * MIB + 20 * 2 * MIB


def test_kill_9_of_the_client_costs_nothing_that_had_arrived(server, command, upload, make_song, cutter):
    song = make_song(24 * MIB)
    proxy = cutter(server, bytes_per_s=24 * MIB)
    for part in (1, 2):
        with subprocess.Popen(**command(server, "--quiet", song, url=proxy.url)) as process:
            wait_until(lambda part=part: proxy.passed > part * 8 * MIB)
            process.kill()
    assert tracks_of(server, song) == []
    assert len(server.get_json("/uploads")["items"]) == 1
    code, (document,), _ = upload(server, song, url=proxy.url)
    assert code == 0
    assert document["status"] == "uploaded"
    assert stored(server, document) == song.read_bytes()
    assert proxy.passed < 24 * MIB + 2 * 5 * MIB
    assert server.get_json("/uploads")["items"] == []


def test_kill_9_of_the_server_is_waited_out(make_server, command, make_song, cutter):
    server = make_server()
    song = make_song(24 * MIB)
    proxy = cutter(server, bytes_per_s=24 * MIB)
    with subprocess.Popen(
        **command(server, "--json", song, url=proxy.url), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for part in (1, 2):
            wait_until(lambda part=part: proxy.passed > part * 8 * MIB)
            server.restart(kill=True)
        output, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    document = json.loads(output)
    assert document["status"] == "uploaded"
    assert stored(server, document) == song.read_bytes()
    assert len(tracks_of(server, song)) == 1
    assert proxy.passed < 24 * MIB + 2 * 5 * MIB


def test_a_server_that_is_down_and_comes_up_is_waited_for(make_server, command, make_song):
    server = make_server()
    assert server.token
    server.terminate()
    song = make_song(300_000)
    with subprocess.Popen(**command(server, song), stderr=subprocess.PIPE, text=True) as process:
        assert "No connection to 127.0.0.1" in process.stderr.readline()
        server.start()
        _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told
    assert len(tracks_of(server, song)) == 1


def test_a_server_that_stays_down_is_given_up(server, upload, make_song):
    code, (document,), _ = upload(server, "--retries", 2, make_song(300_000), url=f"http://127.0.0.1:{free_port()}")
    assert code == 1
    assert document["problem"]["code"] == "given-up"


def test_ctrl_c_ends_it_and_says_how_to_go_on(server, command, upload, make_song, cutter):
    song, other = make_song(16 * MIB), make_song(300_000, "waits.mp3")
    proxy = cutter(server, bytes_per_s=16 * MIB)
    with subprocess.Popen(
        **command(server, "--json", "--jobs", 1, song, other, url=proxy.url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(lambda: proxy.passed > 4 * MIB)
        process.send_signal(signal.SIGINT)
        output, told = process.communicate(timeout=5)
    assert process.returncode == 130
    assert told == "Interrupted: 0 of 2 files are there. The same command goes on from here.\n"
    documents = [json.loads(line) for line in output.splitlines()]
    assert [each["problem"]["code"] for each in documents] == ["interrupted"] * 2
    proxy.bytes_per_s = 1000 * MIB
    assert upload(server, song, other, url=proxy.url)[0] == 0
    assert proxy.passed < 16 * MIB + 6 * MIB


def test_the_screen_has_bars_and_ends_clean(server, command, make_song, cutter):
    songs = [make_song(4 * MIB, "first.mp3"), make_song(4 * MIB, "second.mp3")]
    proxy = cutter(server, bytes_per_s=8 * MIB)
    ours, theirs = pty.openpty()
    seen = b""
    environment = {"TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen(**command(server, *songs, url=proxy.url, **environment), stderr=theirs) as process:
        os.close(theirs)
        with suppress(OSError):  # the other end is closed
            while select.select([ours], [], [], 30)[0] and (data := os.read(ours, 65536)):
                seen += data
    os.close(ours)
    assert process.returncode == 0
    text = seen.decode()
    assert "first.mp3" in text
    assert "█" in text
    assert "2/2 files" not in text.rsplit("\x1b[J", 1)[-1]
    assert not re.search(r"\x1b\[\d+m", text)  # no colour
    assert text.rsplit("\x1b[J", 1)[-1].startswith("2 uploaded; 8.4 MB sent in ")


def test_what_cannot_be_read_does_not_stop_the_others(server, upload, make_song, tmp_path):
    song = make_song(300_000)
    os.mkfifo(tmp_path / "pipe.mp3")
    (tmp_path / "loop.mp3").symlink_to(tmp_path / "loop.mp3")
    code, documents, _ = upload(
        server,
        tmp_path / "missing.mp3",
        tmp_path / "pipe.mp3",
        tmp_path / "loop.mp3",
        song,
        make_song(300_000, "b.wav"),
    )
    assert code == 1
    by_name = {Path(each["path"]).name: each for each in documents}
    assert by_name["missing.mp3"]["problem"] == {"code": "unreadable", "detail": "No such file or directory"}
    assert by_name["pipe.mp3"]["problem"] == {"code": "unreadable", "detail": "Not a regular file"}
    assert by_name["loop.mp3"]["problem"]["code"] == "unreadable"
    assert by_name["song.mp3"]["status"] == by_name["b.wav"]["status"] == "uploaded"


def test_a_wrong_token_is_the_services_word(server, upload, make_song):
    code, (document,), told = upload(server, make_song(300_000), token="no-such-token-81dc9bdb")
    assert code == 1
    assert document["problem"]["code"] == "unauthenticated"
    assert "no-such-token" not in told


def test_a_token_may_come_from_a_file(server, upload, command, make_song, tmp_path):
    secret = tmp_path / "token"
    secret.write_text(f"{server.token}\n")
    # The command line beats the environment.
    code, _, told = upload(server, "--token-file", secret, make_song(300_000), token="no-such-token-81dc9bdb")
    assert code == 0, told
    made = command(server, "--token-file", "-", "--json", make_song(300_000))
    made["env"].pop("YARRR_TOKEN")
    assert subprocess.run(**made, input=f"{server.token}\n".encode(), stdout=subprocess.PIPE, check=True)


def test_a_creation_that_names_another_digest_makes_no_track(server, make_song):
    """What the client relies on: of bytes that changed on their way, there is never a track."""
    song = make_song(300_000)
    digest = base64.b64encode(hashlib.sha256(b"other bytes").digest()).decode()
    tus = ("-H", "Tus-Resumable: 1.0.0")
    created = server.curl(
        "/uploads", "-X", "POST", *tus, "-H", "Upload-Length: 300000", "-H", f"Repr-Digest: sha-256=:{digest}:"
    )
    assert created.status == 201
    fields = (*tus, "-H", "Content-Type: application/offset+octet-stream", "-H", "Upload-Offset: 0")
    answer = server.curl(created.headers["location"], "-X", "PATCH", *fields, "--data-binary", f"@{song}")
    assert answer.status == 422
    assert answer.json()["type"] == "/problems/digest-mismatch"
    assert tracks_of(server, song) == []
