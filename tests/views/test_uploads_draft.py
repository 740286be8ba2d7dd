"""The IETF draft, in process. What needs a bare socket (interim answers, cuts, races): tests/e2e/test_draft_raw.py."""

import asyncio
import hashlib
import sqlite3
from base64 import b64encode

import aiohttp
import argon2
import pytest

from service.catalogue import clock, users

TYPE = {"Content-Type": "application/partial-upload"}
IANA = "https://iana.org/assignments/http-problem-types#"
BOBS_PASSWORD = "another horse battery"


@pytest.fixture
def song(content_of):
    return content_of("vbr")


@pytest.fixture
def create(client, auth):
    """A function that begins an upload; its answer."""

    async def create(body=None, *, complete="?0", door="POST /tracks", **fields):
        method, path = door.split()
        return await client.request(
            method, path, data=body, headers={**auth, "Upload-Complete": complete, **named(fields)}
        )

    return create


@pytest.fixture
def begin(create):
    async def begin(body=None, **more):
        answer = await create(body, **more)
        assert answer.status == 201, await answer.text()
        return answer.headers["Location"]

    return begin


@pytest.fixture
def patch(client, auth):
    async def patch(path, offset, body=None, *, complete="?1", **fields):
        sent = {**TYPE, "Upload-Offset": str(offset), "Upload-Complete": complete, **named(fields)}
        return await client.patch(path, headers={**auth, **sent}, data=body)

    return patch


@pytest.fixture
def head(client, auth):
    async def head(path, **fields):
        return await client.head(path, headers={**auth, **named(fields)})

    return head


@pytest.fixture
async def other(client, settings):
    """The header fields of another user."""
    password_hash = argon2.PasswordHasher(memory_cost=8192, time_cost=1, parallelism=1).hash(BOBS_PASSWORD)
    with sqlite3.connect(settings.data_dir / "catalogue.db") as connection:
        users.insert(connection, "bob", "bob", password_hash, now=0)
    connection.close()
    answer = await client.post("/login", json={"username": "bob", "password": BOBS_PASSWORD})
    return {"Authorization": f"Bearer {(await answer.json())['token']}"}


def named(fields):
    return {name.replace("_", "-"): str(text) for name, text in fields.items()}


def digest_field(content):
    return f"sha-256=:{b64encode(hashlib.sha256(content).digest()).decode()}:"


async def titles(client, auth):
    return [track["filename"] for track in (await (await client.get("/tracks", headers=auth)).json())["items"]]


async def check_receipt(answer, content):
    assert (answer.status, answer.headers["Upload-Complete"]) == (201, "?1"), await answer.text()
    assert answer.headers["Repr-Digest"] == digest_field(content)
    assert answer.headers["Upload-Offset"] == str(len(content))
    track = await answer.json()
    assert answer.headers["Location"] == f"/tracks/{track['id']}"
    assert track["sha256"] == hashlib.sha256(content).hexdigest()
    return track


# Discovery


@pytest.mark.parametrize("path", ["/tracks", "/spool/song.mp3", "/uploads", f"/uploads/{'0' * 32}"])
async def test_anybody_may_ask_for_the_limits(client, path, settings):
    answer = await client.options(path)
    assert answer.status == 204
    limits = dict(each.split("=") for each in answer.headers["Upload-Limit"].split(", "))
    assert limits == {"max-size": str(settings.max_upload_bytes), "max-age": str(settings.upload_expires_s)}
    assert answer.headers["Accept-Patch"] == "application/partial-upload"


# Creation


@pytest.mark.parametrize("door", ["POST /tracks", "PUT /spool/song.mp3"])
async def test_the_end_is_answered_as_the_target_would_have(create, patch, song, door):
    whole = await check_receipt(await create(song, complete="?1", door=door), song)
    answer = await create(song[:5000], door=door)
    upload = await answer.json()
    assert (upload["offset"], upload["state"], upload["track"]) == (5000, "receiving", None)
    assert answer.headers["Location"] == f"/uploads/{upload['id']}"
    pieces = await check_receipt(await patch(answer.headers["Location"], 5000, song[5000:]), song)
    assert pieces.keys() == whole.keys()


