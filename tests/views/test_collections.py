from urllib.parse import parse_qsl, urlsplit

import pytest

from service.accounts.permissions import SCOPES, Identity
from service.catalogue import collections, items
from service.catalogue.collections import MAX_PER_USER
from service.keys import ACCOUNTS, DATABASE
from service.schemas import collections as schemas
from service.schemas.tracks import dump_track
from tests.rows import add_user

UNKNOWN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture
async def songs(add):
    """The ids of five tracks."""
    return [(await add(number))["track_id"] for number in range(1, 6)]


@pytest.fixture
def send(client, auth):
    """A function that sends a request; the answer."""

    async def send(method, url, body=None, **headers):
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.request(method, url, json=body, headers={**auth, **fields})

    return send


@pytest.fixture
def make(send):
    """A function that makes a collection; the answer's body and entity tag."""

    async def make(name="Mix", **more):
        answer = await send("POST", "/collections", {"name": name, **more})
        assert answer.status == 201, await answer.text()
        return await answer.json(), answer.headers["ETag"]

    return make


@pytest.fixture
async def mix(make):
    """The path of an empty collection."""
    return f"/collections/{(await make())[0]['id']}"


@pytest.fixture
def read(send):
    """A function that reads JSON."""

    async def read(url):
        answer = await send("GET", url)
        assert answer.status == 200, await answer.text()
        return await answer.json()

    return read


@pytest.fixture
def shown(read, mix):
    """A function that gives the numbers of the songs in the mix."""

    async def shown():
        found = (await read(f"{mix}/tracks"))["items"]
        assert [item["position"] for item in found] == list(range(1, len(found) + 1))
        return [int(item["track"]["id"]) for item in found]

    return shown


@pytest.fixture
async def full(send, mix, songs):
    """The path of the mix with all five songs in it."""
    assert (await send("POST", f"{mix}/tracks", {"track_ids": songs})).status == 201
    return mix


@pytest.fixture
async def other(client):
    """The header of another user, who is logged in."""
    await client.app[DATABASE].write(lambda connection: add_user(connection, "u2"))
    identity = Identity("u2", "name of u2", False, frozenset(SCOPES), "session", "s")
    _, token = await client.app[ACCOUNTS].create_token(identity, "t", ("read", "upload", "delete"), None)
    return {"Authorization": f"Bearer {token}"}


async def problem(answer):
    return (answer.status, (await answer.json())["type"].removeprefix("/problems/"))


# --- one collection


async def test_a_collection_is_made_read_and_named_anew(send, read, make):
    made, etag = await make("  Müsli ", description="for breakfast")
    url = f"/collections/{made['id']}"
    assert made == {
        "id": made["id"],
        "name": "Müsli",
        "description": "for breakfast",
        "track_count": 0,
        "duration": 0.0,
        "size": 0,
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
        "tracks": f"{url}/tracks",
        "m3u8": f"{url}.m3u8",
        "zip": f"{url}.zip",
    }
    assert await read(url) == made
    answer = await send("PATCH", url, {"name": "Jazz", "description": None}, If_Match=etag)
    changed = await answer.json()
    assert (answer.status, changed["name"], changed["description"]) == (200, "Jazz", "")
    assert changed["updated_at"] > made["updated_at"]
    assert answer.headers["ETag"] != etag
    assert (await send("GET", url)).headers["ETag"] == answer.headers["ETag"]


async def test_the_answer_to_a_creation_says_where_it_is(send):
    answer = await send("POST", "/collections", {"name": "Mix"})
    assert answer.headers["Location"] == f"/collections/{(await answer.json())['id']}"
    head = await send("HEAD", answer.headers["Location"])
    assert (head.status, head.headers["ETag"]) == (200, answer.headers["ETag"])


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/name"),
        ({"name": ""}, "/name"),
        ({"name": "  "}, "/name"),
        ({"name": None}, "/name"),
        ({"name": 1}, "/name"),
        ({"name": "a" * 256}, "/name"),
        ({"name": "a\nb"}, "/name"),
        ({"name": "a\0b"}, "/name"),
        ({"name": "a", "description": "a" * 4097}, "/description"),
        ({"name": "a", "color": "red"}, "/color"),
    ],
)
async def test_a_collection_without_a_proper_name_is_none(send, read, body, pointer):
    answer = await send("POST", "/collections", body)
    assert await problem(answer) == (422, "invalid")
    assert [each["pointer"] for each in (await answer.json())["errors"]] == [pointer]
    assert (await read("/collections"))["items"] == []


