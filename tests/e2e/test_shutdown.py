"""The life of the process: its signals, its lock, its port, its settings."""

import json
import signal
import socket
import time
from contextlib import closing

import pytest

from tests.e2e.conftest import Server

pytestmark = pytest.mark.e2e


class SlowUpload:
    """A PUT whose body comes in small pieces."""

    def __init__(self, server: Server, content: bytes, *, chunked: bool = False) -> None:
        self.content, self.chunked, self.sent = content, chunked, 0
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(content)}"
        head = f"PUT /spool/slow.mp3 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n{framing}\r\n\r\n"
        self.socket.sendall(head.encode())

    def send(self, size: int) -> None:
        piece = self.content[self.sent : self.sent + size]
        self.sent += len(piece)
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if self.chunked else piece)

    def finish(self) -> tuple[int, dict]:
        if self.chunked:
            self.socket.sendall(b"0\r\n\r\n")
        answer = b""
        while block := self.socket.recv(65536):
            answer += block
        self.socket.close()
        head, body = answer.split(b"\r\n\r\n", 1)
        assert b"Connection: close" in head
        return int(head.split()[1]), json.loads(body)


def is_refused(server: Server) -> bool:
    try:
        socket.create_connection(("127.0.0.1", server.port), timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_upload_is_finished_before_the_process_ends(make_server, content_of, number):
    server = make_server()
    content = content_of("cbr320")
    uploads = [SlowUpload(server, content), SlowUpload(server, content, chunked=True)]
    with closing(socket.create_connection(("127.0.0.1", server.port), timeout=5)) as idle:
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"200" in idle.recv(65536)
        for each in uploads:
            each.send(100_000)
        time.sleep(0.2)
        server.signal(number)
        start = time.monotonic()
        assert idle.recv(10) == b"", "idle connections are closed at once"
        assert time.monotonic() - start < 1
    assert is_refused(server)
    step = -(-(len(content) - 100_000) // 20)
    for _ in range(20):
        for each in uploads:
            each.send(step)
        time.sleep(0.15)
        assert server.process.poll() is None
    for each in uploads:
        status, track = each.finish()
        assert (status, track["size"]) == (201, len(content))
    assert server.wait(10) == 0
    assert "Traceback" not in server.log
    server.start()
    assert len(server.get_json("/tracks")["items"]) == 2


def test_a_request_on_a_connection_that_is_still_busy_is_told_to_come_back(make_server, content_of):
    server = make_server()
    upload = SlowUpload(server, content_of("jingle"))
    upload.send(50_000)
    time.sleep(0.2)
    server.signal(signal.SIGTERM)
    time.sleep(0.3)
    upload.send(1 << 20)
    status, _ = upload.finish()
    assert status == 201
    assert server.wait(10) == 0


def test_who_was_refused_while_still_sending_can_read_why(make_server):
    server = make_server()
    head = b"PUT /spool/refused.mp3 HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(head + bytes(1000))
        deadline = time.monotonic() + 5
        while "PUT /spool/refused.mp3 401" not in server.log:
            assert time.monotonic() < deadline, server.log
            time.sleep(0.01)
        server.signal(signal.SIGTERM)
        time.sleep(0.3)
        for _ in range(30):
            client.sendall(bytes(100_000))
            time.sleep(0.01)
        assert client.recv(65536).startswith(b"HTTP/1.1 401")
    assert server.wait(10) == 0
    assert "Traceback" not in server.log, server.log


def test_an_upload_that_outlasts_the_drain_is_kept(make_server, content_of):
    server = make_server(drain_timeout_s=1)
    content = content_of("cbr320")
    upload = SlowUpload(server, content)
    upload.send(100_000)
    time.sleep(0.3)
    start = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - start < 1 + 12
    assert "Traceback" not in server.log, server.log
    upload.socket.close()
    (part,) = (server.data_dir / "spool").iterdir()
    assert part.read_bytes() == content[:100_000]
    server.start()
    assert part.read_bytes() == content[:100_000]


def test_a_second_signal_hurries(make_server, content_of):
    server = make_server(drain_timeout_s=300)
    upload = SlowUpload(server, content_of("cbr320"))
    upload.send(50_000)
    time.sleep(0.2)
    server.signal(signal.SIGTERM)
    time.sleep(0.5)
    assert server.process.poll() is None
    server.signal(signal.SIGTERM)
    assert server.wait(15) == 0
    upload.socket.close()


def test_an_idle_service_ends_at_once(make_server):
    server = make_server()
    start = time.monotonic()
    assert server.terminate() == 0
    assert time.monotonic() - start < 3
    assert not (server.data_dir / "catalogue.db-wal").exists(), "the log was not folded into the database"


def test_a_data_directory_has_one_process(make_server):
    first = make_server()
    second = make_server(data_dir=first.data_dir, wait=False)
    assert second.wait(20) == 1
    assert f"Another yarrr (process {first.process.pid}) is running on {first.data_dir}" in second.log
    assert "Traceback" not in second.log
    assert first.curl("/readyz").status == 200
    first.kill()
    first.start()


def test_a_taken_port_is_said_so(make_server):
    server = make_server(start=False)
    with socket.create_server(("127.0.0.1", server.port)):
        server.start(wait=False)
        assert server.wait(20) == 1
    assert f"Cannot listen on 127.0.0.1:{server.port}" in server.log
    assert "Traceback" not in server.log


def test_all_bad_settings_are_named_at_once(make_server):
    server = make_server(wait=False, max_upload_bytes="lots", durability="perhaps", frontend_url="ftp://x", host="ok")
    assert server.wait(20) == 2
    for name in ("YARRR_MAX_UPLOAD_BYTES", "YARRR_DURABILITY", "YARRR_FRONTEND_URL"):
        assert name in server.log
    assert "YARRR_HOST" not in server.log
    assert "Traceback" not in server.log
    assert not server.data_dir.exists()


@pytest.mark.parametrize("content", [b"something else", b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_database_that_is_not_ours_is_left_alone(make_server, content):
    server = make_server(start=False)
    server.data_dir.mkdir()
    server.database_path.write_bytes(content)
    server.start(wait=False)
    assert server.wait(20) == 1
    assert "nothing was changed" in server.log
    assert "Traceback" not in server.log
    assert server.database_path.read_bytes() == content


def test_a_data_directory_that_cannot_be_made_is_said_so(make_server, tmp_path):
    (tmp_path / "file").write_text("not a directory")
    server = make_server(data_dir=tmp_path / "file" / "data", wait=False)
    assert server.wait(20) == 1
    assert "cannot be used" in server.log
    assert "Traceback" not in server.log


def test_an_odd_data_directory_works(make_server, tmp_path, content_of):
    server = make_server(data_dir=tmp_path / "a b%20 ?x=1 &ü#")
    assert server.curl("/spool/a.mp3", "-T", "-", input=content_of("jingle")).status == 201
    server.restart(kill=True)
    assert len(server.get_json("/tracks")["items"]) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"server0", "a b%20 ?x=1 &ü#"}


def test_the_first_password_is_printed_once(tmp_path):
    server = Server(tmp_path, admin_password="")
    try:
        server.start()
        assert server.log.count("Created the user admin with the password") == 1
        password = server.log.split("with the password ")[1].split()[0]
        assert server.log_in(password=password)
        server.restart()
        assert server.log.count("Created the user admin") == 1
    finally:
        server.stop()


def test_optimised_python_serves_the_same(tmp_path, content_of, monkeypatch):
    """Nothing may hang on an assert: ``python -O`` strips them."""
    monkeypatch.setenv("PYTHONOPTIMIZE", "1")
    server = Server(tmp_path).start()
    try:
        assert server.curl("/spool/a.mp3", "-T", "-", input=content_of("jingle")).status == 201
        assert server.curl("/spool/a.mp3", "-T", "-", input=content_of("random_2")).status == 415
        assert server.curl("/tracks", "-F", "mp3=@-", input=content_of("mono")).status == 201
        assert server.curl("/tracks", "-F", "name=x").status == 422
    finally:
        server.stop()
