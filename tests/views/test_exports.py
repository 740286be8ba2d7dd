import asyncio
import io
import os
import re
import socket
import struct
import subprocess
import zipfile
import zlib
from hashlib import sha256
from urllib.parse import urljoin

import pytest
from aiohttp import ClientPayloadError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.keys import BLOBS, DATABASE, OPEN_BLOBS
from tests.rows import add_track

LONG = 5 << 20


@pytest.fixture
def add(client, user_id):
    """A function that adds a track with these bytes; its row."""

    async def add(number, content, **changes):
        row = await client.app[DATABASE].write(
            lambda connection: add_track(
                connection, number, user_id, size=len(content), sha256=sha256(content).digest(), **changes
            )
        )
        client.app[BLOBS].path(row["key"]).write_bytes(content)
        return row

    return add


@pytest.fixture
def contents():
    return [os.urandom(size) for size in (5000, 70_000, 1)]


@pytest.fixture
async def rows(add, contents):
    words = [
        {"title": "Für Elise", "artist": "AC/DC"},
        {"title": "x\r\n#EXTINF:1,y\r\n../evil", "artist": "", "duration": 187.6},
        {"title": '..\\..\\a:*?"<>|' + "ü" * 300, "artist": "\u202egpj"},
    ]
    return [await add(number, contents[number], **words[number]) for number in range(3)]


@pytest.fixture
def fill(client, auth):
    """A function that makes a collection of these tracks, in this order; its path."""

    async def fill(rows, name="My / Mix"):
        answer = await client.post("/collections", json={"name": name}, headers=auth)
        path = answer.headers["Location"]
        if rows:
            body = {"track_ids": [row["track_id"] for row in rows]}
            assert (await client.post(f"{path}/tracks", json=body, headers=auth)).status == 201
        return path

    return fill


@pytest.fixture
async def mix(fill, rows):
    """Three tracks in another order than they came, one of them twice."""
    return await fill([rows[1], rows[0], rows[2], rows[0]])


@pytest.fixture
def in_mix(contents):
    return [contents[number] for number in (1, 0, 2, 0)]


@pytest.fixture
def get(client, auth):
    """A function that reads an address; the answer, its bytes read."""

    async def get(url, method="GET", **headers):
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await client.request(method, url, headers={**auth, **fields})
        await answer.read()
        return answer

    return get


# --- the playlist


async def test_a_playlist_has_its_tracks_in_order(get, mix, rows):
    answer = await get(f"{mix}.m3u8")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "audio/x-mpegurl; charset=utf-8")
    assert answer.headers["Content-Disposition"] == 'inline; filename="My _ Mix.m3u8"'
    lines = (await answer.text()).splitlines()
    assert lines[:2] == ["#EXTM3U", "#PLAYLIST:My / Mix"]
    assert lines[2::2] == [
        "#EXTINF:188,x #EXTINF:1,y ../evil",
        "#EXTINF:60,AC/DC - Für Elise",
        lines[6],
        "#EXTINF:60,AC/DC - Für Elise",
    ]
    ids = [row["track_id"] for row in (rows[1], rows[0], rows[2], rows[0])]
    for base in ("http://x/collections/c.m3u8", "https://x/music/collections/c.m3u8?y"):
        top = base.partition("/collections")[0]
        assert [urljoin(base, url) for url in lines[3::2]] == [f"{top}/tracks/{each}/audio" for each in ids]


async def test_its_addresses_lead_to_the_audio(get, mix, in_mix):
    text = await (await get(f"{mix}.m3u8")).text()
    urls = [line for line in text.splitlines() if not line.startswith("#")]
    assert [await (await get(urljoin(f"{mix}.m3u8", url))).read() for url in urls] == in_mix


async def test_a_known_playlist_is_not_sent_again(get, client, auth, mix, rows):
    answer = await get(f"{mix}.m3u8")
    etag = answer.headers["ETag"]
    head = await get(f"{mix}.m3u8", "HEAD")
    for name in ("ETag", "Content-Length", "Content-Type"):
        assert head.headers[name] == answer.headers[name]
    assert (await get(f"{mix}.m3u8", If_None_Match=etag)).status == 304
    await client.delete(f"/tracks/{rows[0]['track_id']}", headers=auth)
    again = await get(f"{mix}.m3u8", If_None_Match=etag)
    assert again.status == 200
    assert "Für Elise" not in await again.text()


# --- the archive