async def test_a_change_needs_to_know_what_it_changes(send, mix):
    etag = (await send("GET", mix)).headers["ETag"]
    assert await problem(await send("PATCH", mix, {"name": "x"})) == (428, "precondition-required")
    assert await problem(await send("PATCH", mix, {"name": "x"}, If_Match='"x"')) == (412, "precondition-failed")
    assert (await send("PATCH", mix, {"name": "x"}, If_Match=etag)).status == 200
    answer = await send("PATCH", mix, {"name": "y"}, If_Match=etag)
    assert await problem(answer) == (412, "precondition-failed")
    assert (await answer.json())["etag"] == (await send("GET", mix)).headers["ETag"]
    assert (await send("PATCH", mix, {"name": "y"}, If_Match="*")).status == 200
    assert await problem(await send("DELETE", mix, If_Match=etag)) == (412, "precondition-failed")


async def test_a_collection_that_is_known_is_not_sent_again(send, full, songs):
    etag = (await send("GET", full)).headers["ETag"]
    again = await send("GET", full, If_None_Match=etag)
    assert (again.status, await again.read()) == (304, b"")
    assert (await send("DELETE", f"/tracks/{songs[0]}")).status == 204
    assert (await send("GET", full, If_None_Match=etag)).status == 200


async def test_the_trash_is_no_reason_to_refuse_a_change(send, full, songs, read):
    """Nothing that people have said is overwritten by who does not know that a track went into the trash."""
    etag = (await send("GET", full)).headers["ETag"]
    await send("DELETE", f"/tracks/{songs[0]}")
    assert (await send("PATCH", full, {"name": "y"}, If_Match=etag)).status == 200
    found = await read(full)
    assert (found["track_count"], found["duration"], found["size"]) == (4, 242.0, 4014)


async def test_a_deleted_collection_is_gone_and_its_tracks_are_not(send, full, songs):
    answer = await send("DELETE", full)
    assert (answer.status, await answer.read()) == (204, b"")
    for path in ("", "/tracks", ".m3u8", ".zip"):
        assert await problem(await send("GET", full + path)) == (404, "not-found")
    assert (await send("GET", f"/tracks/{songs[0]}")).status == 200


async def test_a_user_has_only_so_many(send, make, client, user_id):
    def fill(connection):
        for number in range(MAX_PER_USER):
            collections.create(connection, user_id, f"f{number}", "x", "", now=1)

    await client.app[DATABASE].write(fill)
    answer = await send("POST", "/collections", {"name": "x"})
    assert await problem(answer) == (409, "conflict")
    assert (await answer.json())["limit"] == MAX_PER_USER


# --- the listing


async def test_collections_are_listed_as_tracks_are(send, read, make):
    made = [(await make(name))[0] for name in ("b", "A", "c")]
    assert await read("/collections") == {"items": made[::-1], "next": None, "prev": None, "limit": 50, "count": None}
    first = await read("/collections?sort=name&limit=2&fields=name&count=exact")
    assert (first["items"], first["count"], first["prev"]) == ([{"name": "A"}, {"name": "b"}], 3, None)
    answer = await send("GET", first["next"])
    second = await answer.json()
    assert (second["items"], second["next"]) == ([{"name": "c"}], None)
    assert (await read(second["prev"]))["items"] == first["items"]
    assert {key: str(link["url"].relative()) for key, link in answer.links.items()}.keys() == {"prev", "first"}
    etag = answer.headers["ETag"]
    assert (await send("GET", first["next"], If_None_Match=etag)).status == 304
    assert (await send("HEAD", first["next"])).headers["ETag"] == etag
    assert [each["name"] for each in (await read("/collections?name=a"))["items"]] == ["A"]


@pytest.mark.parametrize(
    "query", ["q=1", "sort=size", "fields=user_id", "limit=0", "count=some", "cursor=x", "name=%00", "artist=x"]
)
async def test_a_query_that_means_nothing_is_refused(send, query):
    answer = await send("GET", f"/collections?{query}")
    assert await problem(answer) == (400, "invalid-query")


# --- what stands in it