@pytest.mark.parametrize(
    ("door", "fields", "filename"),
    [
        ("POST /tracks", {"Content-Disposition": 'inline; filename="a b.mp3"'}, "a b.mp3"),
        ("POST /tracks", {"Content-Disposition": "inline; filename*=UTF-8''%C3%A4.mp3"}, "\u00e4.mp3"),
        ("POST /tracks", {"Content-Disposition": 'attachment; filename="../../x.mp3"'}, "x.mp3"),
        ("POST /tracks", {}, "untitled.mp3"),
        ("PUT /spool/by%20name.mp3", {}, "by name.mp3"),
    ],
)
async def test_the_file_has_the_name_it_was_given(create, patch, song, door, fields, filename):
    answer = await create(song[:10], door=door, **fields)
    track = await check_receipt(await patch(answer.headers["Location"], 10, song[10:]), song)
    assert track["filename"] == filename


@pytest.mark.parametrize("kind", ["audio/mpeg", "application/octet-stream", "application/partial-upload"])
async def test_types_that_a_creation_may_have(create, kind):
    assert (await create(**{"Content-Type": kind})).status == 201


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/json"])
async def test_types_that_a_creation_may_not_have(create, kind):
    answer = await create(b"--x--", **{"Content-Type": kind})
    assert answer.status == 415
    assert "audio/mpeg" in (await answer.json())["accepted"]


async def test_a_whole_form_is_a_form_whatever_its_client_offers(client, auth, song):
    body = b'--x\r\nContent-Disposition: form-data; name="mp3"; filename="f.mp3"\r\n\r\n' + song + b"\r\n--x--\r\n"
    headers = {**auth, "Upload-Complete": "?1", "Content-Type": "multipart/form-data; boundary=x"}
    answer = await client.post("/tracks", data=body, headers=headers)
    assert answer.status == 201
    assert "Upload-Complete" not in answer.headers
    assert (await answer.json())["filename"] == "f.mp3"


@pytest.mark.parametrize(("complete", "length"), [("?1", 99), ("?1", 101), ("?0", 99)])
async def test_lengths_that_contradict_each_other_create_nothing(create, client, auth, complete, length):
    answer = await create(b"x" * 100, complete=complete, Upload_Length=length)
    assert (answer.status, (await answer.json())["type"]) == (400, f"{IANA}inconsistent-upload-length")
    assert (await (await client.get("/uploads", headers=auth)).json())["items"] == []


async def test_too_much_is_refused_with_the_limit(make_client, change_settings, song):
    client = await make_client(change_settings(max_upload_bytes=50_000, argon2_memory_kib=8192))
    answer = await client.post("/login", json={"username": "admin", "password": "correct horse battery"})
    auth = {"Authorization": f"Bearer {(await answer.json())['token']}"}
    headers = {**auth, "Upload-Complete": "?0"}
    for fields in ({"Upload-Length": "50001"}, {"Upload-Complete": "?1", "Content-Length": "50001"}):
        data = song[:50_001] if "Content-Length" in fields else None
        answer = await client.post("/tracks", headers={**headers, **fields}, data=data)
        assert answer.status == 413
        assert answer.headers["Upload-Limit"] == "max-size=50000"
    location = (await client.post("/tracks", headers=headers, data=song[:50_000])).headers["Location"]
    sent = {**auth, **TYPE, "Upload-Offset": "50000", "Upload-Complete": "?0"}
    answer = await client.patch(location, headers=sent, data=song[50_000:50_001])
    assert (answer.status, answer.headers["Upload-Limit"]) == (413, "max-size=50000")
    answer = await client.head(location, headers=auth)
    assert answer.headers["Upload-Offset"] == "50000"


async def test_over_the_quota_is_refused_with_the_limit(client, create, settings):
    with sqlite3.connect(settings.data_dir / "catalogue.db") as connection:
        connection.execute("UPDATE users SET quota_bytes = 1000")
    connection.close()
    answer = await create(Upload_Length=1001)
    assert answer.status == 413
    assert "max-size" in answer.headers["Upload-Limit"]


async def test_a_range_is_not_a_creation(create):
    answer = await create(b"x", **{"Content-Range": "bytes 0-0/5"})
    assert (answer.status, (await answer.json())["field"]) == (400, "Content-Range")


