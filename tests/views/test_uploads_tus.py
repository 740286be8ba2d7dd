"""tus 1.0.0 at /uploads. What needs a real connection (races, cuts, framing) is in tests/e2e/test_tus_raw.py."""

import asyncio
import hashlib
import sqlite3
import threading
import time
from base64 import b64encode
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import argon2
import google_crc32c
import pytest

from service.catalogue import users
from service.storage.local import LocalBlobs

TUS = {"Tus-Resumable": "1.0.0"}
TYPE = {"Content-Type": "application/offset+octet-stream"}
BOBS_PASSWORD = "another horse battery"
UNKNOWN = f"/uploads/{'0' * 32}"


@pytest.fixture
def headers(auth):
    return {**auth, **TUS}


@pytest.fixture
def song(content_of):
    return content_of("vbr")


@pytest.fixture
def create(client, headers):
    """A function that creates an upload of a length, or with other fields; its answer."""

    async def create(length=None, body=None, **fields):
        sent = {**headers, **{name.replace("_", "-"): value for name, value in fields.items()}}
        if length is not None:
            sent["Upload-Length"] = str(length)
        return await client.post("/uploads", headers=sent, data=body)

    return create


@pytest.fixture
def begin(create):
    """A function that creates an upload; its path."""

    async def begin(length=None, **fields):
        answer = await create(length, **fields)
        assert answer.status == 201, await answer.text()
        return answer.headers["Location"]

    return begin


@pytest.fixture
def patch(client, headers):
    """A function that appends to the upload at a path; the answer."""

    async def patch(path, offset, body, **fields):
        more = {name.replace("_", "-"): value for name, value in fields.items()}
        return await client.patch(path, headers={**headers, **TYPE, "Upload-Offset": str(offset), **more}, data=body)

    return patch


@pytest.fixture
def head(client, headers):
    async def head(path, **fields):
        return await client.head(path, headers={**headers, **fields})

    return head


@pytest.fixture
def only_track(client, auth):
    """A function that gives the only track there is."""

    async def only_track():
        (track,) = (await (await client.get("/tracks", headers=auth)).json())["items"]
        return track

    return only_track


@pytest.fixture
async def other(client, auth, settings):
    """The header fields of another user."""
    password_hash = argon2.PasswordHasher(memory_cost=8192, time_cost=1, parallelism=1).hash(BOBS_PASSWORD)
    with sqlite3.connect(settings.data_dir / "catalogue.db") as connection:
        users.insert(connection, "bob", "bob", password_hash, now=0)
    connection.close()
    answer = await client.post("/login", json={"username": "bob", "password": BOBS_PASSWORD})
    return {"Authorization": f"Bearer {(await answer.json())['token']}", **TUS}


def metadata(**values):
    return ",".join(f"{key} {b64encode(value.encode()).decode()}" for key, value in values.items())


def checksum(algorithm, content):
    if algorithm == "crc32c":
        digest = google_crc32c.Checksum(content).digest()
    else:
        digest = hashlib.new(algorithm, content).digest()
    return f"{algorithm} {b64encode(digest).decode()}"


async def code_of(answer):
    return (await answer.json())["type"].removeprefix("/problems/")


# Every exchange


@pytest.mark.parametrize("path", ["/uploads", UNKNOWN, "/uploads/nothing"])
async def test_options_tells_what_the_server_can_do_to_anybody(client, path, settings):
    for sent in ({}, TUS, {"Tus-Resumable": "0.2.2"}):
        answer = await client.options(path, headers=sent)
        assert answer.status == 204
        assert answer.headers["Tus-Version"] == "1.0.0"
        assert set(answer.headers["Tus-Extension"].split(",")) == {
            "creation",
            "creation-with-upload",
            "creation-defer-length",
            "termination",
            "checksum",
            "concatenation",
            "expiration",
        }
        assert answer.headers["Tus-Max-Size"] == str(settings.max_upload_bytes)
        assert answer.headers["Tus-Checksum-Algorithm"] == "sha1,sha256,crc32c"


