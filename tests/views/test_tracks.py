from urllib.parse import parse_qsl, quote, urlsplit

import orjson
import pytest

from service.catalogue import tracks
from service.catalogue.tracks import Description
from service.keys import DATABASE
from service.schemas.tracks import dump_track
from tests.rows import add_user

HTML = {"Accept": "text/html"}
UNKNOWN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture
async def track(add):
    return await add(1)


@pytest.fixture
async def foreign(client, add):
    await client.app[DATABASE].write(lambda connection: add_user(connection, "u2"))
    return await add(2, "u2")


@pytest.fixture
def scoped(client, auth):
    """A function that makes a token with these scopes; its header."""

    async def make(*scopes):
        answer = await client.post("/tokens", json={"name": "test", "scopes": list(scopes)}, headers=auth)
        return {"Authorization": f"Bearer {(await answer.json())['token']}"}

    return make


@pytest.fixture
def page(client, auth):
    """A function that reads a page of the listing."""

    async def read(url):
        answer = await client.get(url, headers=auth)
        assert answer.status == 200, await answer.text()
        return await answer.json()

    return read


def url_of(row):
    return f"/tracks/{row['track_id']}"


async def problem(answer):
    return (answer.status, (await answer.json())["type"].removeprefix("/problems/"))


# --- the listing


async def test_a_page_has_the_tracks_newest_first(page, add, foreign):
    rows = [await add(number) for number in (3, 4, 5)]
    assert await page("/tracks") == {
        "items": [dump_track(row) for row in reversed(rows)],
        "next": None,
        "prev": None,
        "limit": 50,
        "count": None,
    }


async def test_an_empty_catalogue_is_an_empty_page(page):
    assert await page("/tracks?count=exact") == {"items": [], "next": None, "prev": None, "limit": 50, "count": 0}


async def test_links_lead_through_all_pages_and_back(client, auth, page, add):
    for number in range(5):
        await add(number, artist="Zoë & Co", duration=60.0 + number)
    url = f"/tracks?artist={quote('Zoë & Co')}&duration[gte]=60&sort=-duration&limit=2&fields=id,duration&count=exact"
    first, found = await page(url), []
    assert first["prev"] is None
    seen = [first]
    while seen[-1]["next"]:
        seen.append(await page(seen[-1]["next"]))
    found = [item["duration"] for each in seen for item in each["items"]]
    assert found == [64.0, 63.0, 62.0, 61.0, 60.0]
    assert {each["count"] for each in seen} == {5}
    assert set(seen[1]["items"][0]) == {"id", "duration"}
    back = await page(seen[2]["prev"])
    assert back["items"] == seen[1]["items"]
    assert (await page(back["prev"]))["items"] == first["items"]
    assert (await page(back["prev"]))["prev"] is None
    answer = await client.get(seen[1]["next"], headers=auth)
    links = {key: str(link["url"].relative()) for key, link in answer.links.items()}
    assert set(links) == {"prev", "first"}
    assert (await page(links["first"]))["items"] == first["items"]
    assert not urlsplit(seen[0]["next"]).netloc
    assert dict(parse_qsl(urlsplit(seen[0]["next"]).query)).keys() >= {"artist", "duration[gte]", "sort", "cursor"}


async def test_the_link_field_says_what_the_body_says(client, auth, add):
    for number in range(3):
        await add(number)
    answer = await client.get("/tracks?limit=2", headers=auth)
    body = await answer.json()
    assert answer.headers["Link"] == f'<{body["next"]}>; rel="next", </tracks?limit=2>; rel="first"'