async def test_an_archive_has_its_tracks_in_order(get, mix, in_mix, client):
    answer = await get(f"{mix}.zip")
    body = await answer.read()
    assert (answer.status, answer.content_type) == (200, "application/zip")
    assert answer.headers["Content-Length"] == str(len(body))
    assert answer.headers["Content-Disposition"] == 'attachment; filename="My _ Mix.zip"'
    with zipfile.ZipFile(io.BytesIO(body)) as read:
        assert read.testzip() is None
        names = read.namelist()
        assert [read.read(name) for name in names] == in_mix
        assert {each.compress_type for each in read.infolist()} == {zipfile.ZIP_STORED}
    assert names[0] == "01 - x #EXTINF_1,y .._evil.mp3"
    assert names[1] == "02 - AC_DC - Für Elise.mp3"
    assert names[2].startswith("03 - gpj - .._.._a_______üü")
    assert names[3] == "04 - AC_DC - Für Elise.mp3"
    assert max(len(name.encode()) for name in names) <= 255
    assert not [name for name in names if re.search(r'[/\\:*?"<>|\x00-\x1f]', name)]


async def test_a_file_is_read_for_its_sum_only_once(get, mix, client, rows, monkeypatch):
    from service.views import archive

    read = []

    def count(descriptor, start, end, value=0):
        read.append(end - start)
        return zlib.crc32(os.pread(descriptor, end - start, start), value)

    monkeypatch.setattr(archive, "crc32_of", count)
    first = await (await get(f"{mix}.zip")).read()
    assert sorted(read) == [1, 5000, 70_000]
    assert await (await get(f"{mix}.zip")).read() == first
    assert len(read) == 3
    kept = await client.app[DATABASE].read("SELECT crc32 FROM blobs WHERE key = ?", (rows[0]["key"],))
    path = client.app[BLOBS].path(rows[0]["key"])
    assert kept[0]["crc32"] == zlib.crc32(path.read_bytes())


async def test_an_archive_of_nothing(get, fill):
    answer = await get(f"{await fill([])}.zip")
    with zipfile.ZipFile(io.BytesIO(await answer.read())) as read:
        assert read.namelist() == []


async def test_hundreds_of_tracks_have_numbers_of_one_width(get, fill, rows):
    answer = await get(f"{await fill([rows[2]] * 1234)}.zip")
    with zipfile.ZipFile(io.BytesIO(await answer.read())) as read:
        assert read.testzip() is None
        names = read.namelist()
    assert (names[0][:7], names[-1][:7], len(set(names))) == ("0001 - ", "1234 - ", 1234)


async def test_the_head_of_an_archive_tells_its_length(get, mix, client, rows):
    client.app[BLOBS].path(rows[0]["key"]).unlink()  # for that no file is looked at
    head = await get(f"{mix}.zip", "HEAD")
    assert (head.status, head.headers["Accept-Ranges"]) == (200, "bytes")
    assert int(head.headers["Content-Length"]) > 80_001


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": "{etag}"}, 304),
        ({"If-Match": '"x"'}, 412),
        ({"If-Match": "{etag}"}, 200),
        ({"Range": "bytes=0-1", "If-Range": "{etag}"}, 206),
        ({"Range": "bytes=0-1", "If-Range": '"x"'}, 200),
        ({"Range": "bytes=0-1", "If-Range": "Sun, 22 Nov 2026 16:10:00 GMT"}, 200),
        ({"Range": "bytes=99999999-"}, 416),
    ],
)
async def test_conditions(client, auth, get, mix, headers, status):
    etag = (await get(f"{mix}.zip", "HEAD")).headers["ETag"]
    asked = {name: value.format(etag=etag) for name, value in headers.items()}
    answer = await client.get(f"{mix}.zip", headers={**auth, **asked})
    assert answer.status == status
    if "Range" not in asked:
        assert (await client.head(f"{mix}.zip", headers={**auth, **asked})).status == status
    if status == 416:
        assert answer.headers["Content-Range"].startswith("bytes */80")


@pytest.mark.parametrize("change", ["order", "title", "trash"])
async def test_another_content_has_another_etag(client, auth, get, mix, rows, change):
    before = (await get(f"{mix}.zip", "HEAD")).headers["ETag"]
    track, match = f"/tracks/{rows[2]['track_id']}", {**auth, "If-Match": "*"}
    if change == "order":
        answer = await client.put(f"{mix}/tracks", json={"item_ids": [4, 1, 2, 3]}, headers=match)
    elif change == "title":
        answer = await client.patch(track, json={"title": "new"}, headers=match)
    else:
        answer = await client.delete(track, headers=auth)
    assert answer.status in (200, 204)
    assert (await get(f"{mix}.zip", "HEAD")).headers["ETag"] != before


