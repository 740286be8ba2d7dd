"""The music of a track behind a tag of what is known of it today."""

import io
import random
import re
import subprocess
from hashlib import sha256
from itertools import pairwise

import mutagen.id3
import pytest
from PIL import Image
from tinytag import TinyTag

from service.audio.frames import scan
from service.catalogue import tracks
from service.catalogue.tracks import Cover, Description
from service.keys import BLOBS, COVERS, DATABASE
from tests import corpus
from tests.rows import add_track

TAGS = {
    "title": "Old title",
    "artist": "Who",
    "year": 1971,
    "track_number": 3,
    "track_total": 9,
    "musicbrainz": {"release": "0da580f2-6768-498f-af9d-2becaddf15e0"},
    "replaygain": {"track_gain": -6.5},
}


def picture() -> bytes:
    """A JPEG whose bytes are as good as random."""
    file = io.BytesIO()
    Image.frombytes("L", (400, 400), corpus.noise(160_000)).save(file, "JPEG", quality=80)
    return file.getvalue()


PICTURE = picture()


@pytest.fixture
async def user_id(client, auth):
    return (await (await client.get("/me", headers=auth)).json())["id"]


@pytest.fixture
def content(content_of):
    """A file with tags at both ends, and a cover of which nothing may be left."""
    return (
        corpus.id3(b"TIT2\0\0\0\x0a\0\0\0Old title", padding=5000) + content_of("vbr") + corpus.ape() + corpus.id3v1()
    )


@pytest.fixture
async def row(client, user_id, content):
    """A track of that file that is not described yet."""
    row = await client.app[DATABASE].write(
        lambda connection: add_track(
            connection,
            *(1, user_id),
            size=len(content),
            sha256=sha256(content).digest(),
            filename="Café.mp3",
            metadata="pending",
        )
    )
    client.app[BLOBS].path(row["key"]).write_bytes(content)
    return row


@pytest.fixture
async def url(client, row, describe):
    """Of the track with today's tags, after it was described."""
    await describe()
    return f"/tracks/{row['track_id']}/audio?tags=current"


@pytest.fixture
def describe(client, row):
    """A function that describes the track, as analysis does."""

    async def describe(**changes):
        found = scan(client.app[BLOBS].path(row["key"]))
        facts = {
            "tags": TAGS,
            "cover": Cover(sha256(PICTURE).digest(), 1024, 1024),
            "frames_sha256": found.sha256,
            "audio_start": found.start,
            "audio_end": found.end,
        }
        client.app[COVERS].put(sha256(PICTURE).digest(), {1024: PICTURE})
        await client.app[DATABASE].write(
            lambda connection: tracks.describe(connection, row["track_id"], Description(**{**facts, **changes}), now=5)
        )

    return describe


@pytest.fixture
def patch(client, auth, row):
    """A function that changes the track."""

    async def patch(**changes):
        headers = {**auth, "If-Match": "*", "Content-Type": "application/merge-patch+json"}
        answer = await client.patch(f"/tracks/{row['track_id']}", json=changes, headers=headers)
        assert answer.status == 200, await answer.text()

    return patch


async def read(client, url, auth, **headers):
    answer = await client.get(url, headers={**auth, **headers})
    return answer, await answer.read()


def tags_of(body):
    return mutagen.id3.ID3(io.BytesIO(body))


# What is in it


async def test_it_is_a_new_tag_and_the_music_as_it_was(client, auth, url, content_of):
    answer, body = await read(client, url, auth)
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(body)))
    assert body.endswith(content_of("vbr"))
    assert body.count(b"Old title") == 1
    tags = tags_of(body)
    assert (tags["TIT2"].text, tags["TRCK"].text, tags["TPE1"].text) == (["Old title"], ["3/9"], ["Who"])
    assert tags["TXXX:MusicBrainz Album Id"].text == ["0da580f2-6768-498f-af9d-2becaddf15e0"]
    assert tags.getall("APIC")[0].data == PICTURE


async def test_what_was_uploaded_stays_as_it_was(client, auth, url, content, patch):
    await patch(title="New title")
    for original in (url.partition("?")[0], url.replace("current", "original")):
        answer, body = await read(client, original, auth)
        assert body == content
        assert answer.headers["ETag"] == f'"{sha256(content).hexdigest()}"'