@pytest.mark.parametrize("version", ["0.2.2", "1.0.1", "", "1.0.0, 1.0.0"])
@pytest.mark.parametrize("method", ["POST", "HEAD", "GET", "PATCH", "DELETE"])
async def test_another_version_is_refused_and_changes_nothing(client, auth, begin, head, song, method, version):
    path = await begin(len(song))
    target = "/uploads" if method == "POST" else path
    sent = {**auth, **TYPE, "Tus-Resumable": version, "Upload-Offset": "0", "Upload-Length": str(len(song))}
    body = song if method in ("POST", "PATCH") else None
    answer = await client.request(method, target, headers=sent, data=body)
    assert answer.status == 412
    assert answer.headers["Tus-Version"] == answer.headers["Tus-Resumable"] == "1.0.0"
    assert (await head(path)).headers["Upload-Offset"] == "0"
    assert len((await (await client.get("/uploads", headers=auth)).json())["items"]) == 1


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_would_change_something_needs_a_version(client, auth, begin, song, method):
    path = await begin(len(song))
    sent = {**auth, **TYPE, "Upload-Offset": "0", "Upload-Length": "100"}
    answer = await client.request(method, "/uploads" if method == "POST" else path, headers=sent, data=song)
    assert (answer.status, await code_of(answer)) == (412, "tus-version-mismatch")


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("POST", "/uploads", {"Authorization": "Bearer no", "Upload-Length": "1"}, 401),
        ("HEAD", UNKNOWN, {"Authorization": "Bearer no"}, 401),
        ("HEAD", UNKNOWN, {}, 404),
        ("PUT", UNKNOWN, {}, 405),
        ("POST", UNKNOWN, {}, 405),
        ("PATCH", UNKNOWN, {}, 415),
        ("DELETE", "/uploads", {}, 405),
        ("POST", "/uploads", {"Upload-Length": "x"}, 400),
        ("POST", "/uploads", {"Upload-Length": "1", "Content-Encoding": "gzip"}, 415),
        ("GET", "/no/such/thing", {}, 404),
        ("POST", "/uploads", {"Upload-Length": "1", "Authorization": "", "Origin": "https://evil.example"}, 403),
    ],
)
async def test_every_answer_to_a_tus_request_says_its_version(client, headers, method, path, more, status):
    answer = await client.request(method, path, headers={**headers, **more})
    assert answer.status == status
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert "X-Request-ID" in answer.headers


async def test_other_requests_are_told_nothing_of_tus(client, auth, begin):
    assert "Tus-Resumable" not in (await client.get("/livez")).headers
    draft = {**auth, "Upload-Draft-Interop-Version": "8"}
    assert "Tus-Resumable" not in (await client.head(await begin(10), headers=draft)).headers


# Creation


async def test_an_upload_in_two_appends(client, headers, create, patch, head, song, only_track):
    created = await create(len(song), Upload_Metadata=metadata(filename="a b.mp3", title="Für Elise"))
    assert created.status == 201
    path = created.headers["Location"]
    assert not urlsplit(path).netloc, "relative, so it is right behind any proxy"
    assert created.headers["Tus-Resumable"] == "1.0.0"
    assert created.headers["Upload-Offset"] == "0"
    assert await created.read() == b""
    first = await patch(path, 0, song[:50_000])
    assert (first.status, first.headers["Upload-Offset"]) == (204, "50000")
    assert "Content-Location" not in first.headers
    seen = await head(path)
    assert (seen.headers["Upload-Offset"], seen.headers["Upload-Length"]) == ("50000", str(len(song)))
    last = await patch(path, 50_000, song[50_000:])
    assert (last.status, last.headers["Upload-Offset"]) == (204, str(len(song)))
    assert await last.read() == b""
    track = await only_track()
    assert last.headers["Content-Location"] == f"/tracks/{track['id']}"
    assert last.headers["Repr-Digest"] == f"sha-256=:{b64encode(hashlib.sha256(song).digest()).decode()}:"
    assert (track["filename"], track["title"], track["size"]) == ("a b.mp3", "Für Elise", len(song))
    audio = await client.get(f"/tracks/{track['id']}/audio", headers=headers)
    assert await audio.read() == song


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Upload_Length": "-1"},
        {"Upload_Length": "+5"},
        {"Upload_Length": "1_0"},
        {"Upload_Length": "٣"},
        {"Upload_Length": "9" * 30},
        {"Upload_Length": "5", "Upload_Defer_Length": "1"},
        {"Upload_Defer_Length": "2"},
        {"Upload_Defer_Length": "true"},
        {"Upload_Length": "5", "Upload_Metadata": "a YQ==,a YQ=="},
        {"Upload_Length": "5", "Upload_Metadata": "a \u00e9"},
        {"Upload_Length": "5", "Upload_Concat": "total"},
        {"Upload_Length": "5", "Upload_Checksum": "md5 XrY7u+Ae7tCTyyK7j1rNww=="},
    ],
)
async def test_a_creation_that_makes_no_sense_is_refused(client, auth, create, fields):
    answer = await create(**fields)
    assert (answer.status, await code_of(answer)) == (400, "invalid-header")
    assert (await (await client.get("/uploads", headers=auth)).json())["items"] == []


