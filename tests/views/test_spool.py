"""The curl door, in process: what a PUT answers, and what it leaves."""

import asyncio
import errno
import hashlib
from base64 import b64encode

import pytest

from service.keys import DATABASE, INTAKE
from service.storage.spool import Part
from tests.rows import add_user


@pytest.fixture
def song(content_of) -> bytes:
    return content_of("jingle")


async def states(client) -> list[str]:
    return [row["state"] for row in await client.app[DATABASE].read("SELECT state FROM uploads ORDER BY created_at")]


async def test_a_receipt_has_everything_a_client_needs(client, auth, song):
    answer = await client.put("/spool/Sea%20Song.mp3", data=song, headers=auth)
    assert answer.status == 201
    track = await answer.json()
    digest = hashlib.sha256(song)
    assert answer.headers["Location"] == f"/tracks/{track['id']}"
    assert answer.headers["Repr-Digest"] == f"sha-256=:{b64encode(digest.digest()).decode()}:"
    assert answer.headers["ETag"].startswith('"')
    assert (track["title"], track["filename"], track["sha256"]) == ("Sea Song", "Sea Song.mp3", digest.hexdigest())
    assert await states(client) == []  # what comes at once leaves no upload behind


async def test_two_uploads_of_one_name_are_two_tracks(client, auth, song):
    first = await client.put("/spool/a.mp3", data=song, headers=auth)
    second = await client.put("/spool/a.mp3", data=song, headers=auth)
    assert first.headers["Location"] != second.headers["Location"]


async def test_a_receipt_of_bytes_that_were_there_before_names_the_older_track(client, auth, song):
    first = await client.put("/spool/a.mp3", data=song, headers=auth)
    assert "Link" not in first.headers
    links = [(await client.put(f"/spool/{name}.mp3", data=song, headers=auth)).headers["Link"] for name in "bc"]
    assert links == [f'<{first.headers["Location"]}>; rel="duplicate"'] * 2
    await client.delete(first.headers["Location"], headers=auth)
    after = (await client.put("/spool/d.mp3", data=song, headers=auth)).headers["Link"]
    assert first.headers["Location"] not in after
    other = await client.put("/spool/e.mp3", data=song[:-200], headers=auth)
    assert "Link" not in other.headers


async def test_bytes_of_another_user_are_no_copy(client, auth, song):
    await client.put("/spool/a.mp3", data=song, headers=auth)
    await client.app[DATABASE].write(lambda connection: add_user(connection, "u2"))
    await client.app[DATABASE].write(lambda connection: connection.execute("UPDATE tracks SET user_id = 'u2'"))
    assert "Link" not in (await client.put("/spool/b.mp3", data=song, headers=auth)).headers


async def test_a_browser_goes_on_to_the_track(client, token, song):
    answer = await client.put(
        "/spool/a.mp3", data=song, headers={"Accept": "text/html"}, cookies={"session": token}, allow_redirects=False
    )
    assert answer.status == 303
    assert answer.headers["Location"].startswith("/tracks/")


async def test_other_methods_are_told_what_there_is(client, auth):
    answer = await client.post("/spool/a.mp3", data=b"x", headers=auth)
    assert answer.status == 405
    assert "PUT" in answer.headers["Allow"]


async def test_a_token_that_may_not_upload_may_not(client, auth, song):
    made = await client.post("/tokens", json={"name": "reader", "scopes": ["read"]}, headers=auth)
    headers = {"Authorization": f"Bearer {(await made.json())['token']}"}
    answer = await client.put("/spool/a.mp3", data=song, headers=headers)
    assert answer.status == 403
    assert (await answer.json())["required_scope"] == "upload"
    assert await states(client) == []


async def test_a_page_of_another_site_may_not_upload(client, token, song):
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
        answer = await client.put("/spool/a.mp3", data=song, headers=headers, cookies={"session": token})
        assert answer.status == 403
    assert await states(client) == []


async def test_a_failed_flush_is_503_and_three_are_not_ready(client, auth, song, monkeypatch):
    def fail(self):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Part, "sync", fail)
    for _ in range(3):
        answer = await client.put("/spool/a.mp3", data=song, headers=auth)
        assert answer.status == 503
        assert (await answer.json())["type"] == "/problems/storage-failed"
    ready = await client.get("/readyz")
    assert (ready.status, (await ready.json())["checks"]["storage"]) == (503, "failed")
    monkeypatch.undo()
    assert (await client.put("/spool/a.mp3", data=song, headers=auth)).status == 503
    assert "finished" not in await states(client)
    assert (await client.get("/tracks", headers=auth)).status == 200


@pytest.mark.parametrize("count", [20])
async def test_many_at_once_are_all_taken_or_told_to_wait(make_client, change_settings, song, count):
    client = await make_client(change_settings(max_running_uploads_per_user=4))
    login = await client.post("/login", json={"username": "admin", "password": "correct horse battery"})
    auth = {"Authorization": f"Bearer {(await login.json())['token']}"}
    answers = await asyncio.gather(
        *(client.put(f"/spool/{number}.mp3", data=song, headers=auth) for number in range(count))
    )
    statuses = [answer.status for answer in answers]
    assert set(statuses) <= {201, 429}
    assert statuses.count(201) >= 4
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers if answer.status == 429)
    rows = await client.app[DATABASE].read("SELECT used_bytes, reserved_bytes, used_tracks FROM users")
    assert tuple(rows[0]) == (statuses.count(201) * len(song), 0, statuses.count(201))
    assert client.app[INTAKE]._appending.running.count == 0
