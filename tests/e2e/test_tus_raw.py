"""tus 1.0.0 over bare sockets: framing, cut connections, races, kill -9; the real process."""

import hashlib
import sqlite3
import threading
import time
from base64 import b64encode

import argon2
import pytest

from service.catalogue import users
from tests.e2e.raw import Wire

pytestmark = pytest.mark.e2e

BOBS_PASSWORD = "another horse battery"
TYPE = {"Content-Type": "application/offset+octet-stream"}


@pytest.fixture
def song(content_of):
    return content_of("cbr320")


class Tus:
    """Short ways to speak tus to a server."""

    def __init__(self, server):
        self.server = server

    @property
    def headers(self):
        return {**self.server.auth, "Tus-Resumable": "1.0.0"}

    def wire(self):
        return Wire(self.server.port)

    def ask(self, method, path, headers=None, body=b""):
        with self.wire() as wire:
            wire.request(method, path, {**self.headers, "Content-Length": str(len(body)), **(headers or {})}, body)
            return wire.read(to_head=method == "HEAD")

    def create(self, length, **more):
        fields = {"Upload-Length": str(length)} if length is not None else {"Upload-Defer-Length": "1"}
        answer = self.ask("POST", "/uploads", fields | {name.replace("_", "-"): text for name, text in more.items()})
        assert answer.status == 201, answer
        return answer.headers["location"]

    def append(self, wire, path, offset, body=b"", *, length=None, **more):
        """Send the head of a PATCH, and as much of its body as is given."""
        fields = {name.replace("_", "-"): text for name, text in more.items()}
        size = {"Content-Length": str(len(body) if length is None else length)}
        if "Transfer-Encoding" in fields:
            size = {}
        wire.request("PATCH", path, {**self.headers, **TYPE, "Upload-Offset": str(offset), **size, **fields}, body)

    def patch(self, path, offset, body, **more):
        with self.wire() as wire:
            self.append(wire, path, offset, body, **more)
            return wire.read()

    def offset(self, path):
        answer = self.ask("HEAD", path)
        assert answer.status == 200, answer
        return int(answer.headers["upload-offset"])

    def stored(self, path):
        """The bytes of an unfinished upload as they lie on the disk."""
        return (self.server.data_dir / "spool" / f"{path.rsplit('/', 1)[1]}.part").read_bytes()

    def check_finished(self, path, content):
        """The upload has become a track of these bytes."""
        upload = self.server.get_json(path)
        assert upload["state"] == "finished"
        assert upload["track"]["sha256"] == hashlib.sha256(content).hexdigest()
        answer = self.server.curl(upload["track"]["url"])
        assert answer.body == content


@pytest.fixture
def tus(server):
    return Tus(server)


def wait_until(true, timeout_s=10):
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Framing


def test_requests_follow_each_other_on_one_connection(tus, song):
    path = tus.create(len(song))
    with tus.wire() as wire:
        wire.request("HEAD", path, tus.headers)
        tus.append(wire, path, 0, song[:1000])
        wire.request("HEAD", path, tus.headers)
        tus.append(wire, path, 1000, song[1000:])
        answers = [wire.read(to_head=True), wire.read(), wire.read(to_head=True), wire.read()]
    assert [answer.status for answer in answers] == [200, 204, 200, 204]
    assert [answer.headers["upload-offset"] for answer in answers] == ["0", "1000", "1000", str(len(song))]
    assert "content-length" not in answers[1].headers, "a 204 has none (RFC 9110 section 8.6)"


@pytest.mark.parametrize("piece", [1000, 70_000])
def test_a_chunked_body_needs_no_length(tus, song, piece):
    path = tus.create(None)
    with tus.wire() as wire:
        tus.append(wire, path, 0, Transfer_Encoding="chunked", Upload_Length=str(len(song)))
        for start in range(0, len(song), piece):
            wire.chunk(song[start : start + piece])
        wire.chunk(b"")
        answer = wire.read()
    assert (answer.status, answer.headers["upload-offset"]) == (204, str(len(song)))
    tus.check_finished(path, song)