async def test_a_field_that_comes_twice_is_no_number(client, headers):
    sent = [*headers.items(), ("Upload-Length", "5"), ("Upload-Length", "7")]
    assert (await client.post("/uploads", headers=sent)).status == 400


async def test_an_upload_may_be_as_large_as_the_limit_and_no_larger(make_client, change_settings, song):
    client = await make_client(change_settings(max_upload_bytes=len(song)))
    login = {"username": "admin", "password": "correct horse battery"}
    token = (await (await client.post("/login", json=login)).json())["token"]
    headers = {"Authorization": f"Bearer {token}", **TUS}
    sizes = {0: 201, 1: 413}
    for more, status in sizes.items():
        answer = await client.post("/uploads", headers={**headers, "Upload-Length": str(len(song) + more)})
        assert answer.status == status
    deferred = await client.post("/uploads", headers={**headers, "Upload-Defer-Length": "1"})
    path = deferred.headers["Location"]
    more = {**headers, **TYPE, "Upload-Offset": "0", "Upload-Length": str(len(song) + 1)}
    assert (await client.patch(path, headers=more, data=song[:10])).status == 413
    seen = await client.head(path, headers=headers)
    assert (seen.headers["Upload-Offset"], seen.headers["Upload-Defer-Length"]) == ("0", "1")


async def test_more_than_the_quota_is_413(create, settings):
    answer = await create(settings.max_upload_bytes + 1)
    assert (answer.status, await code_of(answer)) == (413, "too-large")


async def test_an_empty_upload_is_no_mp3_from_its_beginning(client, auth, create):
    answer = await create(0)
    assert (answer.status, await code_of(answer)) == (415, "not-an-mp3")
    assert (await (await client.get("/uploads", headers=auth)).json())["items"] == []


@pytest.mark.parametrize(
    ("name", "filename"),
    [
        ("../../etc/passwd", "passwd"),
        ("a\r\nSet-Cookie: x=y.mp3", "a Set-Cookie: x=y.mp3"),
        ("a\0b.mp3", "ab.mp3"),
        ("\u202egpj.mp3", "gpj.mp3"),
        ("", "untitled.mp3"),
        ("..", "untitled.mp3"),
        ("C:\\music\\song.mp3", "song.mp3"),
    ],
)
async def test_a_hostile_name_is_only_text(create, head, song, only_track, name, filename):
    raw = metadata(filename=name)
    answer = await create(len(song), song, Upload_Metadata=raw, **TYPE)
    assert answer.status == 201
    assert (await only_track())["filename"] == filename
    assert (await head(answer.headers["Location"])).headers["Upload-Metadata"] == raw.strip()


async def test_a_very_long_name_is_cut_and_given_back_whole(create, head, song, only_track):
    raw = metadata(filename="x" * 3000 + ".mp3", title="t" * 3000)
    answer = await create(len(song), song, Upload_Metadata=raw, **TYPE)
    track = await only_track()
    assert track["filename"].endswith("x.mp3")
    assert (len(track["filename"]), len(track["title"])) == (255, 255)
    assert (await head(answer.headers["Location"])).headers["Upload-Metadata"] == raw


async def test_metadata_are_given_back_just_as_they_came(begin, head):
    raw = "zeta ,alpha YQ==,name YS5tcDM= ,  beta"
    assert (await head(await begin(10, Upload_Metadata=raw))).headers["Upload-Metadata"] == raw


async def test_uppy_s_name_is_the_file_s_name(create, song, only_track):
    await create(len(song), song, Upload_Metadata=metadata(name="uppy.mp3", type="audio/mpeg"), **TYPE)
    assert (await only_track())["filename"] == "uppy.mp3"


# Creation with upload


async def test_a_whole_upload_in_its_creation(create, head, song, only_track):
    answer = await create(len(song), song, **TYPE)
    assert (answer.status, answer.headers["Upload-Offset"]) == (201, str(len(song)))
    assert answer.headers["Location"].startswith("/uploads/")
    assert answer.headers["Content-Location"] == f"/tracks/{(await only_track())['id']}"
    assert "Upload-Expires" not in answer.headers
    assert (await head(answer.headers["Location"])).headers["Upload-Offset"] == str(len(song))


async def test_the_first_bytes_in_its_creation(create, patch, song):
    answer = await create(len(song), song[:9000], **TYPE)
    assert (answer.status, answer.headers["Upload-Offset"]) == (201, "9000")
    assert (await patch(answer.headers["Location"], 9000, song[9000:])).headers["Upload-Offset"] == str(len(song))


async def test_a_body_of_another_type_counts_as_none(create, head, song):
    answer = await create(len(song), song[:9000], Content_Type="audio/mpeg")
    assert (answer.status, answer.headers["Upload-Offset"]) == (201, "0")
    assert (await head(answer.headers["Location"])).headers["Upload-Offset"] == "0"


