"""Covers: the one in the file, and one of the user's choice."""

import asyncio
import errno
from contextlib import ExitStack
from io import BytesIO

import pytest
from PIL import Image

from service.catalogue import tracks
from service.jobs.runner import MAX_PICTURES
from service.keys import COVERS, DATABASE, JOBS
from service.views import cover
from tests.rows import add_track

JPEG = {"Content-Type": "image/jpeg"}
UNKNOWN = "/tracks/01ARZ3NDEKTSV4RRFFQ69G5FAV/cover"


def picture(colour="red", size=(300, 200), kind="PNG"):
    out = BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


@pytest.fixture
async def url(client, auth):
    """Where the cover of a track is."""
    user_id = (await (await client.get("/me", headers=auth)).json())["id"]
    row = await client.app[DATABASE].write(lambda connection: add_track(connection, 1, user_id))
    return f"/tracks/{row['track_id']}/cover"


@pytest.fixture
def put(client, auth, url):
    """A function that chooses a cover; the answer."""
    return lambda data, **headers: client.put(url, data=data, headers={**auth, **JPEG, **headers})


async def problem(answer):
    return answer.status, (await answer.json())["type"].rpartition("/")[2]


async def test_a_track_without_a_cover(client, auth, url):
    assert (await (await client.get(url.removesuffix("/cover"), headers=auth)).json())["cover"] is None
    assert await problem(await client.get(url, headers=auth)) == (404, "not-found")
    assert await problem(await client.get(UNKNOWN, headers=auth)) == (404, "not-found")


async def test_a_chosen_cover_is_made_anew_in_all_sizes(client, auth, url, put):
    answer = await put(picture())
    assert answer.status == 200, await answer.text()
    address = (await answer.json())["cover"]
    assert address.startswith(f"{url}?v=")
    for size, sides in {64: (64, 43), 128: (128, 86), 512: (300, 200), 1024: (300, 200)}.items():
        shown = await client.get(f"{address}&size={size}", headers=auth)
        assert (shown.status, shown.content_type) == (200, "image/jpeg")
        assert Image.open(BytesIO(await shown.read())).size == sides


async def test_the_address_of_the_track_names_the_picture_and_may_be_kept_for_ever(client, auth, url, put):
    first = (await (await put(picture("red"))).json())["cover"]
    answer = await client.get(first, headers=auth)
    assert "immutable" in answer.headers["Cache-Control"]
    assert (await client.get(first, headers={**auth, "If-None-Match": answer.headers["ETag"]})).status == 304
    second = (await (await put(picture("blue"))).json())["cover"]
    assert second != first
    assert "immutable" not in (await client.get(first, headers=auth)).headers["Cache-Control"]
    assert "no-cache" in (await client.get(url, headers=auth)).headers["Cache-Control"]
    assert (await client.get(url, headers={**auth, "If-None-Match": answer.headers["ETag"]})).status == 200


async def test_the_head_of_a_cover_has_its_length(client, auth, url, put):
    await put(picture())
    answer = await client.head(url, headers=auth)
    assert answer.headers["Content-Length"] == str(len(await (await client.get(url, headers=auth)).read()))