async def test_the_words_of_the_user_are_in_it(client, auth, url, patch):
    await patch(title="Neuer Titel ♫", artist="", genre="Rock", year=2026, labels={"mood": "calm"})
    tags = tags_of((await read(client, url, auth))[1])
    assert tags["TIT2"].text == ["Neuer Titel ♫"]
    assert "TPE1" not in tags
    assert (tags["TCON"].text, str(tags["TDRC"]), tags["TXXX:label:mood"].text) == (["Rock"], "2026", ["calm"])


async def test_the_music_is_the_same_after_a_change_and_others_can_play_it(client, auth, url, patch, row, tmp_path):
    await patch(title="New title")
    path = tmp_path / "current.mp3"
    path.write_bytes((await read(client, url, auth))[1])
    assert scan(path).sha256 == scan(client.app[BLOBS].path(row["key"])).sha256
    assert TinyTag.get(path, image=True).images.front_cover.data == PICTURE
    assert (TinyTag.get(path).title, mutagen.id3.ID3(path)["TIT2"].text) == ("New title", ["New title"])
    played = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", path, "-map", "0:a", "-f", "null", "-"], capture_output=True, check=True
    )
    assert played.stderr == b""
    assert corpus.decoded_seconds(path) == pytest.approx(12.0, abs=0.03)


async def test_a_cover_that_is_lost_is_left_out(client, auth, url):
    client.app[COVERS].delete(sha256(PICTURE).digest())
    assert "APIC:" not in tags_of((await read(client, url, auth))[1])


async def test_tags_that_could_not_be_read_are_only_the_words_of_the_user(client, auth, url, describe, patch):
    await describe(tags={}, reason="its tags are too large", cover=None)
    await patch(title="Mine")
    assert [frame.FrameID for frame in tags_of((await read(client, url, auth))[1]).values()] == ["TIT2"]


# How it is asked for


@pytest.mark.parametrize("query", ["tags=old", "tags=", "tags=current&tags=current", "tags=Current&download=1"])
@pytest.mark.parametrize("method", ["get", "head"])
async def test_other_tags_there_are_none(client, auth, url, query, method):
    answer = await getattr(client, method)(url.replace("tags=current", query), headers=auth)
    assert answer.status == 400
    if method == "get":
        problem = await answer.json()
        assert problem["type"] == "/problems/invalid-query"
        assert (problem["parameter"], problem["allowed"]) == ("tags", ["original", "current"])


@pytest.mark.parametrize("method", ["get", "head"])
async def test_before_the_file_was_looked_at_it_is_not_there_yet(client, auth, row, method):
    answer = await getattr(client, method)(f"/tracks/{row['track_id']}/audio?tags=current", headers=auth)
    assert (answer.status, answer.headers["Retry-After"]) == (409, "2")
    if method == "get":
        assert (await answer.json())["type"] == "/problems/not-analysed"
    assert (await client.get(f"/tracks/{row['track_id']}/audio", headers=auth)).status == 200


async def test_where_no_music_was_found_again_it_never_is(client, auth, url, describe):
    await describe(tags={}, reason="no reason", audio_start=None, audio_end=None)
    answer, body = await read(client, url, auth)
    assert (answer.status, "Retry-After" in answer.headers) == (409, False)
    assert b'"reason":"no reason"' in body


async def test_only_the_owner_gets_it_and_nobody_what_is_in_the_trash(client, auth, url, row):
    client.session.cookie_jar.clear()
    assert (await client.get(url)).status == 401
    assert (await client.get(url.replace(row["track_id"], "0" * 26), headers=auth)).status == 404
    assert (await client.delete(f"/tracks/{row['track_id']}", headers=auth)).status == 204
    assert (await client.get(url, headers=auth)).status == 404


# What its header says


async def test_the_header_is_that_of_another_file(client, auth, url, content):
    answer, _ = await read(client, url, auth)
    assert re.fullmatch(r'"[0-9a-f]{64}"', answer.headers["ETag"])
    assert answer.headers["ETag"] != f'"{sha256(content).hexdigest()}"'
    assert "Repr-Digest" not in answer.headers
    assert "Last-Modified" not in answer.headers
    assert (answer.content_type, answer.headers["Accept-Ranges"]) == ("audio/mpeg", "bytes")
    assert answer.headers["Cache-Control"] == "private, no-cache, no-transform"
    assert answer.headers["Content-Disposition"].startswith('inline; filename="Cafe.mp3"')
    answer, _ = await read(client, f"{url}&download=1", auth)
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="Cafe.mp3"')