@pytest.mark.parametrize(
    "query",
    [
        "q=%21%3F",
        "q=" + "a" * 257,
        "q=" + "+".join(f"w{number}" for number in range(33)),
        "q=%00",
        "label[Mood]=calm",
        "label=calm",
        "year=MM",
        "has_cover=1",
        "metadata=none",
        "nonsense=1",
        "sort=secret",
        "sort=user_id",
        "fields=key",
        "limit=501",
        "count=some",
        "mode=fast",
        "state=gone",
        "channels=two",
        "size[between]=1",
        "size[gt]=1e3",
        "size[gt]=" + "9" * 19,
        "duration[lt]=-1",
        "duration[lt]=nan",
        "created[gt]=yesterday",
        "created[gt]=2026-13-01",
        "created[gt]=2026-11-22T16:10:00",
        "created[gt]=2026-11-22T25:10:00Z",
        "sha256=abc",
        "title=%00",
        "title=" + "a" * 1025,
        "artist=a&artist=b",
        "cursor=nonsense",
    ],
)
async def test_a_query_that_means_nothing_is_refused(client, auth, query):
    answer = await client.get(f"/tracks?{query}", headers=auth)
    assert await problem(answer) == (400, "invalid-query")
    assert (await answer.json())["parameter"] == query.partition("=")[0]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("created[gte]=2026-11-22T16:10:00Z", [1, 2]),
        ("created_at[gt]=2026-11-22T16:10:00Z", [2]),
        ("created[lt]=2026-11-22T17:10:00.5%2B01:00", [1]),
        ("created[gte]=2026-11-23", [2]),
        ("created[lt]=0001-01-01T00:00:00%2B23:59", []),
        ("title=CAF%C3%A9", [1]),
        ("title=cafe%CC%81", [1]),
        ("state=ready", [1, 2]),
        ("duration=60.5", [1, 2]),
        ("size[lte]=1001&size[gte]=1001", [1]),
    ],
)
async def test_filters(page, add, query, numbers):
    await add(1, title="café", created_at=1_795_363_800_000_000)
    await add(2, created_at=1_795_363_800_000_000 + 86_400_000_000)
    found = await page(f"/tracks?{query}&sort=size")
    assert [int(item["id"]) for item in found["items"]] == numbers


async def test_equal_bytes_are_found_by_digest_in_any_case(page, track):
    assert len((await page(f"/tracks?sha256={track['sha256'].hex().upper()}"))["items"]) == 1


async def test_a_cursor_belongs_to_its_user_and_listing(client, auth, page, add):
    for number in range(3):
        await add(number)
    cursor = dict(parse_qsl(urlsplit((await page("/tracks?limit=1"))["next"]).query))["cursor"]
    assert (await client.get(f"/tracks?limit=2&cursor={cursor}", headers=auth)).status == 200
    answer = await client.get(f"/tracks?sort=title&cursor={cursor}", headers=auth)
    assert await problem(answer) == (400, "invalid-query")


async def test_a_page_that_is_known_is_not_sent_again(client, auth, add):
    await add(1)
    answer = await client.get("/tracks", headers=auth)
    etag = answer.headers["ETag"]
    assert etag.startswith('W/"')
    again = await client.get("/tracks", headers={**auth, "If-None-Match": etag})
    assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", etag)
    await add(2)
    assert (await client.get("/tracks", headers={**auth, "If-None-Match": etag})).status == 200


async def test_the_head_of_a_page_has_its_length(client, auth, track):
    answer, head = await client.get("/tracks", headers=auth), await client.head("/tracks", headers=auth)
    assert head.status == 200
    for name in ("ETag", "Link", "Content-Length", "Content-Type", "Vary"):
        assert head.headers[name] == answer.headers[name]


async def test_a_browser_gets_a_page_of_html(client, add, auth):
    for number in range(3):
        await add(number, title=f"<b>{number}")
    answer = await client.get("/tracks?sort=title&limit=2&fields=id", headers=HTML)
    text = await answer.text()
    assert (answer.status, answer.content_type) == (200, "text/html")
    assert "&lt;b&gt;0" in text
    assert "&lt;b&gt;2" not in text
    assert "cursor=" in text


@pytest.mark.parametrize("path", ["/tracks", f"/tracks/{UNKNOWN}", f"/tracks/{UNKNOWN}/audio"])
async def test_nobody_sees_nothing(client, path):
    assert await problem(await client.get(path)) == (401, "unauthenticated")


# --- one track


async def test_a_track_and_its_head(client, auth, track):
    answer = await client.get(url_of(track), headers=auth)
    assert (answer.status, await answer.json()) == (200, dump_track(track))
    assert answer.headers["ETag"] == f'"{track["track_id"]}-1-0"'
    head = await client.head(url_of(track), headers=auth)
    assert (head.status, head.headers["ETag"]) == (200, answer.headers["ETag"])
    again = await client.get(url_of(track), headers={**auth, "If-None-Match": answer.headers["ETag"]})
    assert again.status == 304


