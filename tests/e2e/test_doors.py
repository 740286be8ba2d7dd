"""Every door, as its users find it: curl, real mp3 files of real encoders, and what is no mp3 at all."""

import hashlib
import os
import socket
import sqlite3
import struct
import time
from base64 import b64encode
from itertools import cycle

import pytest

from tests import corpus
from tests.e2e.conftest import Server

pytestmark = pytest.mark.e2e

DOORS = {
    "put": lambda path: ("/spool/", "-T", path),
    "put chunked": lambda path: ("/spool/song.mp3", "-T", "-", "-H", "Transfer-Encoding: chunked"),
    "form": lambda path: ("/tracks", "-F", f"mp3=@{path}"),
    "form, name before": lambda path: ("/tracks", "-F", "name=A Name", "-F", f"mp3=@{path}"),
    "form, name after": lambda path: ("/tracks", "-F", f"file=@{path};type=audio/mpeg", "-F", "name=A Name"),
    "raw": lambda path: ("/tracks", "--data-binary", f"@{path}", "-H", "Content-Type: audio/mpeg"),
}

FILES = (
    "cbr128 cbr320 vbr vbr_low abr mono jingle no_xing_cbr no_xing free_format crc "
    "ffmpeg_cbr ffmpeg_vbr ffmpeg_no_xing id3v23 id3v24_id3v1 ape_id3v1 lyrics3 cover id3_twice one_frame "
    + " ".join(f"rate_{rate} rate_{rate}_vbr rate_{rate}_mono" for rate in corpus.SAMPLE_RATES)
).split()

# Every file through one door, and some typical ones through every door.
PAIRS = [
    *zip(FILES, cycle(DOORS), strict=False),
    *((name, door) for name in ("vbr", "cover", "jingle") for door in DOORS),
]


def send(server, path, door, *more):
    target, *arguments = DOORS[door](path)
    content = path.read_bytes() if "-" in arguments else None
    return server.curl(target, *arguments, *more, input=content)


@pytest.mark.parametrize(("name", "door"), sorted(set(PAIRS)))
def test_an_mp3_goes_in_at_a_door_and_comes_out_unchanged(server, path_of, name, door):
    path = path_of(name)
    content = path.read_bytes()
    digest = hashlib.sha256(content)
    answer = send(server, path, door)
    assert (answer.status, answer.exit_code) == (201, 0), answer.body
    track = answer.json()
    assert answer.headers["location"] == f"/tracks/{track['id']}"
    assert answer.headers["repr-digest"] == f"sha-256=:{b64encode(digest.digest()).decode()}:"
    assert answer.headers["content-type"] == "application/json"
    assert (track["size"], track["sha256"]) == (len(content), digest.hexdigest())
    assert track["title"] == ("A Name" if "name" in door else "song" if "chunked" in door else track["title"])
    if door not in ("put chunked", "raw"):
        assert track["filename"] == path.name

    again = server.curl(answer.headers["location"])
    assert (again.status, but_for_analysis(again.json())) == (200, but_for_analysis(track))
    version = answer.headers["etag"].rpartition("-")[0]
    assert again.headers["etag"].startswith(version)

    download = server.curl(track["url"])
    assert (download.status, download.body) == (200, content)
    frame_s = (1152 if track["sample_rate"] >= 32_000 else 576) / track["sample_rate"]
    seconds = 12 if name == "free_format" else corpus.decoded_seconds(path)  # which ffmpeg cannot decode
    assert track["duration"] == pytest.approx(seconds, abs=frame_s + 0.001)


def but_for_analysis(track):
    """What is known of a track from its first moment on."""
    said_by_the_file = {"title", "artist", "album", "album_artist", "genre", "composer", "comment", "tags", "cover"}
    numbers = {"year", "track_number", "disc_number"}
    found_later = {*said_by_the_file, *numbers, "state", "metadata", "updated_at"}
    return {name: value for name, value in track.items() if name not in found_later}


def test_a_track_is_listed_the_moment_its_receipt_is_out(server, path_of):
    track = send(server, path_of("mono"), "put").json()
    assert track["id"] in [each["id"] for each in server.get_json("/tracks?limit=500")["items"]]