@pytest.mark.parametrize(
    "data", [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html>", picture()[:60], b"\xff\xd8\xff" + bytes(99)]
)
async def test_what_is_no_picture_is_refused_and_changes_nothing(client, auth, url, put, data):
    before = (await (await put(picture())).json())["cover"]
    assert await problem(await put(data)) == (415, "not-a-picture")
    assert (await (await client.get(url.removesuffix("/cover"), headers=auth)).json())["cover"] == before


async def test_a_picture_is_known_by_its_bytes_and_not_by_its_content_type(put):
    assert (await put(picture(kind="WEBP"))).status == 200
    answer = await put(picture(), **{"Content-Type": "image/svg+xml"})
    assert await problem(answer) == (415, "unsupported-media-type")


async def test_a_picture_too_large_is_refused(client, auth, url, put):
    async def endless():
        for _ in range(200):
            yield bytes(1 << 16)

    assert await problem(await put(BytesIO(bytes((10 << 20) + 1)))) == (413, "too-large")
    assert await problem(await put(endless())) == (413, "too-large")


async def test_choosing_minds_if_match_and_the_trash(client, auth, url, put):
    assert await problem(await put(picture(), **{"If-Match": '"other"'})) == (412, "precondition-failed")
    track = url.removesuffix("/cover")
    etag = (await client.get(track, headers=auth)).headers["ETag"]
    answer = await put(picture(), **{"If-Match": etag})
    assert (answer.status, answer.headers["ETag"] != etag) == (200, True)
    await client.delete(track, headers=auth)
    assert await problem(await put(picture())) == (409, "conflict")


async def test_a_cover_of_another_user_or_of_nobody_cannot_be_chosen(client, auth):
    answer = await client.put(UNKNOWN, data=picture(), headers={**auth, **JPEG})
    assert await problem(answer) == (404, "not-found")


async def test_what_the_file_shows_comes_back(client, auth, url, put):
    track_id = url.split("/")[2]
    found = tracks.Description({}, cover=tracks.Cover(b"f" * 32, 10, 10))
    await client.app[DATABASE].write(lambda connection: tracks.describe(connection, track_id, found, now=9))
    client.app[COVERS].put(b"f" * 32, {512: b"the file's"})
    await put(picture())
    answer = await client.delete(url, headers=auth)
    assert (answer.status, (await answer.json())["cover"]) == (200, f"{url}?v={(b'f' * 8).hex()}")
    assert await (await client.get(url, headers=auth)).read() == b"the file's"
    lost = await client.get(f"{url}?size=64", headers=auth)
    assert await problem(lost) == (404, "not-found")


@pytest.mark.parametrize("size", ["0", "63", "065", "big", ""])
async def test_it_is_made_in_a_few_sizes(client, auth, url, size):
    answer = await client.get(f"{url}?size={size}", headers=auth)
    assert await problem(answer) == (400, "invalid-query")


async def test_a_picture_that_takes_too_long_gives_its_place_up(put, monkeypatch):
    monkeypatch.setattr(cover, "MAX_SECONDS", 0.5)

    async def drip():
        for _ in range(20):
            yield b"\xff"
            await asyncio.sleep(0.1)

    assert await problem(await put(drip())) == (408, "body-timeout")
    assert (await put(picture())).status == 200


async def test_no_more_pictures_are_taken_in_than_memory_is_given_to(client, put):
    with ExitStack() as stack:
        for number in range(MAX_PICTURES):
            stack.enter_context(client.app[JOBS].place_for_picture(f"user {number}"))
        answer = await put(picture())
        assert await problem(answer) == (503, "overloaded")
        assert int(answer.headers["Retry-After"]) > 0
    assert (await put(picture())).status == 200


@pytest.mark.parametrize("step", ["put", "flush"])
@pytest.mark.parametrize(
    ("number", "answered"),
    [(errno.ENOSPC, (507, "storage-full")), (errno.EIO, (503, "storage-failed")), (errno.EMFILE, (503, "overloaded"))],
)
async def test_a_disk_that_does_not_keep_the_picture_is_told(
    client, auth, url, put, monkeypatch, step, number, answered
):
    def fail(*_arguments):
        raise OSError(number, "no")

    with monkeypatch.context() as patch:
        patch.setattr(client.app[COVERS], step, fail)
        assert await problem(await put(picture())) == answered
    assert (await client.get(url, headers=auth)).status == 404, "the track shows what it did"
    assert (await put(picture())).status == 200


async def test_a_picture_the_disk_cannot_read_is_told(client, auth, url, put):
    address = (await (await put(picture())).json())["cover"]
    (file,) = client.app[COVERS].directory.rglob("512.jpg")
    file.unlink()
    file.mkdir()
    assert await problem(await client.get(address, headers=auth)) == (503, "storage-failed")
