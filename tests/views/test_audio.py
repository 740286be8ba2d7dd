import asyncio
import os
import socket
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.keys import BLOBS, DATABASE, OPEN_BLOBS
from tests.corpus import big, make
from tests.rows import add_track

LONG = 3 << 20


@pytest.fixture
async def user_id(client, auth):
    return (await (await client.get("/me", headers=auth)).json())["id"]


@pytest.fixture
def add(client, user_id):
    """A function that adds a track with these bytes; its row."""

    async def add(content, number=1, **changes):
        row = await client.app[DATABASE].write(
            lambda connection: add_track(
                connection, number, user_id, size=len(content), sha256=sha256(content).digest(), **changes
            )
        )
        client.app[BLOBS].path(row["key"]).write_bytes(content)
        return row

    return add


@pytest.fixture
def content():
    return os.urandom(5000)


@pytest.fixture
async def track(add, content):
    return await add(content, filename="Café.mp3")


@pytest.fixture
def path(client, track):
    return client.app[BLOBS].path(track["key"])


def url_of(row):
    return f"/tracks/{row['track_id']}/audio"


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_an_uploaded_file_comes_back_as_it_was(client, auth, tmp_path):
    uploaded = make(tmp_path, "jingle").read_bytes()
    answer = await client.put("/spool/jingle.mp3", data=uploaded, headers=auth)
    track = await answer.json()
    answer = await client.get(track["url"], headers=auth)
    assert answer.status == 200
    assert await answer.read() == uploaded
    assert answer.headers["ETag"] == f'"{track["sha256"]}"'


async def test_the_whole_says_all_about_itself(client, auth, track, content):
    answer = await client.get(url_of(track), headers=auth)
    assert (answer.status, await answer.read()) == (200, content)
    digest = sha256(content).digest()
    expected = {
        "Content-Type": "audio/mpeg",
        "Content-Length": "5000",
        "Accept-Ranges": "bytes",
        "ETag": f'"{digest.hex()}"',
        "Last-Modified": "Thu, 01 Jan 1970 00:00:01 GMT",
        "Repr-Digest": f"sha-256=:{b64encode(digest).decode()}:",
        "Content-Disposition": "inline; filename=\"Cafe.mp3\"; filename*=UTF-8''Caf%C3%A9.mp3",
        "Cache-Control": "private, no-transform",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Server": "yarrr",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    told = {name.lower(): text for name, text in answer.headers.items() if name not in ("Date", "X-Request-ID")}
    assert told == {name.lower(): text for name, text in expected.items()}


async def test_the_head_is_that_of_the_whole(client, auth, track):
    answer = await client.get(url_of(track), headers=auth)
    head = await client.head(url_of(track), headers={**auth, "Range": "bytes=0-1"})
    assert (head.status, await head.read()) == (200, b"")
    differing = {"Date", "X-Request-ID"}
    assert {(k, v) for k, v in head.headers.items() if k not in differing} == {
        (k, v) for k, v in answer.headers.items() if k not in differing
    }


@pytest.mark.parametrize("method", ["get", "head"])
async def test_a_download_is_an_attachment(client, auth, track, method):
    answer = await getattr(client, method)(f"{url_of(track)}?download=1", headers=auth)
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="Cafe.mp3"')
    answer = await getattr(client, method)(f"{url_of(track)}?download=0&v=5", headers=auth)
    assert answer.headers["Content-Disposition"].startswith("inline;")


async def test_a_range_is_its_slice(client, auth, track, content):
    for field, part, place in [
        ("bytes=0-0", content[:1], "bytes 0-0/5000"),
        ("bytes=10-", content[10:], "bytes 10-4999/5000"),
        ("bytes=-7", content[-7:], "bytes 4993-4999/5000"),
    ]:
        answer = await client.get(url_of(track), headers={**auth, "Range": field})
        assert (answer.status, await answer.read()) == (206, part)
        assert (answer.headers["Content-Range"], answer.headers["Content-Length"]) == (place, str(len(part)))
        assert answer.headers["Repr-Digest"] == f"sha-256=:{b64encode(sha256(content).digest()).decode()}:"


async def test_a_range_behind_the_end_is_416(client, auth, track):
    answer = await client.get(url_of(track), headers={**auth, "Range": "bytes=5000-"})
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */5000")
    assert answer.content_type == "application/problem+json"
    assert (await answer.json())["size"] == 5000


ranges = st.one_of(
    st.tuples(st.integers(0, 6000), st.integers(0, 6000)).map("bytes={0[0]}-{0[1]}".format),
    st.integers(0, 6000).map("bytes={}-".format),
    st.integers(0, 6000).map("bytes=-{}".format),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20).map("bytes={}".format),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20),
)