def test_several_files_are_answered_one_by_one(server, path_of):
    answer = server.curl(
        "/tracks",
        *("-F", f"mp3=@{path_of('jingle')}", "-F", "name=First"),
        *("-F", f"mp3=@{path_of('text')}"),
        *("-F", "name=Third", "-F", f"file=@{path_of('mono')}"),
    )
    assert answer.status == 207
    items = answer.json()["items"]
    assert [item["status"] for item in items] == [201, 415, 201]
    assert [item["filename"] for item in items] == ["jingle.mp3", "text.mp3", "mono.mp3"]
    assert items[1]["problem"]["type"] == "/problems/not-an-mp3"
    assert items[2]["track"]["title"] in ("Third", "mono")


DAMAGE = {
    "half": {"truncated": True},
    "half_vbr": {"truncated": True},
    "junk_inside": {"gaps": 1, "junk_bytes": 1000},
    "junk_first": {"junk_bytes": 3000},
    "junk_last": {"junk_bytes": 3000},
    "joined": {},
    "joined_rates": {},
    "joined_tagged": {},
    "no_xing": {"truncated": False, "gaps": 0, "junk_bytes": 0},
    "cbr128": {"truncated": False, "gaps": 0, "junk_bytes": 0},
}


@pytest.mark.parametrize(("name", "door"), list(zip(DAMAGE, cycle(DOORS), strict=False)))
def test_a_damaged_mp3_is_taken_and_described_truly(server, path_of, name, door):
    path = path_of(name)
    answer = send(server, path, door)
    assert answer.status == 201, answer.body
    track = answer.json()
    for key, value in DAMAGE[name].items():
        assert track["audio"][key] == pytest.approx(value, rel=0.5), key
    assert track["duration"] == pytest.approx(corpus.decoded_seconds(path), rel=0.02, abs=0.2)
    assert server.curl(track["url"]).body == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "door"),
    [
        *zip(corpus.NOT_MP3, cycle(DOORS), strict=False),
        *((name, door) for name in ("wav", "pdf", "text", "random_1") for door in DOORS),
    ],
)
def test_what_is_no_mp3_is_refused(server, path_of, name, door):
    answer = send(server, path_of(name), door)
    assert answer.status == 415, answer.body
    problem = answer.json()
    assert problem["type"] == "/problems/not-an-mp3"
    assert problem["status"] == 415
    assert problem["instance"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.exit_code == 0


@pytest.fixture(scope="module")
def huge(tmp_path_factory):
    path = tmp_path_factory.mktemp("huge") / "huge.mp3"
    block = os.urandom(1 << 20)
    with path.open("wb") as file:
        for number in range(200):
            file.write(number.to_bytes(4, "big") + block[4:])
    return path


@pytest.mark.parametrize("expect", ["Expect: 100-continue", "Expect:"])
@pytest.mark.parametrize("door", ["put", "put chunked", "form", "raw"])
def test_200_mb_of_noise_are_refused_in_the_first_kilobytes_and_curl_sees_it(server, huge, door, expect):
    target, *arguments = DOORS[door](huge)
    before, parts = received_bytes(server), set((server.data_dir / "spool").iterdir())
    assert before > 0 or not rows(server, "SELECT * FROM tracks")
    if door == "put chunked":
        arguments = ["-T", huge, "-H", "Transfer-Encoding: chunked"]
    if door == "raw":
        arguments = ["-X", "POST", "-T", huge, "-H", "Content-Type: audio/mpeg"]
    answer = server.curl(target, *arguments, "-H", expect)
    assert answer.status == 415, answer.stderr
    assert answer.json()["type"] == "/problems/not-an-mp3"
    assert answer.json()["bytes_examined"] < 1 << 20
    assert received_bytes(server) - before < 8 << 20, "stored on and on"
    assert answer.sent_bytes < 100 << 20
    assert set((server.data_dir / "spool").iterdir()) == parts


def received_bytes(server) -> float:
    metrics = server.curl("/metrics").body.decode()
    return sum(
        float(line.split()[-1]) for line in metrics.splitlines() if line.startswith("yarrr_received_bytes_total")
    )


def digest_of(name: str, content: bytes) -> str:
    return b64encode(hashlib.new(name, content).digest()).decode()


@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest"])
@pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
def test_digests_are_checked(server, path_of, field, algorithm):
    path = path_of("jingle")
    name = algorithm.replace("-", "")
    right = f"{field}: {algorithm}=:{digest_of(name, path.read_bytes())}:"
    wrong = f"{field}: {algorithm}=:{digest_of(name, b'')}:"
    ((count,),) = rows(server, "SELECT used_tracks FROM users")
    assert send(server, path, "put", "-H", right).status == 201
    refused = send(server, path, "put", "-H", wrong)
    assert (refused.status, refused.json()["type"]) == (422, "/problems/digest-mismatch")
    assert refused.json()["found"] == hashlib.new(name, path.read_bytes()).hexdigest()
    broken = send(server, path, "put", "-H", f"{field}: {algorithm}=nonsense")
    assert (broken.status, broken.json()["field"]) == (400, field)
    short = send(server, path, "put", "-H", f"{field}: {algorithm}=:AAAA:")
    assert short.status == 400
    assert rows(server, "SELECT used_tracks FROM users") == [(count + 1,)]


def test_digests_that_contradict_each_other_are_refused(server, path_of):
    path = path_of("jingle")
    right, other = digest_of("sha256", path.read_bytes()), digest_of("sha256", b"")
    answer = send(
        server, path, "put", "-H", f"Content-Digest: sha-256=:{right}:", "-H", f"Repr-Digest: sha-256=:{other}:"
    )
    assert answer.status == 400


def test_a_digest_of_a_form_belongs_into_its_part(server, path_of):
    path = path_of("jingle")
    right, wrong = digest_of("sha256", path.read_bytes()), digest_of("sha256", b"")
    assert server.curl("/tracks", "-F", f'mp3=@{path};headers="Content-Digest: sha-256=:{right}:"').status == 201
    assert server.curl("/tracks", "-F", f'mp3=@{path};headers="Content-Digest: sha-256=:{wrong}:"').status == 422
    assert server.curl("/tracks", "-F", f"mp3=@{path}", "-H", f"Content-Digest: sha-256=:{right}:").status == 400


def test_no_line_of_a_digest_is_overlooked(server, path_of):
    path = path_of("jingle")
    first, wrong = f"Repr-Digest: md5=:{'A' * 22}==:", f"Repr-Digest: sha-256=:{digest_of('sha256', b'')}:"
    assert send(server, path, "put", "-H", first, "-H", wrong).status == 422
    part = f'mp3=@{path};headers="{first}";headers="{wrong}"'
    assert server.curl("/tracks", "-F", part).status == 422
    tus = ("-H", "Tus-Resumable: 1.0.0", "-H", "Content-Type: application/offset+octet-stream")
    length = f"Upload-Length: {path.stat().st_size}"
    whole = ("--data-binary", f"@{path}")
    assert server.curl("/uploads", *tus, "-H", length, "-H", first, "-H", wrong, *whole).status == 422
    draft = ("-H", "Upload-Complete: ?1", "-H", "Content-Type: audio/mpeg")
    assert server.curl("/tracks", *draft, "-H", first, "-H", wrong, *whole).status == 422


HOSTILE = [
    ("..%2F..%2F..%2Fetc%2Fpasswd", "passwd"),
    ("%2e%2e%5c%2e%2e%5cwindows.mp3", "windows.mp3"),
    ("..%252fdouble.mp3", "..%2fdouble.mp3"),
    ("nul%00byte.mp3", "nulbyte.mp3"),
    ("%00", "untitled.mp3"),
    ("%E2%80%AE3pm.mp3", "3pm.mp3"),
    ("...", "untitled.mp3"),
    ("%2e%2e%2e", "untitled.mp3"),
    ("%20%20", "untitled.mp3"),
    ("x" * 300 + ".mp3", "x" * 251 + ".mp3"),
    ("%0d%0aSet-Cookie:%20a=b.mp3", "Set-Cookie: a=b.mp3"),
    ("-rf", "-rf"),
    ("%F0%9F%8F%B4%E2%80%8D%E2%98%A0%EF%B8%8F.mp3", "🏴\u200d☠️.mp3"),
    ("a;b&c=d,e'f%22g.mp3", "a;b&c=d,e'f\"g.mp3"),
    ("", "untitled.mp3"),
]


@pytest.mark.parametrize(("sent", "kept"), HOSTILE)
def test_a_name_is_only_text(server, path_of, sent, kept):
    path = path_of("jingle")
    answer = server.curl(f"/spool/{sent}", "--path-as-is", "-T", "-", input=path.read_bytes())
    assert answer.status == 201, answer.body
    assert answer.json()["filename"] == kept
    download = server.curl(answer.json()["url"] + "?download=1")
    assert download.body == path.read_bytes()
    assert "set-cookie" not in download.headers
    only_ids(server)


@pytest.mark.parametrize("name", [b"%ff%fe.mp3", b"%c0%ae%c0%ae%c0%af.mp3", b"%ed%a0%80.mp3"])
def test_a_name_that_is_no_text_is_taken_or_refused(server, path_of, name):
    content = path_of("jingle").read_bytes()
    status, _ = raw(server, b"PUT /spool/" + name + b" HTTP/1.1", content)
    assert status in (201, 400)
    only_ids(server)


FORM_NAMES = [
    (b"../../../../tmp/evil.mp3", "evil.mp3"),
    (b"..\\\\..\\\\evil.mp3", "evil.mp3"),
    (b"\xe2\x80\xaegpj.mp3", "gpj.mp3"),
    (b"\xff\xfe.mp3", None),
    (b"a" * 400 + b".mp3", "a" * 251 + ".mp3"),
    (b".", "untitled.mp3"),
]


@pytest.mark.parametrize(("sent", "kept"), FORM_NAMES)
def test_a_name_in_a_form_is_only_text(server, path_of, sent, kept):
    body = (
        b'--x\r\nContent-Disposition: form-data; name="mp3"; filename="'
        + sent
        + b'"\r\n\r\n'
        + path_of("jingle").read_bytes()
        + b"\r\n--x--\r\n"
    )
    status, answer = raw(server, b"POST /tracks HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x", body)
    if kept is None:
        assert status in (201, 400)
    else:
        assert status == 201
        assert f'"filename":"{kept}"'.encode() in answer
    only_ids(server)


def raw(server, first: bytes, body: bytes) -> tuple[int, bytes]:
    """One request over a plain socket; the status and the whole answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        head = b"%s\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
        connection.sendall(head % (first, server.token.encode(), len(body)) + body)
        answer = b""
        while block := connection.recv(65536):
            answer += block
    return int(answer.split()[1]), answer


def only_ids(server) -> None:
    """In the data directory there is nothing that a client has named."""
    hexadecimal = set("0123456789abcdef")
    for path in server.data_dir.rglob("*"):
        name = path.name.removesuffix(".part").removesuffix(".jpg")
        known = {"blobs", "covers", "spool", "lock", "catalogue.db", "catalogue.db-wal", "catalogue.db-shm", "ballast"}
        assert set(name) <= hexadecimal or name in known, path
    assert {path.name for path in server.directory.iterdir()} <= {"data", "server.log"}


def test_an_empty_body_is_no_mp3(server):
    status, answer = raw(server, b"PUT /spool/empty.mp3 HTTP/1.1", b"")
    assert status == 415
    assert b"not-an-mp3" in answer


def test_packed_bodies_are_refused(server, path_of):
    for coding in ("gzip", "br", "deflate"):
        answer = send(server, path_of("gzip"), "put", "-H", f"Content-Encoding: {coding}")
        assert (answer.status, answer.json()["type"]) == (415, "/problems/unsupported-media-type")


def test_other_types_of_body_are_refused(server, path_of):
    answer = server.curl("/tracks", "--data-binary", f"@{path_of('jingle')}", "-H", "Content-Type: application/zip")
    assert answer.status == 415


def test_a_part_of_a_file_is_never_taken_for_the_whole(server, path_of):
    answer = send(server, path_of("cbr128"), "put", "-H", "Content-Range: bytes 100-999/5000")
    assert (answer.status, answer.json()["field"]) == (400, "Content-Range")


def test_a_form_without_a_file_says_what_it_wants(server):
    for form in (["-F", "name=x"], ["-F", "mp3=;filename="], ["-F", "picture=@/dev/null;filename=x.png"]):
        answer = server.curl("/tracks", *form)
        assert answer.status == 422, (form, answer.body)
        assert answer.json()["errors"][0]["pointer"] in ("/mp3", "/picture")


def test_without_a_token_nothing_is_taken(server, path_of):
    for door in DOORS:
        target, *arguments = DOORS[door](path_of("jingle"))
        content = path_of("jingle").read_bytes() if "-" in arguments else None
        answer = server.curl(target, *arguments, authenticated=False, input=content)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_browser_is_sent_to_its_track(server, path_of):
    answer = send(server, path_of("jingle"), "form", "-H", "Accept: text/html,*/*;q=0.8")
    assert answer.status in (201, 303)
    answer = server.curl(
        "/tracks", "-F", f"mp3=@{path_of('jingle')}", "-H", f"Cookie: session={server.token}",
        "-H", "Accept: text/html", authenticated=False,
    )  # fmt: skip
    assert answer.status in (303, 401)
    if answer.status == 303:
        assert answer.headers["location"].startswith("/tracks/")


@pytest.mark.parametrize("length", ["9223372036854775808", "9223372036854775807", "99999999999999999999999"])
def test_absurd_lengths_are_refused(server, length):
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        head = f"PUT /spool/a.mp3 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n"
        connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
        assert connection.recv(100).split()[1] in (b"413", b"400")


@pytest.fixture(scope="module")
def small(tmp_path_factory, content_of):
    """A server whose limits are those of one file."""
    size = len(content_of("cbr128"))
    server = Server(
        tmp_path_factory.mktemp("small"), max_upload_bytes=size, quota_bytes=3 * size, body_idle_timeout_s=1
    ).start()
    yield server
    server.stop()
    assert "Traceback" not in server.log, server.log


def rows(server, sql: str) -> list[tuple]:
    connection = sqlite3.connect(f"file:{server.database_path}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_limits_are_exact(small, path_of, tmp_path):
    path = path_of("cbr128")
    larger = tmp_path / "larger.mp3"
    larger.write_bytes(path.read_bytes() + b"\0")
    for door in DOORS:
        answer = send(small, larger, door)
        assert (answer.status, answer.json()["type"]) == (413, "/problems/too-large"), door
        assert answer.json()["limit_bytes"] == path.stat().st_size
    for door in ("put", "put chunked", "form"):
        assert send(small, path, door).status == 201, door
    for door in DOORS:
        answer = send(small, path_of("one_frame"), door)
        assert (answer.status, answer.json()["type"]) == (413, "/problems/quota-exceeded"), door
    ((used, reserved),) = rows(small, "SELECT used_bytes, reserved_bytes FROM users")
    assert (used, reserved) == (3 * path.stat().st_size, 0)


def vanish(server, content: bytes, how: str, *, chunked: bool) -> None:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {2 * len(content)}"
    head = f"PUT /spool/{how.replace(' ', '-')}.mp3 HTTP/1.1\r\nHost: x\r\n{framing}\r\n"
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=10)
    connection.sendall(f"{head}Authorization: Bearer {server.token}\r\n\r\n".encode())
    connection.sendall(b"%x\r\n" % (2 * len(content)) + content if chunked else content)
    time.sleep(0.3)
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half-close":
        connection.shutdown(socket.SHUT_WR)
        time.sleep(0.3)
    connection.close()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
def test_what_a_vanished_client_delivered_is_kept_to_the_byte(server, content_of, how, chunked):
    content = content_of("cbr320")
    before = {row[0] for row in rows(server, "SELECT upload_id FROM uploads")}
    vanish(server, content, how, chunked=chunked)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        new = [row for row in rows(server, 'SELECT upload_id, state, "offset" FROM uploads') if row[0] not in before]
        if new and new[0][2]:
            break
        time.sleep(0.05)
    ((upload_id, state, offset),) = new
    assert (state, offset) == ("receiving", len(content))
    assert (server.data_dir / "spool" / f"{upload_id}.part").read_bytes() == content


def test_a_client_that_stops_sending_is_told_so(small):
    with socket.create_connection(("127.0.0.1", small.port), timeout=10) as connection:
        head = f"PUT /spool/slow.mp3 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nAuthorization: Bearer {small.token}"
        connection.sendall(f"{head}\r\n\r\n".encode())
        start = time.monotonic()
        answer = connection.recv(65536)
    assert answer.split()[1] in (b"408", b"413")
    assert time.monotonic() - start < 4