async def test_packed_content_is_refused(create):
    assert (await create(b"x", **{"Content-Encoding": "gzip"})).status == 415


# The offset


async def test_head_tells_all_there_is(begin, head, song):
    location = await begin(song[:700], Upload_Length=len(song))
    answer = await head(location, Upload_Draft_Interop_Version=8)
    assert (answer.status, answer.headers["Cache-Control"]) == (204, "no-store")
    assert "Content-Length" not in answer.headers
    told = {name: answer.headers[name] for name in ("Upload-Offset", "Upload-Complete", "Upload-Length")}
    assert told == {"Upload-Offset": "700", "Upload-Complete": "?0", "Upload-Length": str(len(song))}
    assert "max-age=" in answer.headers["Upload-Limit"]


async def test_an_unknown_length_is_not_told(begin, head, song):
    answer = await head(await begin(song[:700]), Upload_Draft_Interop_Version=8)
    assert "Upload-Length" not in answer.headers


async def test_head_speaks_the_language_it_is_asked_in(begin, head):
    location = await begin()
    both = await head(location)
    assert (both.status, both.headers["Upload-Complete"], both.headers["Upload-Defer-Length"]) == (200, "?0", "1")
    draft = await head(location, Upload_Draft_Interop_Version=6)
    assert "Upload-Defer-Length" not in draft.headers
    tus = await head(location, Tus_Resumable="1.0.0")
    assert "Upload-Complete" not in tus.headers


async def test_get_tells_the_offset_too(client, auth, begin, song):
    location = await begin(song[:700])
    answer = await client.get(location, headers={**auth, "Upload-Draft-Interop-Version": "8"})
    assert (answer.status, answer.headers["Upload-Offset"]) == (200, "700")
    assert (await answer.json())["offset"] == 700


async def test_the_end_of_life_moves_on_and_never_back(begin, head, patch, song, settings):
    location = await begin(song[:10])

    async def age():
        return int((await head(location)).headers["Upload-Limit"].split("max-age=")[1])

    with sqlite3.connect(settings.data_dir / "catalogue.db") as connection:
        connection.execute("UPDATE uploads SET expires_at = ?", (clock.now() + 100 * clock.SECOND,))
    connection.close()
    assert await age() in (99, 100)
    await patch(location, 10, song[10:20], complete="?0")
    assert await age() > settings.upload_expires_s - 10


# Appends


@pytest.mark.parametrize("kind", ["audio/mpeg", "application/offset+octet-stream", ""])
async def test_an_append_has_its_own_type(begin, patch, song, kind):
    location = await begin()
    answer = await patch(location, 0, song, **{"Content-Type": kind})
    assert (answer.status, (await answer.json())["accepted"]) == (415, ["application/partial-upload"])


async def test_version_5_has_no_type_for_appends(client, auth, begin, song):
    location = await begin(Upload_Draft_Interop_Version=5)
    fields = {"Upload-Draft-Interop-Version": "5", "Upload-Offset": "0", "Upload-Complete": "?1"}
    await check_receipt(await client.patch(location, headers={**auth, **fields}, data=song), song)


@pytest.mark.parametrize("field", ["Upload-Offset", "Upload-Complete"])
async def test_an_append_needs_both_fields(begin, patch, song, field):
    answer = await patch(await begin(), 0, song, **{field: "nothing"})
    assert (answer.status, (await answer.json())["field"]) == (400, field)


async def test_a_length_never_changes(begin, patch, head, song):
    location = await begin(song[:10], Upload_Length=len(song))
    for body, fields in (
        (song[10:20], {"complete": "?0", "Upload_Length": len(song) + 1}),
        (song[10:20], {"complete": "?1"}),
    ):
        answer = await patch(location, 10, body, **fields)
        assert (answer.status, (await answer.json())["type"]) == (400, f"{IANA}inconsistent-upload-length")
        assert (await head(location)).headers["Upload-Offset"] == "10"


async def test_a_length_may_be_told_later(begin, patch, head, song):
    location = await begin(song[:10])
    assert (await patch(location, 10, song[10:20], complete="?0", Upload_Length=len(song))).status == 204
    assert (await head(location)).headers["Upload-Length"] == str(len(song))
    assert (await patch(location, 20, complete="?0", Upload_Length=7)).status == 400