async def test_what_is_refused_in_its_creation_leaves_no_upload(client, auth, create, song):
    for length, body, fields, status in [
        (len(song), song[:-1] + b"!", {"Upload_Checksum": checksum("sha1", song)}, 460),
        (100_000, b"%PDF-1.7 " * 10_000, {}, 415),
        (1000, song, {}, 400),
    ]:
        answer = await create(length, body, **TYPE, **fields)
        assert answer.status == status
        assert "Location" not in answer.headers
    assert (await (await client.get("/uploads", headers=auth)).json())["items"] == []
    assert (await (await client.get("/me", headers=auth)).json())["quota"]["reserved_bytes"] == 0


# Deferred length


async def test_a_length_may_be_told_with_the_last_bytes(begin, patch, head, song):
    path = await begin(Upload_Defer_Length="1")
    seen = await head(path)
    assert seen.headers["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in seen.headers
    await patch(path, 0, song[:1000])
    assert (await head(path)).headers["Upload-Defer-Length"] == "1"
    last = await patch(path, 1000, song[1000:], Upload_Length=str(len(song)))
    assert "Content-Location" in last.headers
    seen = await head(path)
    assert seen.headers["Upload-Length"] == str(len(song))
    assert "Upload-Defer-Length" not in seen.headers


async def test_a_length_may_be_told_without_bytes(begin, patch, song):
    path = await begin(Upload_Defer_Length="1")
    await patch(path, 0, song)
    last = await patch(path, len(song), b"", Upload_Length=str(len(song)))
    assert last.status == 204
    assert "Content-Location" in last.headers


async def test_a_length_once_told_never_changes(begin, patch, head, song):
    path = await begin(Upload_Defer_Length="1")
    assert (await patch(path, 0, song[:1000], Upload_Length=str(len(song)))).status == 204
    for length in (len(song) + 1, len(song) - 1, 1000):
        answer = await patch(path, 1000, song[1000:2000], Upload_Length=str(length))
        assert (answer.status, await code_of(answer)) == (400, "inconsistent-upload-length")
    assert (await patch(path, 1000, b"", Upload_Length=str(len(song)))).status == 204
    assert (await head(path)).headers["Upload-Length"] == str(len(song))
    assert (await head(path)).headers["Upload-Offset"] == "1000"


async def test_a_length_below_the_offset_is_refused(begin, patch, head, song):
    path = await begin(Upload_Defer_Length="1")
    await patch(path, 0, song[:1000])
    assert (await patch(path, 1000, b"", Upload_Length="999")).status == 400
    assert (await head(path)).headers["Upload-Defer-Length"] == "1"


# HEAD


async def test_head_may_not_be_stored(begin, head):
    seen = await head(await begin(10))
    assert seen.status in (200, 204)
    assert "no-store" in seen.headers["Cache-Control"]


@pytest.mark.parametrize(
    "path", [UNKNOWN, "/uploads/nothing", "/uploads/%00", f"/uploads/{'0' * 32}%0a", "/uploads/%ff"]
)
@pytest.mark.parametrize("method", ["HEAD", "GET", "PATCH", "DELETE"])
async def test_an_unknown_upload_is_404_and_has_no_offset(client, headers, path, method):
    sent = {**headers, **TYPE, "Upload-Offset": "0"} if method == "PATCH" else headers
    answer = await client.request(method, path, headers=sent)
    assert answer.status == 404
    assert "Upload-Offset" not in answer.headers


async def test_another_user_s_upload_looks_like_none(client, other, begin, head, song):
    path = await begin(len(song))
    for method in ("HEAD", "GET", "PATCH", "DELETE"):
        sent = {**other, **TYPE, "Upload-Offset": "0"} if method == "PATCH" else other
        answer = await client.request(method, path, headers=sent, data=song if method == "PATCH" else None)
        assert answer.status == 404
        assert "Upload-Offset" not in answer.headers
    assert (await head(path)).headers["Upload-Offset"] == "0"


async def test_a_client_that_speaks_no_dialect_may_look(client, auth, begin):
    path = await begin(10)
    answer = await client.head(path, headers=auth)
    assert (answer.headers["Upload-Offset"], answer.headers["Upload-Length"]) == ("0", "10")
    assert answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.headers["Upload-Complete"] == "?0"


# PATCH


@pytest.mark.parametrize("content_type", ["application/octet-stream", "audio/mpeg", "text/plain"])
async def test_another_type_is_415(begin, patch, head, song, content_type):
    path = await begin(len(song))
    answer = await patch(path, 0, song, Content_Type=content_type)
    assert (answer.status, await code_of(answer)) == (415, "unsupported-media-type")
    assert (await head(path)).headers["Upload-Offset"] == "0"


@pytest.mark.parametrize("offset", [0, 999, 1001, 10**15])
async def test_another_offset_is_409_and_changes_nothing(begin, patch, head, song, offset):
    path = await begin(len(song))
    await patch(path, 0, song[:1000])
    answer = await patch(path, offset, song[1000:])
    assert (answer.status, await code_of(answer)) == (409, "offset-mismatch")
    assert answer.headers["Upload-Offset"] == "1000"
    assert (await answer.json())["expected_offset"] == 1000
    assert (await head(path)).headers["Upload-Offset"] == "1000"
    assert (await patch(path, 1000, song[1000:])).status == 204


@pytest.mark.parametrize("offset", ["", "-0", "0x0", "+0", "0, 0", "nil"])
async def test_an_offset_is_a_plain_number(begin, patch, song, offset):
    assert (await patch(await begin(len(song)), offset, song)).status == 400


async def test_an_offset_is_needed(client, headers, begin, song):
    answer = await client.patch(await begin(len(song)), headers={**headers, **TYPE}, data=song)
    assert answer.status == 400


async def test_an_empty_append_changes_nothing(begin, patch, head, song):
    path = await begin(len(song))
    await patch(path, 0, song[:1000])
    answer = await patch(path, 1000, b"")
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, "1000")