def test_a_chunked_body_is_cut_at_the_length_of_the_upload(tus, song):
    path = tus.create(1000, Upload_Concat="partial")
    with tus.wire() as wire:
        tus.append(wire, path, 0, Transfer_Encoding="chunked")
        wire.chunk(song[:900])
        wire.chunk(song[900:1001])
        wire.chunk(b"")
        answer = wire.read()
    assert answer.status == 400
    assert tus.offset(path) <= 1000
    assert tus.stored(path) == song[: tus.offset(path)]


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: +5",
        "Content-Length: 5, 5",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
    ],
)
def test_a_request_with_two_ends_changes_nothing(tus, song, framing):
    path = tus.create(len(song))
    head = [f"PATCH {path} HTTP/1.1", "Host: test", "Upload-Offset: 0", framing]
    head += [f"{name}: {value}" for name, value in {**tus.headers, **TYPE}.items()]
    with tus.wire() as wire:
        wire.send("\r\n".join([*head, "", ""]).encode() + b"5\r\nhello\r\n0\r\n\r\n")
        assert wire.read().status in (400, 501)
        assert wire.is_closed()
    assert tus.offset(path) == 0


def test_a_broken_chunk_ends_the_append_and_keeps_what_came(tus, song):
    path = tus.create(len(song))
    with tus.wire() as wire:
        tus.append(wire, path, 0, Transfer_Encoding="chunked")
        wire.chunk(song[:5000])
        assert wire.is_quiet()
        wire.send(b"nonsense\r\n")
        assert tus.offset(path) == 5000
        assert wire.is_closed()
    assert tus.stored(path) == song[:5000]


def test_http_1_0_is_spoken_too(tus, song):
    path = tus.create(len(song))
    with tus.wire() as wire:
        more = {"Upload-Offset": "0", "Content-Length": str(len(song)), "Expect": "100-continue"}
        wire.request("PATCH", path, {**tus.headers, **TYPE, **more}, song, version="1.0")
        assert wire.read().status == 204


# Expect


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"Upload-Offset": "1"}, 409),
        ({"Upload-Offset": "x"}, 400),
        ({"Content-Type": "audio/mpeg"}, 415),
        ({"Tus-Resumable": "0.2.2"}, 412),
        ({"Authorization": "Bearer no"}, 401),
        ({"Upload-Checksum": "md5 XrY7u+Ae7tCTyyK7j1rNww=="}, 400),
    ],
)
def test_a_doomed_append_is_not_told_to_go_on(tus, song, more, status):
    path = tus.create(len(song))
    fields = {**tus.headers, **TYPE, "Upload-Offset": "0", "Content-Length": str(len(song)), "Expect": "100-continue"}
    with tus.wire() as wire:
        wire.request("PATCH", path, {**fields, **more})
        answer = wire.read()
        assert answer.status == status
        assert answer.headers["tus-resumable"] == "1.0.0"
        if status == 409:
            assert answer.headers["upload-offset"] == "0"


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"Upload-Length": str(1 << 50)}, 413),
        ({}, 400),
        ({"Upload-Length": "5", "Tus-Resumable": "2.0.0"}, 412),
        ({"Upload-Length": "5", "Authorization": "Bearer no"}, 401),
    ],
)
def test_a_doomed_creation_is_not_told_to_go_on(tus, more, status):
    with tus.wire() as wire:
        wire.request(
            "POST", "/uploads", {**tus.headers, **TYPE, "Content-Length": "5", "Expect": "100-continue", **more}
        )
        assert wire.read().status == status


def test_an_append_to_nothing_is_not_told_to_go_on(tus):
    with tus.wire() as wire:
        tus.append(wire, f"/uploads/{'0' * 32}", 0, length=1000, Expect="100-continue")
        assert wire.read().status == 404


def test_an_append_that_can_work_is_told_to_go_on(tus, song):
    path = tus.create(len(song))
    with tus.wire() as wire:
        tus.append(wire, path, 0, length=len(song), Expect="100-continue")
        assert wire.read().status == 100
        wire.send(song)
        assert wire.read().status == 204
    tus.check_finished(path, song)


def test_an_overridden_method_is_judged_before_the_body_as_well(tus, song):
    path = tus.create(len(song))
    fields = {**tus.headers, **TYPE, "Content-Length": "9", "Expect": "100-continue", "X-HTTP-Method-Override": "PATCH"}
    with tus.wire() as wire:
        wire.request("POST", path, {**fields, "Upload-Offset": "7"})
        assert wire.read().status == 409


# Early refusals