async def test_who_repeats_the_last_append_gets_its_answer_again(begin, patch, client, auth, song):
    location = await begin(song[:5000])
    first = await check_receipt(await patch(location, 5000, song[5000:]), song)
    for offset, body in ((5000, song[5000:]), (len(song), None), (0, song)):
        assert await check_receipt(await patch(location, offset, body), song) == first
    assert len(await titles(client, auth)) == 1


async def test_a_chunked_last_append_repeated_gets_its_answer_again(begin, patch, song):
    location = await begin(song[:5000])

    async def chunks():
        yield song[5000:]

    await check_receipt(await patch(location, 5000, chunks()), song)
    await check_receipt(await patch(location, 5000, chunks()), song)


async def test_a_finished_upload_takes_nothing_else(begin, patch, head, song):
    location = await begin()
    await check_receipt(await patch(location, 0, song), song)
    size = len(song)
    for offset, body, complete, kind in (
        (size, b"more", "?1", "inconsistent-upload-length"),
        (size, b"more", "?0", "inconsistent-upload-length"),
        (0, song[:-1], "?1", "inconsistent-upload-length"),
        (size + 5, None, "?1", "inconsistent-upload-length"),
        (size, None, "?0", "completed-upload"),
        (5, song[5:10], "?0", "completed-upload"),
    ):
        answer = await patch(location, offset, body, complete=complete)
        assert (answer.status, (await answer.json())["type"]) == (400, f"{IANA}{kind}"), (offset, complete)
        assert answer.headers.get("Upload-Complete") != "?1"
    state = (await head(location)).headers
    assert (state["Upload-Offset"], state["Upload-Complete"]) == (str(size), "?1")
    assert state["Repr-Digest"] == digest_field(song)
    assert state["Content-Location"].startswith("/tracks/")


async def test_a_finished_upload_whose_track_is_gone_says_so(begin, patch, settings, song):
    location = await begin()
    await patch(location, 0, song)
    with sqlite3.connect(settings.data_dir / "catalogue.db") as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("UPDATE uploads SET track_id = NULL")
    connection.close()
    answer = await patch(location, len(song))
    assert (answer.status, answer.headers["Upload-Complete"]) == (410, "?1")


@pytest.mark.parametrize("version", [6, 5])
async def test_in_old_versions_reaching_the_length_completes(begin, patch, client, auth, song, version):
    fields = {"Upload_Draft_Interop_Version": version}
    location = await begin(Upload_Length=len(song), **fields)
    assert (await patch(location, 0, song[:5000], complete="?0", **fields)).status == 204
    first = await check_receipt(await patch(location, 5000, song[5000:], complete="?0", **fields), song)
    assert await check_receipt(await patch(location, 5000, song[5000:], complete="?0", **fields), song) == first
    assert await check_receipt(await patch(location, len(song), **fields), song) == first
    answer = await patch(location, 0, song[:5000], complete="?0", **fields)
    assert (answer.status, (await answer.json())["type"]) == (400, f"{IANA}completed-upload")
    assert len(await titles(client, auth)) == 1


@pytest.mark.parametrize(
    "fields", [{"Tus_Resumable": "1.0.0"}, {"Upload_Draft_Interop_Version": 6}, {"Upload_Draft_Interop_Version": 5}]
)
async def test_who_would_take_all_bytes_for_the_end_is_not_deceived(begin, patch, head, client, auth, song, fields):
    """As after a crash between the last byte and the end: the client asks, sees its length, and never comes back."""
    location = await begin(Upload_Length=len(song))
    await patch(location, 0, song, complete="?0")
    for state in (await head(location), await head(location, Upload_Draft_Interop_Version=8)):
        assert (state.headers["Upload-Offset"], state.headers["Upload-Complete"]) == (str(len(song)), "?0")
    assert await titles(client, auth) == []
    state = await head(location, **fields)
    assert state.headers["Upload-Offset"] == str(len(song))
    assert state.headers["Content-Location"].startswith("/tracks/")
    assert len(await titles(client, auth)) == 1


async def test_who_would_take_all_bytes_for_the_end_is_told_that_they_are_refused(begin, patch, head):
    content = bytes(5000)
    location = await begin(Upload_Length=len(content))
    assert (await patch(location, 0, content, complete="?0")).status in (204, 415)
    assert (await head(location, Tus_Resumable="1.0.0")).status in (410, 415)