async def test_any_range_gives_its_slice_the_whole_or_416(client, auth, track, content):
    url, loop = url_of(track), asyncio.get_running_loop()

    async def ask(field):
        answer = await client.get(url, headers={**auth, "Range": field})
        return answer.status, answer.headers, await answer.read()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(ranges)
    def check(field):
        status, headers, body = asyncio.run_coroutine_threadsafe(ask(field), loop).result()
        if status == 206:
            first, last = headers["Content-Range"].removeprefix("bytes ").removesuffix("/5000").split("-")
            assert body == content[int(first) : int(last) + 1]
            wanted = field.partition("=")[2].partition("-")
            assert int(first) == int(wanted[0]) if wanted[0] else len(body) == min(int(wanted[2]), 5000)
        elif status == 200:
            assert body == content
        else:
            assert status == 416

    await asyncio.to_thread(check)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": "{etag}"}, 304),
        ({"If-None-Match": "W/{etag}"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-Modified-Since": "{date}"}, 304),
        ({"If-None-Match": '"x"', "If-Modified-Since": "{date}"}, 200),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": "{etag}"}, 200),
        ({"If-Match": '"x"', "If-None-Match": "{etag}"}, 412),
        ({"If-Unmodified-Since": "Wed, 31 Dec 1969 23:59:59 GMT"}, 412),
        ({"Range": "bytes=0-1", "If-None-Match": "{etag}"}, 304),
        ({"Range": "bytes=0-1", "If-Range": "{etag}"}, 206),
        ({"Range": "bytes=0-1", "If-Range": '"x"'}, 200),
        ({"Range": "bytes=0-1", "If-Range": "W/{etag}"}, 200),
        ({"Range": "bytes=0-1", "If-Range": "{date}"}, 206),
        ({"Range": "bytes=0-1", "If-Range": "Sun, 22 Nov 2026 16:10:00 GMT"}, 200),
        ({"Range": "bytes=9999-", "If-Range": '"x"'}, 200),
        ({"Range": "bytes=0-1,3-4"}, 200),
    ],
)
async def test_conditions(client, auth, track, content, headers, status):
    values = {"etag": f'"{sha256(content).hexdigest()}"', "date": "Thu, 01 Jan 1970 00:00:01 GMT"}
    asked = {name: value.format(**values) for name, value in headers.items()}
    answer = await client.get(url_of(track), headers={**auth, **asked})
    body = await answer.read()
    assert answer.status == status
    if status == 304:
        assert (body, answer.headers["ETag"], "Content-Length" in answer.headers) == (b"", values["etag"], False)
    if status == 200:
        assert body == content
    if "Range" not in asked:
        assert (await client.head(url_of(track), headers={**auth, **asked})).status == status


@pytest.mark.parametrize("is_first", [True, False])
async def test_the_audio_of_a_trashed_track_is_gone_at_once(client, auth, track, content, is_first):
    if not is_first:  # what was served a moment ago must not be served from memory now
        assert await (await client.get(url_of(track), headers=auth)).read() == content
    assert (await client.delete(f"/tracks/{track['track_id']}", headers=auth)).status == 204
    assert (await client.get(url_of(track), headers=auth)).status == 404
    assert (await client.head(url_of(track), headers=auth)).status == 404
    assert (await client.post(f"/tracks/{track['track_id']}/restore", headers=auth)).status == 200
    assert (await client.get(url_of(track), headers=auth)).status == 200


@pytest.mark.parametrize("harm", ["missing", "short", "long", "link"])
@pytest.mark.parametrize("method", ["get", "head"])
async def test_a_blob_that_is_not_what_it_was_is_503(client, auth, track, path, harm, method, caplog, tmp_path):
    if harm == "short":
        os.truncate(path, 4999)
    elif harm == "long":
        os.truncate(path, 5001)
    else:
        path.unlink()
    if harm == "link":
        (tmp_path / "other").write_bytes(b"x" * 5000)
        path.symlink_to(tmp_path / "other")
    for _ in range(2):
        answer = await getattr(client, method)(url_of(track), headers=auth)
        assert (answer.status, answer.content_type) == (503, "application/problem+json")
    assert track["key"] in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_file_that_shrank_while_it_was_open_is_503(client, auth, track, path):
    assert (await client.get(url_of(track), headers=auth)).status == 200
    os.truncate(path, 100)
    answer = await client.get(url_of(track), headers={**auth, "Range": "bytes=50-200"})
    assert answer.status == 503