@pytest.mark.parametrize("chunked", [False, True])
async def test_more_bytes_than_announced_are_never_stored(begin, patch, head, song, chunked):
    async def body():
        yield song[1000:]
        yield b"more"

    path = await begin(len(song))
    await patch(path, 0, song[:1000])
    answer = await patch(path, 1000, body() if chunked else song[1000:] + b"more")
    assert (answer.status, await code_of(answer)) == (400, "inconsistent-upload-length")
    offset = int((await head(path)).headers["Upload-Offset"])
    assert 1000 <= offset <= len(song)
    last = await patch(path, offset, song[offset:])
    assert last.headers["Content-Location"]


async def test_a_finished_upload_takes_no_more_bytes(client, auth, create, patch, head, song, only_track):
    path = (await create(len(song), song, **TYPE)).headers["Location"]
    answer = await patch(path, len(song), b"more")
    assert (answer.status, answer.headers["Upload-Offset"]) == (409, str(len(song)))
    assert (await head(path)).headers["Upload-Offset"] == str(len(song))
    assert (await only_track())["size"] == len(song)


async def test_the_last_append_repeated_is_answered_again(begin, patch, song, only_track):
    path = await begin(len(song))
    first = await patch(path, 0, song)
    again = await patch(path, 0, song)
    assert (again.status, again.headers["Upload-Offset"]) == (204, str(len(song)))
    assert again.headers["Content-Location"] == first.headers["Content-Location"]
    await only_track()


async def test_what_is_no_mp3_is_refused_and_the_upload_is_over(client, auth, begin, patch, head):
    path = await begin(100_000)
    answer = await patch(path, 0, b"%PDF-1.7 " * 10_000)
    assert (answer.status, await code_of(answer)) == (415, "not-an-mp3")
    assert (await head(path)).status == 410
    again = await patch(path, 0, b"%PDF-1.7 ")
    assert (again.status, await code_of(again)) == (410, "upload-expired")
    assert (await (await client.get("/me", headers=auth)).json())["quota"]["reserved_bytes"] == 0


async def test_a_coded_body_is_refused(begin, patch, song):
    answer = await patch(await begin(len(song)), 0, song, Content_Encoding="gzip")
    assert answer.status == 415


# Expiration, termination


async def test_the_end_is_told_until_the_upload_is_finished(create, patch, head, song, settings):
    created = await create(len(song))
    path = created.headers["Location"]
    before = parsedate_to_datetime(created.headers["Upload-Expires"])
    assert created.headers["Upload-Expires"].endswith(" GMT")
    await asyncio.sleep(1.1)
    moved = await patch(path, 0, song[:1000])
    assert parsedate_to_datetime(moved.headers["Upload-Expires"]) > before
    assert (await head(path)).headers["Upload-Expires"] == moved.headers["Upload-Expires"]
    assert "Upload-Expires" not in (await patch(path, 1000, song[1000:])).headers


async def test_a_terminated_upload_is_gone(client, auth, headers, begin, patch, head, song):
    path = await begin(len(song))
    await patch(path, 0, song[:1000])
    assert (await client.delete(path, headers=headers)).status == 204
    assert (await head(path)).status == 410
    assert (await patch(path, 1000, song[1000:])).status == 410
    assert (await client.delete(path, headers=headers)).status == 410
    assert (await (await client.get("/me", headers=auth)).json())["quota"]["reserved_bytes"] == 0