@pytest.mark.parametrize("track_id", [UNKNOWN, "x", "%00", "..%2F..", "é", "a" * 500])
@pytest.mark.parametrize("path", ["", "/audio", "/restore"])
async def test_an_unknown_track_is_not_found(client, auth, track_id, path):
    method = "POST" if path == "/restore" else "GET"
    answer = await client.request(method, f"/tracks/{track_id}{path}", headers=auth)
    assert answer.status == 404


async def test_another_users_track_looks_like_none(client, auth, foreign):
    answers = {}
    for url in (url_of(foreign), f"/tracks/{UNKNOWN}"):
        answers[url] = [
            await client.get(url, headers=auth),
            await client.head(url, headers=auth),
            await client.patch(url, json={"title": "x"}, headers={**auth, "If-Match": "*"}),
            await client.delete(url, headers=auth),
            await client.post(f"{url}/restore", headers=auth),
            await client.get(f"{url}/audio", headers=auth),
            await client.head(f"{url}/audio", headers=auth),
        ]
    for one, other in zip(*answers.values(), strict=True):
        assert one.status == other.status == 404
        if one.method != "HEAD":
            documents = [{**await each.json(), "instance": ""} for each in (one, other)]
            assert documents[0] == documents[1]


async def test_a_change_makes_a_new_version(client, auth, track):
    url = url_of(track)
    etag = (await client.get(url, headers=auth)).headers["ETag"]
    patch = {"title": " Cafe\u0301 ", "artist": "", "labels": {"mood": "calm"}}
    answer = await client.patch(url, json=patch, headers={**auth, "If-Match": etag})
    body = await answer.json()
    assert answer.status == 200
    assert (body["title"], body["artist"], body["labels"]) == ("Café", "", {"mood": "calm"})
    assert body["updated_at"] > body["created_at"]
    assert answer.headers["ETag"] != etag
    assert await (await client.get(url, headers=auth)).json() == body
    stale = await client.patch(url, json={"title": "late"}, headers={**auth, "If-Match": etag})
    assert await problem(stale) == (412, "precondition-failed")
    merge = {**auth, "If-Match": "*", "Content-Type": "application/merge-patch+json"}
    answer = await client.patch(url, data='{"title": null, "labels": {"mood": null}}', headers=merge)
    assert ((await answer.json())["title"], (await answer.json())["labels"]) == ("song 1", {})


async def test_a_change_needs_if_match(client, auth, track):
    answer = await client.patch(url_of(track), json={"title": "x"}, headers=auth)
    assert await problem(answer) == (428, "precondition-required")


@pytest.mark.parametrize(
    ("patch", "pointer"),
    [
        ({"title": ""}, "/title"),
        ({"title": "  "}, "/title"),
        ({"title": "x" * 256}, "/title"),
        ({"title": 5}, "/title"),
        ({"title": "a\0b"}, "/title"),
        ({"album": "a\nb"}, "/album"),
        ({"comment": "bell \x07"}, "/comment"),
        ({"artist": ["x"]}, "/artist"),
        ({"size": 5}, "/size"),
        ({"labels": ["x"]}, "/labels"),
        ({"labels": {"Upper": "x"}}, "/labels/Upper"),
        ({"labels": {"a\n": "x"}}, "/labels/a\n"),
        ({"labels": {"x" * 33: "x"}}, f"/labels/{'x' * 33}"),
        ({"labels": {"": "x"}}, "/labels/"),
        ({"labels": {"a": 5}}, "/labels/a"),
        ({"labels": {"a": "x" * 256}}, "/labels/a"),
        ({"labels": {f"n{number}": "" for number in range(33)}}, "/labels"),
        ([], ""),
        ("title", ""),
        (None, ""),
    ],
)
async def test_a_change_that_cannot_be_names_the_field(client, auth, track, patch, pointer):
    headers = {**auth, "If-Match": "*", "Content-Type": "application/json"}
    answer = await client.patch(url_of(track), data=orjson.dumps(patch), headers=headers)
    assert await problem(answer) == (422, "invalid")
    assert [each["pointer"] for each in (await answer.json())["errors"]] == [pointer]
    assert await (await client.get(url_of(track), headers=auth)).json() == dump_track(track)


@pytest.mark.parametrize("limit", [{"title": "x" * 255, "labels": {"x" * 32: "y" * 255}}])
async def test_a_change_at_its_limits_is_taken(client, auth, track, limit):
    answer = await client.patch(url_of(track), json=limit, headers={**auth, "If-Match": "*"})
    assert answer.status == 200