def test_what_is_no_mp3_is_refused_long_before_its_end(tus):
    path = tus.create(50_000_000)
    sent = 0
    with tus.wire() as wire:
        tus.append(wire, path, 0, length=50_000_000)
        while wire.is_quiet(0.01):
            wire.send(b"%PDF-1.7\n" * 100)
            sent += 900
        answer = wire.read()
    assert answer.status == 415
    assert sent < 100_000
    assert answer.headers["tus-resumable"] == "1.0.0"
    gone = tus.ask("HEAD", path)
    assert gone.status == 410
    assert "upload-offset" not in gone.headers


def test_a_wrong_offset_is_answered_although_the_body_is_on_its_way(tus, song):
    path = tus.create(len(song))
    answer = tus.patch(path, 5, song)
    assert (answer.status, answer.headers["upload-offset"]) == (409, "0")


# Cut connections


@pytest.mark.parametrize("end", ["close", "finish"])
@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("size", [1, 1000, 300_000, 470_000])
def test_every_byte_before_a_cut_counts(tus, song, end, is_chunked, size):
    path = tus.create(len(song))
    with tus.wire() as wire:
        if is_chunked:
            tus.append(wire, path, 0, Transfer_Encoding="chunked")
            wire.chunk(song[:size])
        else:
            tus.append(wire, path, 0, song[:size], length=len(song))
        getattr(wire, end)()
        # HEAD would end the append, and what the kernel has not handed over by then is not ours. GET ends nothing.
        wait_until(lambda: tus.server.get_json(path)["offset"] == size)
    assert tus.offset(path) == size
    assert tus.patch(path, size, song[size:]).status == 204
    tus.check_finished(path, song)


def test_a_reset_loses_nothing_that_was_told(tus, song):
    path = tus.create(len(song))
    offset = 0
    while offset < len(song) - 60_000:
        with tus.wire() as wire:
            tus.append(wire, path, offset, song[offset : offset + 60_000], length=len(song) - offset)
            time.sleep(0.02)
            wire.reset()
        told = tus.offset(path)
        assert offset <= told <= offset + 60_000
        assert tus.stored(path)[:told] == song[:told]
        offset = told
    assert tus.patch(path, offset, song[offset:]).status == 204
    tus.check_finished(path, song)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_cut_append_with_a_checksum_leaves_nothing(tus, song, algorithm):
    path = tus.create(len(song))
    assert tus.patch(path, 0, song[:1000]).status == 204
    digest = b64encode(hashlib.new(algorithm, song[1000:]).digest()).decode()
    with tus.wire() as wire:
        tus.append(
            wire, path, 1000, song[1000:90_000], length=len(song) - 1000, Upload_Checksum=f"{algorithm} {digest}"
        )
        time.sleep(0.1)
    assert tus.offset(path) == 1000
    assert tus.patch(path, 1000, song[1000:], Upload_Checksum=f"{algorithm} {digest}").status == 204
    tus.check_finished(path, song)


def test_a_creation_that_is_cut_off_ends_by_itself_and_keeps_nothing_running(tus, song):
    with tus.wire() as wire:
        more = {"Upload-Length": str(len(song)), "Content-Length": str(len(song)), "Upload-Metadata": "filename Y3V0"}
        wire.request("POST", "/uploads", {**tus.headers, **TYPE, **more}, song[:100_000])
        time.sleep(0.1)

    def found():
        return [each for each in tus.server.get_json("/uploads")["items"] if each["filename"] == "cut"]

    wait_until(lambda: [each["offset"] for each in found()] == [100_000])
    (upload,) = found()
    assert tus.patch(f"/uploads/{upload['id']}", 100_000, song[100_000:]).status == 204


def test_a_body_that_stalls_is_ended_and_kept(make_server, song):
    tus = Tus(make_server(body_idle_timeout_s=0.5))
    path = tus.create(len(song))
    with tus.wire() as wire:
        tus.append(wire, path, 0, song[:5000], length=len(song))
        assert wire.read().status == 408
        assert wire.is_closed()
    assert tus.offset(path) == 5000


# One writer an upload