async def test_a_finished_upload_is_only_forgotten(client, headers, create, head, song, only_track):
    path = (await create(len(song), song, **TYPE)).headers["Location"]
    assert (await client.delete(path, headers=headers)).status == 204
    assert (await head(path)).status == 404
    track = await only_track()
    assert (await client.get(f"/tracks/{track['id']}/audio", headers=headers)).status == 200


# Checksum


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "crc32c"])
async def test_a_checksum_that_does_not_hold_is_460_and_nothing_is_stored(begin, patch, head, song, algorithm):
    path = await begin(len(song))
    await patch(path, 0, song[:1000], Upload_Checksum=checksum(algorithm, song[:1000]))
    answer = await patch(path, 1000, song[1000:], Upload_Checksum=checksum(algorithm, song))
    assert answer.status == 460
    assert (await answer.json())["status"] == 460
    assert (await head(path)).headers["Upload-Offset"] == "1000"
    last = await patch(path, 1000, song[1000:], Upload_Checksum=checksum(algorithm, song[1000:]))
    assert last.status == 204
    assert "Content-Location" in last.headers


@pytest.mark.parametrize("value", ["md5 XrY7u+Ae7tCTyyK7j1rNww==", "sha1 ****", "sha1", "", "sha1 4waSgw=="])
async def test_a_checksum_that_cannot_be_checked_is_400(begin, patch, head, song, value):
    path = await begin(len(song))
    answer = await patch(path, 0, song, Upload_Checksum=value)
    assert (answer.status, await code_of(answer)) == (400, "invalid-header")
    assert (await head(path)).headers["Upload-Offset"] == "0"


# Concatenation


@pytest.fixture
def part(create):
    """A function that uploads a partial upload; its path."""

    async def part(content):
        answer = await create(len(content), content, Upload_Concat="partial", **TYPE)
        assert (answer.status, answer.headers["Upload-Offset"]) == (201, str(len(content)))
        return answer.headers["Location"]

    return part


@pytest.mark.parametrize("absolute", [False, True])
async def test_partial_uploads_become_one_in_their_order(
    client, headers, create, part, head, song, only_track, absolute
):
    second, first = await part(song[40_000:]), await part(song[:40_000])
    prefix = str(client.make_url("")).rstrip("/") if absolute else ""
    concat = f"final;{prefix}{first} {prefix}{second}"
    answer = await create(Upload_Concat=concat, Upload_Metadata=metadata(filename="whole.mp3"))
    assert answer.status == 201, await answer.text()
    assert answer.headers["Upload-Offset"] == str(len(song))
    track = await only_track()
    assert answer.headers["Content-Location"] == f"/tracks/{track['id']}"
    assert (track["filename"], track["sha256"]) == ("whole.mp3", hashlib.sha256(song).hexdigest())
    seen = await head(answer.headers["Location"])
    assert seen.headers["Upload-Concat"] == concat
    assert seen.headers["Upload-Offset"] == seen.headers["Upload-Length"] == str(len(song))
    quota = (await (await client.get("/me", headers=headers)).json())["quota"]
    assert (quota["used_bytes"], quota["reserved_bytes"]) == (len(song), 0)
    assert (await head(first)).status == 410


async def test_a_part_is_no_mp3_by_itself_and_no_item_of_a_list(client, auth, part, head, song):
    path = await part(b"not an mp3")
    assert (await head(path)).headers["Upload-Concat"] == "partial"
    assert (await (await client.get("/tracks", headers=auth)).json())["items"] == []
    assert (await (await client.get("/uploads", headers=auth)).json())["items"] == []


async def test_a_part_may_be_empty_and_may_be_named_twice(create, part, song, only_track, client, headers):
    whole, empty = await part(song), await part(b"")
    answer = await create(Upload_Concat=f"final;{whole} {empty} {whole}")
    assert answer.status == 201, await answer.text()
    assert (await only_track())["sha256"] == hashlib.sha256(song + song).hexdigest()
    quota = (await (await client.get("/me", headers=headers)).json())["quota"]
    assert (quota["used_bytes"], quota["reserved_bytes"]) == (2 * len(song), 0)


async def test_a_part_named_twice_needs_its_quota_twice(client, headers, create, part, song, settings):
    path = await part(song)
    with sqlite3.connect(settings.data_dir / "catalogue.db") as connection:
        connection.execute("UPDATE users SET quota_bytes = ?", (2 * len(song) - 1,))
    connection.close()
    answer = await create(Upload_Concat=f"final;{path} {path}")
    assert (answer.status, await code_of(answer)) == (413, "quota-exceeded")
    assert (await create(Upload_Concat=f"final;{path}")).status == 201, "the parts stay when it fails"