async def test_the_head_is_that_of_the_whole(client, auth, url):
    answer, _ = await read(client, url, auth)
    head = await client.head(url, headers={**auth, "Range": "bytes=0-1"})
    differing = {"Date", "X-Request-ID"}
    assert (head.status, await head.read()) == (200, b"")
    assert {(k, v) for k, v in head.headers.items() if k not in differing} == {
        (k, v) for k, v in answer.headers.items() if k not in differing
    }


async def test_the_entity_tag_changes_with_the_bytes_and_only_with_them(client, auth, url, patch):
    seen = [(await read(client, url, auth))[0].headers["ETag"]]
    for change in ({"title": "New"}, {"labels": {"a": "b"}}, {"title": "New"}, {"labels": {"a": None}, "title": None}):
        await patch(**change)
        seen.append((await read(client, url, auth))[0].headers["ETag"])
    assert seen[2] == seen[3]
    assert seen[0] == seen[4]
    assert len(set(seen)) == 3


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": "{etag}"}, 304),
        ({"If-None-Match": '"x"'}, 200),
        ({"If-None-Match": '"{original}"'}, 200),
        ({"If-Modified-Since": "Sun, 22 Nov 2099 16:10:00 GMT"}, 200),
        ({"If-Match": '"{original}"'}, 412),
        ({"If-Match": "{etag}"}, 200),
        ({"If-Unmodified-Since": "Wed, 31 Dec 1969 23:59:59 GMT"}, 200),
        ({"Range": "bytes=0-1", "If-Range": "{etag}"}, 206),
        ({"Range": "bytes=0-1", "If-Range": '"{original}"'}, 200),
        ({"Range": "bytes=0-1", "If-Range": "Thu, 01 Jan 1970 00:00:01 GMT"}, 200),
        ({"Range": "bytes=99999999-"}, 416),
    ],
)
async def test_conditions(client, auth, url, content, headers, status):
    etag = (await client.head(url, headers=auth)).headers["ETag"]
    asked = {name: text.format(etag=etag, original=sha256(content).hexdigest()) for name, text in headers.items()}
    answer, body = await read(client, url, auth, **asked)
    assert answer.status == status
    if status == 304:
        assert (body, answer.headers["ETag"]) == (b"", etag)
    if "Range" not in asked:
        assert (await client.head(url, headers={**auth, **asked})).status == status


# Across the seam


async def test_every_range_around_the_seam_is_its_slice(client, auth, url):
    _, whole = await read(client, url, auth)
    seam = whole.index(b"Xing") - 36
    assert tags_of(whole).size == seam
    for first, last in [
        *((0, 0), (0, seam - 1), (seam - 1, seam - 1), (seam - 1, seam), (seam, seam), (seam + 1, seam + 9)),
        *((0, seam), (seam - 70_000, seam + 70_000), (0, len(whole) - 1), (seam, len(whole) - 1), (5, 10**9)),
    ]:
        answer, body = await read(client, url, auth, Range=f"bytes={first}-{last}")
        last = min(last, len(whole) - 1)
        assert (answer.status, body) == (206, whole[first : last + 1])
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(whole)}"
        assert answer.headers["Content-Length"] == str(len(body))
    assert (await read(client, url, auth, Range="bytes=-7"))[1] == whole[-7:]
    assert (await read(client, url, auth, Range=f"bytes=-{len(whole) - 5}"))[1] == whole[5:]
    answer, _ = await read(client, url, auth, Range=f"bytes={len(whole)}-")
    assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(whole)}")


async def test_any_pieces_make_the_whole(client, auth, url):
    _, whole = await read(client, url, auth)
    seed = random.Random(1)
    for _ in range(20):
        places = [0, *sorted(seed.sample(range(1, len(whole)), 5)), len(whole)]
        pieces = [
            (await read(client, url, auth, Range=f"bytes={start}-{end - 1}"))[1] for start, end in pairwise(places)
        ]
        assert b"".join(pieces) == whole


async def test_a_blob_that_is_not_what_it_was_is_503(client, auth, url, row):
    path = client.app[BLOBS].path(row["key"])
    path.write_bytes(path.read_bytes()[:-1])
    for method in ("get", "head"):
        assert (await getattr(client, method)(url, headers=auth)).status == 503