async def test_a_long_file_comes_whole_and_in_long_ranges(client, auth, add, tmp_path):
    content = big(tmp_path, LONG).read_bytes()
    track = await add(content)
    assert await (await client.get(url_of(track), headers=auth)).read() == content
    answer = await client.get(url_of(track), headers={**auth, "Range": f"bytes=1000-{LONG - 1000}"})
    assert (answer.status, await answer.read()) == (206, content[1000 : LONG - 999])


async def test_without_sendfile_it_goes_block_by_block(client, auth, add, monkeypatch):
    content = os.urandom(LONG)
    track = await add(content)
    monkeypatch.setattr(os, "sendfile", _blocking)
    monkeypatch.setattr(asyncio.get_running_loop(), "sendfile", _not_here, raising=False)
    assert await (await client.get(url_of(track), headers=auth)).read() == content
    answer = await client.get(url_of(track), headers={**auth, "Range": "bytes=5-1000004"})
    assert await answer.read() == content[5:1000005]


def _blocking(*_):
    raise BlockingIOError


async def _not_here(*_, **__):
    raise NotImplementedError


async def test_what_is_not_in_memory_is_read_first(client, auth, track, content, monkeypatch):
    from service.web import sending

    asked = []
    monkeypatch.setattr(sending, "is_in_memory", lambda *place: asked.append(place[1:]) or False)
    answer = await client.get(url_of(track), headers={**auth, "Range": "bytes=5-9"})
    assert (await answer.read(), asked) == (content[5:10], [(5, 5)])


async def test_many_answers_on_one_connection_stay_apart(client, auth, track, content):
    """Bodies go past aiohttp's own writer; requests that wait in the same buffer must not get mixed up with them."""
    target = urlsplit(str(client.make_url(url_of(track))))
    reader, writer = await asyncio.open_connection(target.hostname, target.port)
    fields = f"Host: x\r\nAuthorization: {auth['Authorization']}\r\n"
    for number in range(50):
        writer.write(f"GET {target.path} HTTP/1.1\r\n{fields}Range: bytes={number}-{number + 999}\r\n\r\n".encode())
    for number in range(50):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 206")
        assert await reader.readexactly(1000) == content[number : number + 1000]
    writer.close()


async def test_clients_that_go_away_leave_nothing_behind(client, auth, add, caplog):
    track = await add(os.urandom(LONG * 4))
    assert (await client.get(url_of(track), headers={**auth, "Range": "bytes=0-9"})).status == 206
    target = urlsplit(str(client.make_url(url_of(track))))
    request = f"GET {target.path} HTTP/1.1\r\nHost: x\r\nAuthorization: {auth['Authorization']}\r\n\r\n".encode()
    before = open_files()
    for number in range(60):
        reader, writer = await asyncio.open_connection(target.hostname, target.port)
        writer.write(request)
        if number % 3:
            await reader.readexactly(1 + number)
        if number % 2:
            linger = writer.get_extra_info("socket")
            linger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()
    async with asyncio.timeout(10):
        blob = client.app[OPEN_BLOBS].take(track["key"])
        while blob.users > 1 or open_files() > before:
            await asyncio.sleep(0.01)
    client.app[OPEN_BLOBS].give_back(blob)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")], caplog.text


async def test_a_file_that_shrinks_under_an_answer_ends_it_short(client, auth, add):
    content = os.urandom(LONG * 8)
    track = await add(content)
    target = urlsplit(str(client.make_url(url_of(track))))
    reader, writer = await asyncio.open_connection(target.hostname, target.port, limit=1 << 16)
    writer.write(f"GET {target.path} HTTP/1.1\r\nHost: x\r\nAuthorization: {auth['Authorization']}\r\n\r\n".encode())
    await reader.readuntil(b"\r\n\r\n")
    os.truncate(client.app[BLOBS].path(track["key"]), LONG)
    async with asyncio.timeout(10):
        try:
            received = await reader.read(-1)
        except ConnectionResetError:
            received = b""
    assert len(received) < len(content)
    writer.close()