async def test_of_two_final_uploads_only_one_gets_the_parts(client, headers, create, part, song, only_track):
    first, second = await part(song[:40_000]), await part(song[40_000:])
    concats = [f"final;{first} {second}", f"final;{second} {first}"]
    answers = await asyncio.gather(*(create(Upload_Concat=concat) for concat in concats))
    assert sorted(answer.status for answer in answers) == [201, 410]
    await only_track()
    quota = (await (await client.get("/me", headers=headers)).json())["quota"]
    assert (quota["used_bytes"], quota["reserved_bytes"]) == (len(song), 0)


@pytest.mark.parametrize("at_once", [False, True])
async def test_who_repeats_a_final_upload_gets_its_answer_again(create, part, song, only_track, other, client, at_once):
    concat = f"final;{await part(song[:40_000])} {await part(song[40_000:])}"
    if at_once:
        answers = await asyncio.gather(*(create(Upload_Concat=concat) for _ in range(3)))
    else:
        answers = [await create(Upload_Concat=concat) for _ in range(3)]
    assert [answer.status for answer in answers] == [201] * 3
    for name in ("Location", "Content-Location", "Upload-Offset", "Repr-Digest"):
        assert len({answer.headers[name] for answer in answers}) == 1
    assert answers[0].headers["Content-Location"] == f"/tracks/{(await only_track())['id']}"
    theirs = await client.post("/uploads", headers={**other, "Upload-Concat": concat})
    assert theirs.status == 404


async def test_a_final_upload_that_was_forgotten_is_not_repeated(client, headers, create, part, song, only_track):
    concat = f"final;{await part(song)}"
    location = (await create(Upload_Concat=concat)).headers["Location"]
    assert (await client.delete(location, headers=headers)).status == 204
    assert (await create(Upload_Concat=concat)).status == 410
    await only_track()


async def test_a_final_upload_takes_no_bytes(create, part, patch, head, song):
    answer = await create(Upload_Concat=f"final;{await part(song)}")
    path = answer.headers["Location"]
    for offset, body in [(len(song), b""), (len(song), b"more"), (0, b"more"), (len(song) + 1, b"")]:
        refused = await patch(path, offset, body)
        assert (refused.status, await code_of(refused)) == (403, "forbidden")
    assert (await head(path)).headers["Upload-Offset"] == str(len(song))


async def test_only_whole_parts_of_one_s_own_are_put_together(client, other, create, begin, part, patch, song):
    own = await part(song[:1000])
    ordinary = await begin(len(song))
    unfinished = await begin(len(song), Upload_Concat="partial")
    await patch(unfinished, 0, song[:100])
    theirs = await client.post("/uploads", headers={**other, "Upload-Length": "0", "Upload-Concat": "partial"})
    for path, status in [
        (ordinary, 400),
        (unfinished, 400),
        (theirs.headers["Location"], 404),
        (UNKNOWN, 404),
        (f"http://elsewhere.example{own}", 400),
        ("http://169.254.169.254/latest/meta-data", 400),
        ("/tracks/x", 400),
    ]:
        answer = await create(Upload_Concat=f"final;{own} {path}")
        assert answer.status == status, path
    assert (await create(len(song), Upload_Concat=f"final;{own}")).status == 400
    assert (await create(Upload_Concat=f"final;{own}", body=b"more", **TYPE)).status == 400


async def test_a_final_upload_that_is_no_mp3_is_refused(create, part):
    answer = await create(Upload_Concat=f"final;{await part(b'%PDF-1.7 ' * 5000)} {await part(b'x' * 5000)}")
    assert (answer.status, await code_of(answer)) == (415, "not-an-mp3")


# Method override


async def test_a_method_may_be_overridden(client, headers, begin, song, only_track):
    path = await begin(len(song))
    patching = {**headers, **TYPE, "X-HTTP-Method-Override": "PATCH"}
    answer = await client.post(path, headers={**patching, "Upload-Offset": "0"}, data=song[:1000])
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, "1000")
    looking = {**headers, "X-HTTP-Method-Override": "head"}
    seen = await client.post(path, headers=looking)
    assert (seen.status, seen.headers["Upload-Offset"], await seen.read()) == (200, "1000", b"")
    answer = await client.put(path, headers={**patching, "Upload-Offset": "1000"}, data=song[1000:])
    assert answer.status == 204
    await only_track()
    assert (await client.get(path, headers={**headers, "X-HTTP-Method-Override": "DELETE"})).status == 204
    assert (await client.head(path, headers=headers)).status == 404