async def test_other_kinds_of_patch_are_not_taken(client, auth, track):
    headers = {**auth, "If-Match": "*", "Content-Type": "application/json-patch+json"}
    answer = await client.patch(url_of(track), data="[]", headers=headers)
    assert await problem(answer) == (415, "unsupported-media-type")


async def test_each_scope_opens_only_its_own_door(client, track, scoped):
    url = url_of(track)
    reader, uploader, deleter = await scoped("read"), await scoped("upload"), await scoped("delete")
    assert (await client.get(url, headers=reader)).status == 200
    patched = [
        (await client.patch(url, json={}, headers={**each, "If-Match": "*"})).status
        for each in (reader, deleter, uploader)
    ]
    assert patched == [403, 403, 200]
    assert (await client.get(url, headers=uploader)).status == 403
    assert (await client.get("/tracks", headers=deleter)).status == 403
    assert [(await client.delete(url, headers=each)).status for each in (reader, uploader, deleter)] == [403, 403, 204]
    restored = [(await client.post(f"{url}/restore", headers=each)).status for each in (reader, uploader, deleter)]
    assert restored == [403, 403, 200]


async def test_into_the_trash_and_back(client, auth, page, track):
    url = url_of(track)
    answer = await client.delete(url, headers=auth)
    assert (answer.status, await answer.read()) == (204, b"")
    assert (await page("/tracks"))["items"] == []
    assert [item["state"] for item in (await page("/tracks?state=trashed"))["items"]] == ["trashed"]
    assert (await (await client.get(url, headers=auth)).json())["state"] == "trashed"
    assert (await client.delete(url, headers=auth)).status == 204
    patched = await client.patch(url, json={"title": "x"}, headers={**auth, "If-Match": "*"})
    assert await problem(patched) == (409, "conflict")
    answer = await client.post(f"{url}/restore", headers=auth)
    assert (answer.status, (await answer.json())["state"]) == (200, "ready")
    assert answer.headers["ETag"] == f'"{track["track_id"]}-3-0"'
    assert len((await page("/tracks"))["items"]) == 1
    assert await problem(await client.post(f"{url}/restore", headers=auth)) == (409, "conflict")


async def test_deleting_minds_if_match(client, auth, track):
    answer = await client.delete(url_of(track), headers={**auth, "If-Match": '"other"'})
    assert await problem(answer) == (412, "precondition-failed")
    etag = f'"{track["track_id"]}-1-0"'
    assert (await client.delete(url_of(track), headers={**auth, "If-Match": etag})).status == 204


async def test_what_analysis_found_meanwhile_refuses_no_change(client, auth, track):
    seen = (await client.get(url_of(track), headers=auth)).headers["ETag"]
    found = Description({"artist": "Found"})
    await client.app[DATABASE].write(lambda connection: tracks.describe(connection, track["track_id"], found, now=9))
    answer = await client.patch(url_of(track), json={"title": "Mine"}, headers={**auth, "If-Match": seen})
    assert (answer.status, answer.headers["ETag"]) == (200, f'"{track["track_id"]}-2-1"')
    assert (await answer.json())["artist"] == "Found"
    stale = await client.patch(url_of(track), json={"title": "x"}, headers={**auth, "If-Match": seen})
    assert await problem(stale) == (412, "precondition-failed")
    assert (await client.get(url_of(track), headers={**auth, "If-None-Match": seen})).status == 200


async def test_a_browser_is_led_on(client, track, auth):
    url = url_of(track)
    answer = await client.delete(url, headers=HTML, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/tracks")
    answer = await client.post(f"{url}/restore", headers=HTML, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, url)
    answer = await client.get(url, headers=HTML)
    assert (answer.status, answer.content_type) == (200, "text/html")
    assert track["title"] in await answer.text()
    assert (await client.get(f"/tracks/{UNKNOWN}", headers=HTML)).status == 404


async def test_other_methods_are_not_allowed(client, auth, track):
    answer = await client.put(url_of(track), headers=auth)
    assert (answer.status, answer.headers["Allow"]) == (405, "DELETE, GET, HEAD, PATCH")


async def test_a_comment_may_have_lines(client, auth, track):
    patch = {"comment": "one\r\ntwo\rthree\n\tfour"}
    answer = await client.patch(url_of(track), json=patch, headers={**auth, "If-Match": "*"})
    assert (await answer.json())["comment"] == "one\ntwo\nthree\n\tfour"