async def test_a_wanted_digest_is_given(create, patch, song):
    answer = await create(**{"Want-Repr-Digest": "sha-256=10"})
    answer = await patch(answer.headers["Location"], 0, song)
    assert answer.headers["Repr-Digest"] == digest_field(song)


@pytest.mark.parametrize("field", ["Repr-Digest", "Content-Digest"])
async def test_a_digest_that_is_none_is_refused(create, field):
    answer = await create(b"x", **{field: "sha-256=nonsense"})
    assert (answer.status, (await answer.json())["field"]) == (400, field)


async def test_the_method_may_be_overridden(client, auth, begin, song):
    location = await begin()
    fields = {"X-HTTP-Method-Override": "PATCH", "Upload-Offset": "0", "Upload-Complete": "?1", **TYPE}
    await check_receipt(await client.post(location, headers={**auth, **fields}, data=song), song)


# Who may


async def test_another_users_upload_looks_like_none(client, other, begin, head, song):
    location = await begin(song[:10])
    fields = {**TYPE, "Upload-Offset": "10", "Upload-Complete": "?1"}
    for answer in (
        await client.head(location, headers={**other, "Upload-Draft-Interop-Version": "8"}),
        await client.patch(location, headers={**other, **fields}, data=song[10:]),
        await client.delete(location, headers=other),
        await client.head("/spool/untitled.mp3", headers=other),
        await client.delete("/spool/untitled.mp3", headers=other),
    ):
        assert answer.status == 404
    assert (await head(location)).headers["Upload-Offset"] == "10"


async def test_nobody_may_nothing(client, begin, song):
    location = await begin(song[:10])
    client.session.cookie_jar.clear()
    fields = {**TYPE, "Upload-Offset": "10", "Upload-Complete": "?1"}
    for answer in (
        await client.post("/tracks", headers={"Upload-Complete": "?1"}, data=song),
        await client.put("/spool/a.mp3", headers={"Upload-Complete": "?1"}, data=song),
        await client.head(location, headers={"Upload-Draft-Interop-Version": "8"}),
        await client.patch(location, headers=fields, data=song[10:]),
    ):
        assert answer.status == 401


async def test_rights_are_looked_at_again_when_the_last_byte_has_come(client, auth, song):
    made = await (await client.post("/tokens", headers=auth, json={"name": "upload", "scopes": ["upload"]})).json()
    begun = asyncio.Event()

    async def body():
        yield song[:50_000]
        begun.set()
        assert (await client.delete(f"/tokens/{made['id']}", headers=auth)).status == 204
        yield song[50_000:]

    fields = {"Authorization": f"Bearer {made['token']}", "Upload-Complete": "?1", "Content-Type": "audio/mpeg"}
    answer = await client.post("/tracks", headers=fields, data=body())
    assert begun.is_set()
    assert answer.status == 401
    assert await titles(client, auth) == []


async def test_a_page_of_another_site_may_not(client, token, song):
    headers = {"Upload-Complete": "?1", "Sec-Fetch-Site": "cross-site", "Cookie": f"session={token}"}
    assert (await client.post("/tracks", headers=headers, data=song)).status == 403


async def test_too_many_open_uploads_are_refused(make_client, change_settings):
    client = await make_client(change_settings(max_open_uploads_per_user=2))
    answer = await client.post("/login", json={"username": "admin", "password": "correct horse battery"})
    headers = {"Authorization": f"Bearer {(await answer.json())['token']}", "Upload-Complete": "?0"}
    assert [(await client.post("/tracks", headers=headers)).status for _ in range(3)] == [201, 201, 429]


# By name


async def test_the_offset_by_name(client, auth, begin, head, song):
    assert (await head("/spool/song.mp3")).status == 404
    location = await begin(song[:700], door="PUT /spool/song.mp3")
    answer = await head("/spool/song.mp3")
    assert (answer.status, answer.headers["Location"]) == (204, location)
    assert (answer.headers["Upload-Offset"], answer.headers["Upload-Complete"]) == ("700", "?0")
    assert (await head("/spool/other.mp3")).status == 404