async def test_asking_ends_nobody_who_waits_for_the_last_answer(begin, patch, head, song, monkeypatch):
    adopt = LocalBlobs.adopt
    is_ending = threading.Event()

    def adopt_slowly(*arguments):
        is_ending.set()
        time.sleep(0.3)
        adopt(*arguments)

    monkeypatch.setattr(LocalBlobs, "adopt", adopt_slowly)
    path = await begin(len(song))
    running = asyncio.create_task(patch(path, 0, song))
    await asyncio.to_thread(is_ending.wait, 5)
    seen = await head(path)
    assert seen.headers["Upload-Offset"] == str(len(song))
    assert (await running).status == 204
    assert seen.headers["Content-Location"] == running.result().headers["Content-Location"]


@pytest.mark.parametrize("method", ["PUT", "TRACE", "", "post", "__init__", "request", "_answer"])
async def test_an_overriding_method_is_one_of_the_resource(client, headers, begin, method):
    answer = await client.post(await begin(10), headers={**headers, "X-HTTP-Method-Override": method})
    assert answer.status == 405
    assert "PATCH" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("method", "override"), [("POST", "HEAD"), ("GET", "DELETE"), ("GET", "PATCH"), ("POST", "GET")]
)
@pytest.mark.parametrize("path", [UNKNOWN, "/tracks"])
async def test_an_override_hides_no_change_from_the_check_for_other_sites(client, token, method, override, path):
    sent = {"Cookie": f"session={token}", "X-HTTP-Method-Override": override, "Sec-Fetch-Site": "cross-site", **TUS}
    answer = await client.request(method, path, headers=sent)
    assert (answer.status, await code_of(answer)) == (403, "cross-site")


async def test_other_resources_do_not_look_at_an_override(client, auth):
    answer = await client.get("/tracks", headers={**auth, "X-HTTP-Method-Override": "POST"})
    assert answer.status == 200


# JSON


async def test_an_upload_in_json(client, auth, begin, patch, song):
    path = await begin(len(song), Upload_Metadata=metadata(filename="song.mp3"))
    await patch(path, 0, song[:1000])
    shown = await (await client.get(path, headers=auth)).json()
    expires_at = shown.pop("expires_at")
    assert expires_at.endswith("Z")
    upload_id = path.removeprefix("/uploads/")
    expected = {"id": upload_id, "filename": "song.mp3", "state": "receiving", "offset": 1000, "length": len(song)}
    assert shown == {**expected, "problem": None, "track": None}
    listed = await (await client.get("/uploads", headers=auth)).json()
    assert listed == {"items": [{**expected, "expires_at": expires_at, "problem": None, "track": None}]}
    await patch(path, 1000, song[1000:])
    shown = await (await client.get(path, headers=auth)).json()
    assert (shown["state"], shown["offset"]) == ("finished", len(song))
    assert shown["track"] == await (await client.get(f"/tracks/{shown['track']['id']}", headers=auth)).json()
    assert await (await client.get("/uploads", headers=auth)).json() == {"items": []}


async def test_json_tells_of_an_upload_that_has_ended(client, auth, headers, begin):
    path = await begin(Upload_Defer_Length="1")
    await client.delete(path, headers=headers)
    answer = await client.get(path, headers=auth)
    shown = await answer.json()
    assert (answer.status, shown["state"], shown["length"], shown["track"]) == (200, "terminated", None, None)


async def test_json_tells_why_an_upload_was_refused(client, auth, begin, patch):
    path = await begin(9_000)
    assert (await patch(path, 0, b"%PDF-1.7\n" * 1000)).status == 415
    shown = await (await client.get(path, headers=auth)).json()
    assert (shown["state"], shown["problem"]["code"]) == ("refused", "not-an-mp3")
    assert shown["problem"]["detail"]


async def test_json_is_for_its_owner(client, other, begin):
    await begin(10)
    assert await (await client.get("/uploads", headers=other)).json() == {"items": []}
    for path in ("/uploads", UNKNOWN):
        assert (await client.get(path, headers={"Authorization": "Bearer no"})).status == 401


async def test_a_token_needs_the_scope(client, auth):
    made = await client.post("/tokens", headers=auth, json={"name": "reader", "scopes": ["read"]})
    reader = {"Authorization": f"Bearer {(await made.json())['token']}", **TUS}
    for method in ("HEAD", "PATCH", "DELETE"):
        sent = {**reader, **TYPE, "Upload-Offset": "0"} if method == "PATCH" else reader
        assert (await client.request(method, UNKNOWN, headers=sent)).status == 403
    assert (await client.post("/uploads", headers={**reader, "Upload-Length": "1"})).status == 403
    assert (await client.get("/uploads", headers=reader)).status == 200
