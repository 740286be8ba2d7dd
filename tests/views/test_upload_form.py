"""The form door, in process: names before and after, several files, and files that are none."""

import asyncio
import io

import pytest
from aiohttp import FormData

from service.keys import DATABASE
from service.uploads.at_once import MOST_BYTES, WITHIN_S
from service.views import forms
from service.web.multipart import MAX_FIELD_BYTES, MAX_FIELDS, MAX_FILES


@pytest.fixture
def song(content_of) -> bytes:
    return content_of("jingle")


def form(*parts):
    """A form of ``(name, text)`` and ``(name, content, filename)``; aiohttp writes it in this order."""
    data = FormData(quote_fields=False)
    for name, value, *filename in parts:
        if filename:
            data.add_field(name, value, filename=filename[0], content_type="audio/mpeg")
        else:
            data.add_field(name, value, content_type="text/plain")
    return data


async def post(client, auth, *parts, **headers):
    return await client.post("/tracks", data=form(*parts), headers={**auth, **headers}, allow_redirects=False)


async def titles(client) -> list[str]:
    return [row[0] for row in await client.app[DATABASE].read("SELECT title FROM tracks ORDER BY created_at, track_id")]


@pytest.mark.parametrize("field", ["mp3", "file"])
async def test_one_file_is_one_receipt(client, auth, song, field):
    answer = await post(client, auth, (field, song, "Sea Song.mp3"))
    assert answer.status == 201
    track = await answer.json()
    assert answer.headers["Location"] == f"/tracks/{track['id']}"
    assert (track["title"], track["filename"], track["size"]) == ("Sea Song", "Sea Song.mp3", len(song))


async def test_a_refused_file_that_comes_slowly_does_not_take_the_next_one_with_it(client, auth, song):
    noise = b"no music at all " * 6000
    part = b'--x\r\nContent-Disposition: form-data; name="mp3"; filename="%s"\r\n\r\n%s\r\n'
    body = part % (b"noise.mp3", noise) + part % (b"song.mp3", song) + b"--x--\r\n"
    assert len(body) <= MOST_BYTES

    async def slowly():
        yield body[: len(noise) - 1000]
        await asyncio.sleep(WITHIN_S * 2)
        yield body[len(noise) - 1000 :]

    headers = {**auth, "Content-Type": "multipart/form-data; boundary=x", "Content-Length": str(len(body))}
    answer = await client.post("/tracks", data=slowly(), headers=headers)
    assert answer.status == 207
    assert [item["status"] for item in (await answer.json())["items"]] == [415, 201]


@pytest.mark.parametrize("first", [True, False])
async def test_a_name_is_the_title_before_and_after_the_file(client, auth, song, first):
    parts = [("name", "  Drunken\nSailor "), ("mp3", song, "x.mp3")]
    answer = await post(client, auth, *(parts if first else reversed(parts)))
    assert (await answer.json())["title"] == "Drunken Sailor"
    assert await titles(client) == ["Drunken Sailor"]
    again = await client.get(answer.headers["Location"], headers=auth)
    assert (await again.json())["title"] == "Drunken Sailor"
    assert again.headers["ETag"] == answer.headers["ETag"]


@pytest.mark.parametrize("first", [True, False])
async def test_a_long_name_is_cut(client, auth, song, first):
    parts = [("name", "x" * 5000), ("mp3", song, "x.mp3")]
    answer = await post(client, auth, *(parts if first else reversed(parts)))
    assert (await answer.json())["title"] == "x" * 255


async def test_an_empty_name_is_none(client, auth, song):
    answer = await post(client, auth, ("name", " \u202e\x00 "), ("mp3", song, "x.mp3"))
    assert (await answer.json())["title"] == "x"


async def test_each_name_belongs_to_the_file_behind_it(client, auth, song):
    answer = await post(
        client, auth,
        ("name", "One"), ("mp3", song, "1.mp3"),
        ("mp3", song, "2.mp3"),
        ("name", "Three"), ("mp3", song, "3.mp3"),
        ("name", "Last"),
    )  # fmt: skip
    assert answer.status == 207
    items = (await answer.json())["items"]
    assert [item["status"] for item in items] == [201, 201, 201]
    assert [item["track"]["title"] for item in items] == ["One", "2", "Last"]
    assert await titles(client) == ["One", "2", "Last"]