async def test_a_name_is_that_of_the_newest_upload(begin, head, song):
    await begin(song[:700], door="PUT /spool/song.mp3")
    newest = await begin(song[:300], door="PUT /spool/song.mp3")
    assert (await head("/spool/song.mp3")).headers["Location"] == newest


async def test_an_unfinished_upload_is_ended_by_name(client, auth, begin, head, song):
    location = await begin(song[:700], door="PUT /spool/song.mp3")
    assert (await client.delete("/spool/song.mp3", headers=auth)).status == 204
    assert (await head(location)).status == 410
    assert (await client.delete("/spool/song.mp3", headers=auth)).status == 404


async def put_range(client, auth, content, text, **fields):
    return await client.put("/spool/song.mp3", headers={**auth, "Content-Range": text, **named(fields)}, data=content)


async def test_a_file_in_ranges(client, auth, head, song):
    size = len(song)
    answer = await put_range(client, auth, song[:1000], f"bytes 0-999/{size}")
    assert (answer.status, answer.headers["Upload-Offset"], answer.headers["Upload-Complete"]) == (204, "1000", "?0")
    answer = await put_range(client, auth, song[1000:2000], "bytes 1000-1999/*")
    assert (answer.status, answer.headers["Upload-Offset"]) == (204, "2000")
    answer = await put_range(client, auth, song[2000:], f"bytes 2000-{size - 1}/{size}")
    assert answer.status == 201
    assert (await answer.json())["sha256"] == hashlib.sha256(song).hexdigest()
    assert (await head("/spool/song.mp3")).status == 404


async def test_ranges_of_an_unknown_total(client, auth, song):
    size = len(song)
    assert (await put_range(client, auth, song[:1000], "bytes 0-999/*")).status == 204
    answer = await put_range(client, auth, song[1000:], f"bytes 1000-{size - 1}/*")
    assert answer.status == 204, "nobody said that this is the end"
    answer = await put_range(client, auth, song[:1], f"bytes 0-0/{size}")
    assert answer.status == 409


@pytest.mark.parametrize("start", [0, 999, 1001])
async def test_a_range_that_starts_elsewhere_changes_nothing(client, auth, head, song, start):
    size = len(song)
    await put_range(client, auth, song[:1000], f"bytes 0-999/{size}")
    answer = await put_range(client, auth, song[start : start + 10], f"bytes {start}-{start + 9}/{size}")
    assert (answer.status, answer.headers["Upload-Offset"]) == (409, "1000")
    document = await answer.json()
    assert document["type"] == "/problems/offset-mismatch"
    assert (document["expected_offset"], document["provided_offset"]) == (1000, start)
    assert (await head("/spool/song.mp3")).headers["Upload-Offset"] == "1000"


async def test_a_range_of_a_file_that_was_not_begun_starts_at_0(client, auth, song):
    answer = await put_range(client, auth, song[5:], f"bytes 5-{len(song) - 1}/{len(song)}")
    assert (answer.status, answer.headers["Upload-Offset"]) == (409, "0")


async def test_the_total_never_changes(client, auth, head, song):
    await put_range(client, auth, song[:1000], "bytes 0-999/5000")
    answer = await put_range(client, auth, song[1000:2000], "bytes 1000-1999/2000")
    assert (answer.status, (await answer.json())["type"]) == (400, "/problems/inconsistent-upload-length")
    assert (await head("/spool/song.mp3")).headers["Upload-Offset"] == "1000"


@pytest.mark.parametrize("text", ["bytes 0-", "nonsense", "bytes 5-0/10", "bytes 0-9/5", "bytes 0-99/1000"])
async def test_what_is_no_range_of_this_body_is_refused(client, auth, text):
    answer = await put_range(client, auth, b"0123456789", text)
    assert (answer.status, (await answer.json())["field"]) == (400, "Content-Range")


async def test_a_range_has_its_own_digest(client, auth, head, song):
    size = len(song)
    await put_range(client, auth, song[:1000], f"bytes 0-999/{size}")
    rest = f"bytes 1000-{size - 1}/{size}"
    answer = await put_range(client, auth, song[1000:], rest, Content_Digest=digest_field(b"another"))
    assert answer.status == 422
    assert (await head("/spool/song.mp3")).headers["Upload-Offset"] == "1000"
    assert (await put_range(client, auth, song[1000:], rest, Content_Digest=digest_field(song[1000:]))).status == 201