def test_a_question_ends_a_hung_append_and_the_offset_holds(tus, song):
    path = tus.create(len(song))
    with tus.wire() as hung:
        tus.append(hung, path, 0, song[:100_000], length=len(song))
        assert hung.is_quiet()
        started = time.monotonic()
        assert tus.offset(path) == 100_000
        assert time.monotonic() - started < 1
        assert hung.is_closed()
    assert tus.patch(path, 100_000, song[100_000:]).status == 204
    tus.check_finished(path, song)


def test_an_append_ends_a_hung_one(tus, song):
    path = tus.create(len(song))
    with tus.wire() as hung:
        tus.append(hung, path, 0, song[:100_000], length=len(song))
        assert hung.is_quiet()
        assert tus.patch(path, 100_000, song[100_000:]).status == 204
        assert hung.is_closed()
    tus.check_finished(path, song)


def test_an_append_that_asks_before_ends_a_hung_one(tus, song):
    path = tus.create(len(song))
    with tus.wire() as hung, tus.wire() as wire:
        tus.append(hung, path, 0, song[:100_000], length=len(song))
        assert hung.is_quiet()
        tus.append(wire, path, 100_000, length=len(song) - 100_000, Expect="100-continue")
        assert wire.read().status == 100
        wire.send(song[100_000:])
        assert wire.read().status == 204


def test_a_termination_ends_a_running_append(tus, song):
    path = tus.create(len(song))
    with tus.wire() as hung:
        tus.append(hung, path, 0, song[:100_000], length=len(song))
        assert hung.is_quiet()
        assert tus.ask("DELETE", path).status == 204
        assert hung.is_closed()
    assert tus.ask("HEAD", path).status == 410
    assert not (tus.server.data_dir / "spool" / f"{path.rsplit('/', 1)[1]}.part").exists()


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_who_only_looks_ends_nothing(tus, song, method):
    path = tus.create(len(song))
    with tus.wire() as wire:
        tus.append(wire, path, 0, song[:100_000], length=len(song))
        assert wire.is_quiet()
        assert tus.ask(method, path).status in (200, 204)
        wire.send(song[100_000:])
        assert wire.read().status == 204


@pytest.mark.parametrize("more", [{"Authorization": "Bearer no"}, {"Tus-Resumable": "0.1"}])
@pytest.mark.parametrize("method", ["HEAD", "DELETE", "PATCH"])
def test_who_may_not_ends_nothing(tus, song, method, more):
    path = tus.create(len(song))
    with tus.wire() as wire:
        tus.append(wire, path, 0, song[:100_000], length=len(song))
        assert wire.is_quiet()
        assert tus.ask(method, path, {**TYPE, "Upload-Offset": "0", **more}).status in (401, 412)
        wire.send(song[100_000:])
        assert wire.read().status == 204


def test_another_user_ends_nothing(tus, song):
    with sqlite3.connect(tus.server.database_path) as connection:
        password_hash = argon2.PasswordHasher(memory_cost=8192, time_cost=1, parallelism=1).hash(BOBS_PASSWORD)
        users.insert(connection, "bob", "bob", password_hash, now=0)
    connection.close()
    bob = {"Authorization": f"Bearer {tus.server.log_in('bob', BOBS_PASSWORD)}"}
    path = tus.create(len(song), Upload_Concat="partial")
    with tus.wire() as wire:
        tus.append(wire, path, 0, song[:100_000], length=len(song))
        assert wire.is_quiet()
        for method in ("HEAD", "PATCH", "DELETE"):
            assert tus.ask(method, path, {**TYPE, "Upload-Offset": "0", **bob}).status == 404
        assert tus.ask("POST", "/uploads", {"Upload-Concat": f"final;{path}", **bob}).status == 404
        wire.send(song[100_000:])
        assert wire.read().status == 204


def test_many_writers_never_interleave(tus):
    """Eight writers go for the same offset again and again, each with bytes of its own."""
    length = 400_000
    path = tus.create(length, Upload_Concat="partial")
    accepted, lock = [], threading.Lock()

    def write(number):
        mark = bytes([65 + number]) * 10_000
        for _ in range(200):
            offset = int(tus.ask("HEAD", path).headers.get("upload-offset", length))
            if offset >= length:
                return
            try:
                with tus.wire() as wire:
                    tus.append(wire, path, offset, mark[:5000], length=10_000)
                    time.sleep(0.001)
                    wire.send(mark[5000:])
                    answer = wire.read()
            except ConnectionError:
                continue
            if answer.status == 204:
                with lock:
                    accepted.append((offset, number))
            else:
                assert answer.status in (400, 409, 423), answer

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    content = tus.stored(path)
    assert tus.offset(path) == len(content)
    for offset, number in accepted:
        assert content[offset : offset + 10_000] == bytes([65 + number]) * 10_000
    assert len({offset for offset, _ in accepted}) == len(accepted)