async def test_one_bad_file_does_not_spoil_the_others(client, auth, song, content_of):
    answer = await post(
        client, auth, ("mp3", content_of("random_1"), "a.mp3"), ("mp3", song, "b.mp3"), ("cover", song, "c.mp3")
    )
    assert answer.status == 207
    items = (await answer.json())["items"]
    assert [item["status"] for item in items] == [415, 201, 422]
    assert items[0]["problem"]["type"] == "/problems/not-an-mp3"
    assert await titles(client) == ["b"]


async def test_the_only_file_refused_is_the_answer(client, auth, content_of):
    answer = await post(client, auth, ("name", "x"), ("mp3", content_of("pdf"), "a.mp3"))
    assert answer.status == 415
    assert (await answer.json())["type"] == "/problems/not-an-mp3"


@pytest.mark.parametrize("parts", [[], [("name", "x")], [("mp3", b"", "")], [("name", "x"), ("mp3", b"", "")]])
async def test_a_form_without_a_file_is_told_so(client, auth, parts):
    answer = await client.post(
        "/tracks",
        data=_raw(parts),
        headers={**auth, "Content-Type": "multipart/form-data; boundary=xx"},
    )
    assert answer.status == 422, await answer.text()
    assert (await answer.json())["errors"][0]["pointer"] == "/mp3"


def _raw(parts) -> bytes:
    body = b""
    for name, value, *filename in parts:
        extra = f'; filename="{filename[0]}"' if filename else ""
        content = value if isinstance(value, bytes) else value.encode()
        body += f'--xx\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + content + b"\r\n"
    return body + b"--xx--\r\n"


async def test_a_browser_is_sent_to_its_track_and_after_several_to_the_list(client, token, song):
    client.session.cookie_jar.update_cookies({"session": token})
    one = await post(client, {}, ("mp3", song, "a.mp3"), Accept="text/html")
    assert one.status == 303
    assert one.headers["Location"].startswith("/tracks/")
    two = await post(client, {}, ("mp3", song, "a.mp3"), ("mp3", song, "b.mp3"), Accept="text/html")
    assert (two.status, two.headers["Location"]) == (303, "/")
    bad = await post(client, {}, ("mp3", b"no mp3", "a.mp3"), Accept="text/html")
    assert bad.status == 415
    assert bad.content_type == "text/html"


async def test_a_form_that_breaks_leaves_nothing_of_its_file(client, auth, song):
    body = b'--xx\r\nContent-Disposition: form-data; name="mp3"; filename="a.mp3"\r\n\r\n' + song
    answer = await client.post(
        "/tracks", data=body, headers={**auth, "Content-Type": "multipart/form-data; boundary=xx"}
    )
    assert answer.status == 400
    assert await titles(client) == []
    assert (await client.app[DATABASE].find("SELECT used_bytes, reserved_bytes FROM users"))[:] == (0, 0)


async def test_the_digest_of_a_part_is_checked(client, auth, song):
    body = _raw([("mp3", song, "a.mp3")])
    wrong = body.replace(b"\r\n\r\n", b"\r\nContent-Digest: sha-256=:" + b"A" * 43 + b"=:\r\n\r\n", 1)
    answer = await client.post(
        "/tracks", data=wrong, headers={**auth, "Content-Type": "multipart/form-data; boundary=xx"}
    )
    assert answer.status == 422
    assert (await answer.json())["type"] == "/problems/digest-mismatch"
    assert await titles(client) == []


FORM = {"Content-Type": "multipart/form-data; boundary=xx"}


async def send(client, auth, body, *, chunked):
    """Post a form as it stands, with its length or in chunks; the answer."""

    async def pieces():
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    return await client.post("/tracks", data=pieces() if chunked else io.BytesIO(body), headers={**auth, **FORM})