async def test_tracks_are_added_and_listed(send, read, mix, songs, client):
    answer = await send("POST", f"{mix}/tracks", {"track_id": songs[0]})
    assert (answer.status, answer.headers["Location"]) == (201, f"{mix}/tracks/1")
    assert await answer.json() == {"items": [{"item_id": 1, "position": 1, "track": {"id": songs[0]}}]}
    answer = await send("POST", f"{mix}/tracks", {"track_ids": [songs[2], songs[0]], "position": 1})
    assert (answer.status, "Location" in answer.headers) == (201, False)
    assert [(item["item_id"], item["position"]) for item in (await answer.json())["items"]] == [(2, 1), (3, 2)]
    assert answer.headers["ETag"] == (await send("GET", mix)).headers["ETag"]
    rows = await client.app[DATABASE].read("SELECT * FROM tracks ORDER BY track_id")
    expected = [
        {"item_id": 2, "position": 1, "track": dump_track(rows[2])},
        {"item_id": 3, "position": 2, "track": dump_track(rows[0])},
        {"item_id": 1, "position": 3, "track": dump_track(rows[0])},
    ]
    assert await read(f"{mix}/tracks") == {"items": expected, "next": None, "prev": None, "limit": 50, "count": None}
    assert await read(f"{mix}/tracks/3") == expected[1]
    found = await read(mix)
    assert (found["track_count"], found["duration"], found["size"]) == (3, 181.5, 3005)


async def test_items_come_page_by_page_in_both_directions(send, read, full):
    page = await read(f"{full}/tracks?limit=2&fields=id&count=exact")
    assert (page["count"], page["items"][0]["track"].keys()) == (5, {"id"})
    positions = []
    while True:
        positions.append([item["position"] for item in page["items"]])
        if page["next"] is None:
            break
        page = await read(page["next"])
    assert positions == [[1, 2], [3, 4], [5]]
    assert [item["position"] for item in (await read(page["prev"]))["items"]] == [3, 4]
    page = await read(f"{full}/tracks?sort=-position&limit=3")
    assert [item["position"] for item in page["items"]] == [5, 4, 3]
    assert [item["position"] for item in (await read(page["next"]))["items"]] == [2, 1]


@pytest.mark.parametrize("query", ["sort=title", "fields=item_id", "artist=x", "cursor=x"])
async def test_a_query_of_items_that_means_nothing_is_refused(send, full, query):
    assert await problem(await send("GET", f"{full}/tracks?{query}")) == (400, "invalid-query")


async def test_a_cursor_belongs_to_its_collection(send, read, full, make):
    cursor = dict(parse_qsl(urlsplit((await read(f"{full}/tracks?limit=1"))["next"]).query))["cursor"]
    other = (await make())[0]["tracks"]
    assert (await send("GET", f"{full}/tracks?cursor={cursor}")).status == 200
    assert await problem(await send("GET", f"{other}?cursor={cursor}")) == (400, "invalid-query")


async def test_a_page_of_items_that_is_known_is_not_sent_again(send, full, songs):
    url = f"{full}/tracks?limit=2"
    answer = await send("GET", url)
    etag = answer.headers["ETag"]
    assert etag.startswith('"')
    assert (await send("GET", url, If_None_Match=etag)).status == 304
    assert (await send("HEAD", url)).headers["ETag"] == etag
    track = await send("GET", f"/tracks/{songs[0]}")
    await send("PATCH", f"/tracks/{songs[0]}", {"title": "new"}, If_Match=track.headers["ETag"])
    assert (await send("GET", url, If_None_Match=etag)).status == 200


async def test_a_new_order_needs_to_know_the_old_one(send, full, shown):
    etag = (await send("GET", f"{full}/tracks?limit=1")).headers["ETag"]
    body = {"item_ids": [5, 4, 3, 2, 1]}
    assert await problem(await send("PUT", f"{full}/tracks", body)) == (428, "precondition-required")
    answer = await send("PUT", f"{full}/tracks", body, If_Match=etag)
    assert (answer.status, (await answer.json())["track_count"]) == (200, 5)
    assert await shown() == [5, 4, 3, 2, 1]
    assert await problem(await send("PUT", f"{full}/tracks", body, If_Match=etag)) == (412, "precondition-failed")
    # What one answers, the next one may name.
    answer = await send("PUT", f"{full}/tracks", {"item_ids": [1, 2]}, If_Match=answer.headers["ETag"])
    assert (answer.status, await shown()) == (200, [1, 2])


async def test_an_order_can_be_given_by_tracks(send, full, songs, shown, read):
    wanted = [songs[2], songs[2], songs[0]]
    assert (await send("PUT", f"{full}/tracks", {"track_ids": wanted}, If_Match="*")).status == 200
    assert await shown() == [3, 3, 1]
    assert [item["item_id"] for item in (await read(f"{full}/tracks"))["items"]] == [3, 6, 1]
    assert (await send("PUT", f"{full}/tracks", {"track_ids": []}, If_Match="*")).status == 200
    assert await shown() == []