async def test_any_range_is_a_slice_of_the_whole(get, mix):
    """Even of an archive whose sums nobody has needed yet: first come the ranges, then the whole."""
    loop, size = asyncio.get_running_loop(), int((await get(f"{mix}.zip", "HEAD")).headers["Content-Length"])
    slices = {}

    async def ask(first, last):
        answer = await get(f"{mix}.zip", Range=f"bytes={first}-{last}")
        assert (answer.status, answer.headers["Content-Range"]) == (206, f"bytes {first}-{min(last, size - 1)}/{size}")
        slices[first, last] = await answer.read()

    edges = st.sampled_from([0, 40, 70_078, 70_079, 75_100, 80_000, size - 300, size - 22, size - 1])

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(edges, st.integers(0, size - 1)), st.one_of(st.integers(0, 100), st.integers(0, size)))
    def check(first, count):
        asyncio.run_coroutine_threadsafe(ask(first, first + count), loop).result()

    await asyncio.to_thread(check)
    whole = await (await get(f"{mix}.zip")).read()
    assert len(slices) > 50
    for (first, last), part in slices.items():
        assert part == whole[first : last + 1]


async def test_the_tail_alone_is_right_before_any_sum_is_known(get, mix):
    size = int((await get(f"{mix}.zip", "HEAD")).headers["Content-Length"])
    tail = await (await get(f"{mix}.zip", Range=f"bytes={size - 500}-")).read()
    assert (await (await get(f"{mix}.zip")).read())[-500:] == tail


@pytest.mark.parametrize("harm", ["missing", "short"])
async def test_a_blob_that_is_not_what_it_was_ends_the_connection(client, auth, mix, rows, harm, caplog):
    path = client.app[BLOBS].path(rows[2]["key"])
    path.unlink() if harm == "missing" else os.truncate(path, 0)
    answer = await client.get(f"{mix}.zip", headers=auth)
    with pytest.raises(ClientPayloadError):
        await answer.read()
    assert rows[2]["key"] in caplog.text


async def test_one_file_is_open_at_a_time_and_none_after(client, get, mix, monkeypatch):
    blobs, users = client.app[OPEN_BLOBS], []
    opened = type(blobs).open

    async def count(self, key, size):
        blob = await opened(self, key, size)
        users.append(sum(each.users for each in self._open.values()))
        return blob

    monkeypatch.setattr(type(blobs), "open", count)
    await get(f"{mix}.zip")
    assert set(users) == {1}
    assert sum(each.users for each in blobs._open.values()) == 0


async def test_a_client_that_leaves_ends_it(client, auth, add, fill):
    path = await fill([await add(number, os.urandom(LONG)) for number in range(10)])
    target = client.make_url(f"{path}.zip")
    reader, writer = await asyncio.open_connection(target.host, target.port)
    fields = f"Host: x\r\nAuthorization: {auth['Authorization']}\r\n"
    writer.write(f"GET {target.path} HTTP/1.1\r\n{fields}\r\n".encode())
    await reader.readexactly(1000)
    blobs = client.app[OPEN_BLOBS]
    assert sum(each.users for each in blobs._open.values()) == 1
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()
    for _ in range(100):
        if not sum(each.users for each in blobs._open.values()):
            break
        await asyncio.sleep(0.05)
    assert sum(each.users for each in blobs._open.values()) == 0


async def test_a_long_archive_comes_whole_and_is_gone_on_with(client, auth, get, add, fill, tmp_path):
    contents = [os.urandom(LONG), os.urandom(LONG)]
    path = await fill([await add(number, content) for number, content in enumerate(contents)])
    whole = await (await get(f"{path}.zip")).read()
    (tmp_path / "a.zip").write_bytes(whole[: LONG + 1000])
    url = str(client.make_url(f"{path}.zip"))
    command = ["curl", "-sS", "-C", "-", "-o", tmp_path / "a.zip", "-H", f"Authorization: {auth['Authorization']}", url]
    assert await (await asyncio.create_subprocess_exec(*command)).wait() == 0
    assert (tmp_path / "a.zip").read_bytes() == whole
    done = await asyncio.to_thread(
        subprocess.run, ["unzip", "-tq", tmp_path / "a.zip"], capture_output=True, text=True, check=True
    )
    assert "No errors" in done.stdout