def test_of_many_equal_appends_the_content_is_stored_once(tus, song):
    path = tus.create(len(song))
    statuses = []

    def send():
        try:
            statuses.append(tus.patch(path, 0, song).status)
        except ConnectionError:
            statuses.append(0)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert set(statuses) <= {0, 204, 409, 423}
    offset = tus.offset(path)
    if offset < len(song):
        assert tus.patch(path, offset, song[offset:]).status == 204
    tus.check_finished(path, song)
    tracks = tus.server.get_json("/tracks?limit=500")["items"]
    assert len({each["id"] for each in tracks if each["id"] == tus.server.get_json(path)["track"]["id"]}) == 1


# Crashes


def test_an_offset_that_was_told_holds_across_kill_9(make_server, song):
    tus = Tus(make_server())
    path = tus.create(len(song))
    told = 0
    for end in (100_000, 200_000, 300_000, 400_000):
        with tus.wire() as wire:
            tus.append(wire, path, told, song[told:end], length=len(song) - told)
            time.sleep(0.05)
            tus.server.restart(kill=True)
        offset = tus.offset(path)
        assert told <= offset <= end
        assert tus.stored(path)[:offset] == song[:offset]
        told = offset
    assert tus.patch(path, told, song[told:]).status == 204
    tus.server.restart(kill=True)
    assert tus.offset(path) == len(song)
    tus.check_finished(path, song)


def test_a_finished_upload_answers_after_kill_9(make_server, song):
    tus = Tus(make_server())
    path = tus.create(len(song))
    first = tus.patch(path, 0, song)
    tus.server.restart(kill=True)
    seen = tus.ask("HEAD", path)
    assert (seen.status, seen.headers["upload-offset"]) == (200, str(len(song)))
    assert seen.headers["content-location"] == first.headers["content-location"]


def test_parts_survive_kill_9_and_become_one(make_server, song):
    tus = Tus(make_server())
    parts = [song[:200_000], song[200_000:]]
    paths = [tus.create(len(part), Upload_Concat="partial") for part in parts]
    for path, part in zip(paths, parts, strict=True):
        assert tus.patch(path, 0, part).status == 204
    tus.server.restart(kill=True)
    answer = tus.ask("POST", "/uploads", {"Upload-Concat": f"final;{' '.join(paths)}"})
    assert answer.status == 201
    tus.check_finished(answer.headers["location"], song)
    assert list((tus.server.data_dir / "spool").iterdir()) == []


def test_bytes_that_nobody_checked_do_not_survive_kill_9(make_server, song):
    tus = Tus(make_server())
    path = tus.create(len(song))
    digest = b64encode(hashlib.sha1(song[:1000]).digest()).decode()
    assert tus.patch(path, 0, song[:1000], Upload_Checksum=f"sha1 {digest}").status == 204
    with tus.wire() as wire:
        wrong = b64encode(hashlib.sha1(b"").digest()).decode()
        tus.append(wire, path, 1000, song[1000:200_000], length=len(song) - 1000, Upload_Checksum=f"sha1 {wrong}")
        wait_until(lambda: len(tus.stored(path)) > 1000)
        tus.server.restart(kill=True)
    assert tus.offset(path) == 1000
    assert tus.patch(path, 1000, song[1000:]).status == 204
    tus.check_finished(path, song)


def test_more_bytes_than_announced_are_not_kept_if_a_checksum_was_held_over_them(tus, song):
    path = tus.create(100_000)
    checksum = f"sha1 {b64encode(hashlib.sha1(song[:100_001]).digest()).decode()}"
    with tus.wire() as wire:
        tus.append(wire, path, 0, Transfer_Encoding="chunked", Upload_Checksum=checksum)
        for start in range(0, 100_001, 10_000):
            wire.chunk(song[start : min(start + 10_000, 100_001)])
            time.sleep(0.001)
        wire.chunk(b"")
        assert wire.read().status == 400
    assert tus.offset(path) == 0