async def test_an_item_is_taken_out(send, full, shown):
    etag = (await send("GET", full)).headers["ETag"]
    answer = await send("DELETE", f"{full}/tracks/2", If_Match=etag)
    assert (answer.status, answer.headers["ETag"]) == (204, (await send("GET", full)).headers["ETag"])
    assert await shown() == [1, 3, 4, 5]
    assert await problem(await send("DELETE", f"{full}/tracks/3", If_Match=etag)) == (412, "precondition-failed")
    assert await problem(await send("DELETE", f"{full}/tracks/2")) == (404, "not-found")
    assert (await send("DELETE", f"{full}/tracks/3")).status == 204
    assert await shown() == [1, 4, 5]


@pytest.mark.parametrize("item_id", ["0", "6", "x", "-1", "1.0", "²", "9" * 15, "9" * 40, "%00"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_an_item_that_is_not_there_is_not_found(send, full, method, item_id):
    assert (await send(method, f"{full}/tracks/{item_id}")).status == 404


@pytest.mark.parametrize(
    ("method", "body", "pointer"),
    [
        ("POST", {}, ""),
        ("POST", {"track_id": "a", "track_ids": ["a"]}, ""),
        ("POST", {"track_ids": []}, "/track_ids"),
        ("POST", {"track_ids": "abc"}, "/track_ids"),
        ("POST", {"track_ids": ["a", 1]}, "/track_ids/1"),
        ("POST", {"track_ids": ["a"] * 10_001}, "/track_ids"),
        ("POST", {"track_id": None}, "/track_id"),
        ("POST", {"track_id": "a\0"}, "/track_id"),
        ("POST", {"track_id": "a\n"}, "/track_id"),
        ("POST", {"track_id": "a", "position": 0}, "/position"),
        ("POST", {"track_id": "a", "position": "1"}, "/position"),
        ("POST", {"track_id": "a", "position": 1.5}, "/position"),
        ("POST", {"track_id": "a", "position": 1 << 53}, "/position"),
        ("PUT", {}, ""),
        ("PUT", {"item_ids": [1], "track_ids": ["a"]}, ""),
        ("PUT", {"item_ids": [1, 2, 1]}, "/item_ids"),
        ("PUT", {"item_ids": [1, True]}, "/item_ids/1"),
        ("PUT", {"item_ids": [0]}, "/item_ids/0"),
        ("PUT", {"item_ids": [1 << 63]}, "/item_ids/0"),
        ("PUT", {"item_ids": ["1"]}, "/item_ids/0"),
        ("PUT", {"item_ids": None}, "/item_ids"),
    ],
)
async def test_what_cannot_be_put_into_a_collection_is_refused(send, full, shown, method, body, pointer):
    answer = await send(method, f"{full}/tracks", body, If_Match="*")
    assert await problem(answer) == (422, "invalid")
    assert [each["pointer"] for each in (await answer.json())["errors"]] == [pointer]
    assert await shown() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("method", "body", "fact"),
    [
        ("POST", {"track_ids": ["{song}", UNKNOWN]}, {"track_id": UNKNOWN}),
        ("PUT", {"track_ids": ["{song}", UNKNOWN]}, {"track_id": UNKNOWN}),
        ("PUT", {"item_ids": [1, 77]}, {"item_id": 77}),
    ],
)
async def test_what_is_not_there_is_named_and_nothing_done(send, full, shown, songs, method, body, fact):
    body = {name: [songs[0] if each == "{song}" else each for each in ids] for name, ids in body.items()}
    answer = await send(method, f"{full}/tracks", body, If_Match="*")
    assert await problem(answer) == (404, "not-found")
    assert (await answer.json()).items() >= fact.items()
    assert await shown() == [1, 2, 3, 4, 5]


def test_a_request_can_fill_a_collection_and_no_more():
    assert schemas.MAX_ITEMS == items.MAX_ITEMS


# --- the trash


async def test_a_trashed_track_is_not_shown_and_comes_back_to_its_place(send, full, songs, shown, read):
    assert (await send("DELETE", f"/tracks/{songs[1]}")).status == 204
    assert await shown() == [1, 3, 4, 5]
    assert (await read(f"{full}/tracks?count=exact"))["count"] == 4
    assert (await send("GET", f"{full}/tracks/2")).status == 404
    answer = await send("POST", f"{full}/tracks", {"track_id": songs[1]})
    assert await problem(answer) == (409, "conflict")
    assert (await send("PUT", f"{full}/tracks", {"item_ids": [5, 1, 3]}, If_Match="*")).status == 200
    assert (await send("POST", f"/tracks/{songs[1]}/restore")).status == 200
    assert await shown() == [5, 1, 2, 3]


# --- who may


async def test_of_other_users_there_is_nothing(client, auth, other, full, songs, add):
    foreign = (await add(50, "u2"))["track_id"]
    mine = await client.post("/collections", json={"name": "theirs"}, headers=other)
    path = mine.headers["Location"]
    match = {**other, "If-Match": "*"}
    for answer in (
        await client.get(full, headers=other),
        await client.patch(full, json={"name": "x"}, headers=match),
        await client.delete(full, headers=other),
        await client.get(f"{full}/tracks", headers=other),
        await client.post(f"{full}/tracks", json={"track_id": foreign}, headers=other),
        await client.put(f"{full}/tracks", json={"item_ids": []}, headers=match),
        await client.get(f"{full}/tracks/1", headers=other),
        await client.delete(f"{full}/tracks/1", headers=other),
        await client.get(f"{full}.m3u8", headers=other),
        await client.get(f"{full}.zip", headers=other),
        await client.post(f"{path}/tracks", json={"track_id": songs[0]}, headers=other),
        await client.put(f"{path}/tracks", json={"track_ids": [songs[0]]}, headers=match),
    ):
        assert await problem(answer) == (404, "not-found")
    listed = await (await client.get("/collections", headers=other)).json()
    assert [item["name"] for item in listed["items"]] == ["theirs"]


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "", "read"),
        ("POST", "", "upload"),
        ("GET", "/x", "read"),
        ("PATCH", "/x", "upload"),
        ("DELETE", "/x", "delete"),
        ("GET", "/x/tracks", "read"),
        ("POST", "/x/tracks", "upload"),
        ("PUT", "/x/tracks", "upload"),
        ("GET", "/x/tracks/1", "read"),
        ("DELETE", "/x/tracks/1", "upload"),
        ("GET", "/x.m3u8", "read"),
        ("GET", "/x.zip", "read"),
    ],
)
async def test_each_needs_its_scope(client, auth, method, path, scope):
    url = f"/collections{path}"
    client.session.cookie_jar.clear()
    assert await problem(await client.request(method, url)) == (401, "unauthenticated")
    scopes = [each for each in ("read", "upload", "delete") if each != scope]
    made = await client.post("/tokens", json={"name": "x", "scopes": scopes}, headers=auth)
    token = (await made.json())["token"]
    answer = await client.request(method, url, headers={"Authorization": f"Bearer {token}"})
    assert await problem(answer) == (403, "insufficient-scope")
    assert (await answer.json())["required_scope"] == scope