async def test_the_whole_file_begins_anew_and_leaves_what_was_begun_elsewhere(client, auth, begin, head, song):
    begun = await begin(song[:700], door="PUT /spool/song.mp3")
    assert (await client.put("/spool/song.mp3", headers=auth, data=song)).status == 201
    assert (await head(begun)).headers["Upload-Offset"] == "700"
    assert await titles(client, auth) == ["song.mp3"]


async def test_a_range_that_is_the_whole_file_begins_anew(client, auth, begin, head, song):
    begun = await begin(song[:700], door="PUT /spool/song.mp3")
    answer = await put_range(client, auth, song, f"bytes 0-{len(song) - 1}/{len(song)}")
    assert (answer.status, (await answer.json())["sha256"]) == (201, hashlib.sha256(song).hexdigest())
    assert (await head(begun)).headers["Upload-Offset"] == "700"


async def test_two_running_uploads_of_one_name_stay_apart(client, auth, song, content_of):
    other = content_of("mono")
    half = asyncio.Event()

    async def slowly():
        yield song[:50_000]
        await half.wait()
        yield song[50_000:]

    running = asyncio.create_task(client.put("/spool/song.mp3", headers=auth, data=slowly()))
    await asyncio.sleep(0.1)
    answer = await client.put("/spool/song.mp3", headers=auth, data=other)
    assert (await answer.json())["sha256"] == hashlib.sha256(other).hexdigest()
    answer = await put_range(client, auth, other[:1000], f"bytes 0-999/{len(other)}")
    assert answer.status == 204, "a first part begins another upload"
    half.set()
    answer = await running
    assert (answer.status, (await answer.json())["sha256"]) == (201, hashlib.sha256(song).hexdigest())


async def test_many_uploads_of_one_name_at_once_are_as_many_tracks(client, auth, song):
    async def put():
        return (await client.put("/spool/song.mp3", headers=auth, data=song)).status

    assert await asyncio.gather(*(put() for _ in range(8))) == [201] * 8
    assert len(await titles(client, auth)) == 8


async def test_a_piece_of_a_tus_upload_has_no_name(client, auth, head):
    fields = {"Tus-Resumable": "1.0.0", "Upload-Concat": "partial", "Upload-Length": "10"}
    metadata = f"filename {b64encode(b'song.mp3').decode()}"
    answer = await client.post("/uploads", headers={**auth, **fields, "Upload-Metadata": metadata})
    assert answer.status == 201
    assert (await head("/spool/song.mp3")).status == 404


@pytest.mark.parametrize("door", ["form", "put", "raw"])
async def test_asking_for_the_offset_ends_whoever_is_sending_whatever_the_door(client, auth, head, song, door):
    half = asyncio.Event()
    before, after = b"", b""
    if door == "form":
        before = b'--x\r\nContent-Disposition: form-data; name="mp3"; filename="song.mp3"\r\n\r\n'
        after = b"\r\n--x--\r\n"

    async def slowly():
        yield before + song[:50_000]
        await asyncio.sleep(0.1)
        yield song[50_000:100_000]
        await half.wait()
        yield song[100_000:] + after

    method, path, fields = {
        "form": ("POST", "/tracks", {"Content-Type": "multipart/form-data; boundary=x"}),
        "put": ("PUT", "/spool/song.mp3", {}),
        "raw": ("POST", "/tracks", {"Content-Disposition": 'inline; filename="song.mp3"'}),
    }[door]
    running = asyncio.create_task(client.request(method, path, headers={**auth, **fields}, data=slowly()))
    await asyncio.sleep(0.3)
    answer = await asyncio.wait_for(head("/spool/song.mp3"), 2)
    assert answer.status == 204
    start = int(answer.headers["Upload-Offset"])
    assert 50_000 <= start <= 100_000
    half.set()
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await running
    answer = await put_range(client, auth, song[start:], f"bytes {start}-{len(song) - 1}/{len(song)}")
    assert (await answer.json())["sha256"] == hashlib.sha256(song).hexdigest()
    assert await titles(client, auth) == ["song.mp3"]