@pytest.mark.parametrize("chunked", [True, False])
async def test_files_behind_a_refused_one_are_taken_whether_or_not_the_length_is_known(
    client, auth, song, content_of, chunked
):
    body = _raw([("mp3", song, "a.mp3"), ("mp3", content_of("pdf"), "b.pdf"), ("mp3", song, "c.mp3")])
    answer = await send(client, auth, body, chunked=chunked)
    assert answer.status == 207
    receipt = await answer.json()
    assert [(item["filename"], item["status"]) for item in receipt["items"]] == [
        ("a.mp3", 201),
        ("b.pdf", 415),
        ("c.mp3", 201),
    ]
    assert receipt["complete"] is True
    assert await titles(client) == ["a", "c"]


@pytest.mark.parametrize("chunked", [True, False])
async def test_what_is_too_far_behind_refused_files_is_not_read_and_that_is_said(
    client, auth, song, content_of, chunked, monkeypatch
):
    monkeypatch.setattr(forms, "READ_ON_BYTES", 3_500_000)
    refused = [("mp3", content_of("pdf") + bytes(5_000_000), f"{number}.pdf") for number in range(3)]
    body = _raw([("mp3", song, "a.mp3"), *refused, ("mp3", song, "z.mp3")])
    answer = await send(client, auth, body, chunked=chunked)
    assert answer.status == 207
    receipt = await answer.json()
    assert receipt["complete"] is False
    statuses = [item["status"] for item in receipt["items"]]
    assert statuses in ([201, 415], [201, 415, 415])  # how much is left of a refused file depends on the network
    assert await titles(client) == ["a"]


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize(
    ("tail", "status", "code"),
    [
        ([("name", "x" * (MAX_FIELD_BYTES + 1))], 413, "too-large"),
        ([("name", b"\xff\xfe")], 400, "malformed-body"),
        ([("name", "x")] * (MAX_FIELDS + 1), 413, "too-large"),
    ],
)
async def test_the_receipt_of_a_stored_file_outlives_the_form(client, auth, song, tail, status, code, chunked):
    body = _raw([("mp3", song, "a.mp3"), *tail, ("mp3", song, "b.mp3")])
    answer = await send(client, auth, body, chunked=chunked)
    assert answer.status == 207
    receipt = await answer.json()
    stored, problem = receipt["items"]
    assert (stored["status"], stored["track"]["title"]) == (201, "a")
    assert (problem["filename"], problem["status"]) == ("", status)
    assert problem["problem"]["type"] == f"/problems/{code}"
    assert receipt["complete"] is False
    assert await titles(client) == ["a"]


async def test_the_receipt_of_a_stored_file_outlives_a_form_without_its_end(client, auth, song):
    body = _raw([("mp3", song, "a.mp3"), ("mp3", song, "b.mp3")])[: -len("\r\n--xx--\r\n") - 10]
    answer = await send(client, auth, body, chunked=False)
    receipt = await answer.json()
    assert [(item["filename"], item["status"]) for item in receipt["items"]] == [("a.mp3", 201), ("b.mp3", 400)]
    assert receipt["complete"] is False
    assert await titles(client) == ["a"]


async def test_more_files_than_a_form_may_have_cost_only_those(client, auth, song):
    answer = await send(client, auth, _raw([("mp3", song, "a.mp3")] * (MAX_FILES + 1)), chunked=False)
    receipt = await answer.json()
    assert [item["status"] for item in receipt["items"]] == [201] * MAX_FILES + [413]
    assert receipt["complete"] is False


async def test_a_form_that_breaks_within_its_only_and_refused_file_is_answered_for_the_file(client, auth, content_of):
    body = _raw([("mp3", content_of("pdf") + bytes(5_000_000), "a.pdf")])[:-20]
    answer = await send(client, auth, body, chunked=False)
    assert answer.status == 415


async def test_a_browser_is_told_what_broke_behind_a_stored_file(client, token, song):
    client.session.cookie_jar.update_cookies({"session": token})
    body = _raw([("mp3", song, "a.mp3"), ("name", "x" * (MAX_FIELD_BYTES + 1))])
    answer = await send(client, {"Accept": "text/html"}, body, chunked=False)
    assert (answer.status, answer.content_type) == (413, "text/html")