@pytest.mark.parametrize("name", ["x", "%00", "..%2F..", "é", "a" * 500, "x.mp3", ".zip"])
async def test_an_unknown_collection_is_not_found(send, name):
    for suffix in ("", "/tracks", ".m3u8", ".zip"):
        assert (await send("GET", f"/collections/{name}{suffix}")).status == 404


async def test_a_form_makes_a_collection_and_leads_to_its_page(client, auth, token):
    browser = {"Accept": "text/html", "Cookie": f"session={token}"}
    made = await client.post("/collections", data={"name": "<b>Train"}, headers=browser, allow_redirects=False)
    assert made.status == 303
    url = made.headers["Location"]
    assert (await (await client.get(url, headers=auth)).json())["name"] == "<b>Train"
    for path in (url, "/collections"):
        page = await client.get(path, headers=browser)
        assert (page.status, page.content_type) == (200, "text/html")
        assert "&lt;b&gt;Train" in await page.text()
    assert (await client.get("/collections/nowhere", headers=browser)).status == 404


async def test_a_form_of_another_site_makes_no_collection(client, token):
    foreign = {"Accept": "text/html", "Cookie": f"session={token}", "Sec-Fetch-Site": "cross-site"}
    answer = await client.post("/collections", data={"name": "Planted"}, headers=foreign, allow_redirects=False)
    assert answer.status == 403


async def test_a_form_without_a_name_is_a_page_that_says_so(client, token):
    browser = {"Accept": "text/html", "Cookie": f"session={token}"}
    answer = await client.post("/collections", data={"name": " "}, headers=browser, allow_redirects=False)
    assert (answer.status, answer.content_type) == (422, "text/html")
