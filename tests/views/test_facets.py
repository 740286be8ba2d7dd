"""Counts on the wire, search and the newer filters of the listing."""

import pytest
from yarl import URL

from service.catalogue import tracks
from service.catalogue.tracks import Description
from service.keys import DATABASE
from tests.rows import add_user


@pytest.fixture
def get(client, auth):
    async def get(url, status=200):
        answer = await client.get(URL(url, encoded=True), headers=auth)
        assert answer.status == status, await answer.text()
        return await answer.json()

    return get


@pytest.fixture
async def library(client, add):
    await client.app[DATABASE].write(lambda connection: add_user(connection, "u2"))
    await add(1, title="Ace of Spades", artist="Motörhead", genre="Rock", year=1980, labels='{"mood":"loud"}')
    await add(2, title="Overkill", artist="motörhead", genre="rock", year=1979, album="Overkill")
    await add(3, title="Sinnerman", artist="Nina Simone", genre="Jazz", year=1965, labels='{"mood":"calm & slow"}')
    await add(4, title="Untagged")
    await add(5, title="Gone", artist="Motörhead", state="trashed", trashed_at=9)
    await add(6, "u2", title="Foreign", artist="Motörhead")


def numbers(page):
    return sorted(int(item["id"]) for item in page["items"])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=motor", [1, 2]),
        ("q=MOT%C3%96R%20ov", [2]),
        ("q=sp&genre=ROCK", [1]),
        ("q=", [1, 2, 3, 4]),
        ("q=%20%20", [1, 2, 3, 4]),
        ("q=slow", [3]),
        ("q=motor&state=trashed", [5]),
        ("genre=rock", [1, 2]),
        ("genre=", [4]),
        ("label[mood]=loud", [1]),
        ("label%5Bmood%5D=calm+%26+slow", [3]),
        ("label[other]=loud", []),
        ("year=1980", [1]),
        ("year[lt]=1980", [2, 3]),
        ("year[gte]=1979&year[lte]=1980", [1, 2]),
        ("metadata=pending", [1, 2, 3, 4]),
        ("has_cover=true", []),
        ("has_cover=false&q=ace", [1]),
        ("album_artist=&q=sinner", [3]),
    ],
)
async def test_what_is_found(library, get, query, expected):
    assert numbers(await get(f"/tracks?{query}")) == expected


async def test_what_analysis_finds_is_found(client, add, get):
    row = await add(1, title="song")
    found = Description(tags={"composer": "Bach", "album_artist": "Gould", "year": 1741})
    await client.app[DATABASE].write(lambda connection: tracks.describe(connection, row["track_id"], found, now=1))
    for query in ("q=goul", "composer=bach", "album_artist=gould", "year=1741", "metadata=available"):
        assert numbers(await get(f"/tracks?{query}")) == [1], query
    assert numbers(await get("/tracks?metadata=pending")) == []


async def test_an_upload_and_a_change_are_found_at_once(client, auth, content_of, get):
    answer = await client.post(
        "/tracks",
        data=content_of("mono"),
        headers={**auth, "Content-Type": "audio/mpeg", "Content-Disposition": 'attachment; filename="Zoë.mp3"'},
    )
    assert answer.status == 201, await answer.text()
    track = await answer.json()
    assert [item["id"] for item in (await get("/tracks?q=zoe"))["items"]] == [track["id"]]
    answer = await client.patch(
        f"/tracks/{track['id']}", json={"artist": "Björk", "labels": {"x": "Ærø"}}, headers={**auth, "If-Match": "*"}
    )
    assert answer.status == 200
    for query in ("q=bjork", "q=aero+zo", "label[x]=%C3%86r%C3%B8", "artist=BJ%C3%B6RK"):
        assert len((await get(f"/tracks?{query}"))["items"]) == 1, query
    assert (await get("/tracks/facets?by=artist"))["facets"] == {"artist": [{"value": "Björk", "count": 1}]}
    await client.delete(f"/tracks/{track['id']}", headers=auth)
    assert (await get("/tracks?q=bjork"))["items"] == []
    assert (await get("/tracks/facets?by=artist"))["facets"] == {"artist": []}


async def test_a_walk_of_a_search_is_linked(library, get):
    page = await get("/tracks?q=mo&sort=year,title&limit=1&count=exact")
    assert (numbers(page), page["count"]) == ([2], 2)
    page = await get(page["next"])
    assert (numbers(page), page["next"]) == ([1], None)
    assert numbers(await get(page["prev"])) == [2]


async def test_a_cursor_is_no_good_for_another_search(library, get):
    page = await get("/tracks?q=mo&limit=1")
    await get(page["next"].replace("q=mo", "q=ov"), status=400)


async def test_same_as_lists_the_others_of_equal_bytes_audio_and_sound(client, add, get):
    one = await add(1, frames_sha256=b"f", sound_id="s")
    await add(2, frames_sha256=b"f")
    await add(3, sound_id="s")
    await add(4, key=one["key"], sha256=one["sha256"])
    await add(5, frames_sha256=b"other", sound_id="other")
    await add(6)
    assert numbers(await get(f"/tracks?same_as={one['track_id']}")) == [2, 3, 4]
    assert numbers(await get(f"/tracks?same_as={6:026d}")) == []
    assert numbers(await get(f"/tracks?same_as={2:026d}&q=song")) == [1]


async def test_same_as_nothing_or_as_anothers_track_is_not_found(library, get):
    for track_id in ("nothing", f"{6:026d}"):
        for path in ("/tracks", "/tracks/facets"):
            problem = await get(f"{path}?same_as={track_id}", status=404)
            assert problem["type"] == "/problems/not-found"


async def test_facets_of_everything(library, get):
    assert (await get("/tracks/facets"))["facets"] == {
        "artist": [{"value": "Motörhead", "count": 2}, {"value": "Nina Simone", "count": 1}],
        "album": [{"value": "Overkill", "count": 1}],
        "genre": [{"value": "rock", "count": 2}, {"value": "Jazz", "count": 1}],
        "year": [{"value": 1965, "count": 1}, {"value": 1979, "count": 1}, {"value": 1980, "count": 1}],
    }


@pytest.mark.parametrize(
    ("query", "facets"),
    [
        ("by=genre&limit=1", {"genre": [("rock", 2)]}),
        ("by=year,genre&q=motor", {"year": [(1979, 1), (1980, 1)], "genre": [("rock", 2)]}),
        ("by=artist&year[gt]=1979", {"artist": [("motörhead", 1)]}),
        ("by=artist&state=trashed", {"artist": [("motörhead", 1)]}),
        ("by=album_artist,genre&label[mood]=loud", {"album_artist": [], "genre": [("rock", 1)]}),
        ("by=genre&q=", {"genre": [("rock", 2), ("jazz", 1)]}),
    ],
)
async def test_facets_of_some(library, get, monkeypatch, query, facets):
    for some in (300_000, 0):
        monkeypatch.setattr("service.catalogue.facets._SOME", some)
        found = (await get(f"/tracks/facets?{query}"))["facets"]
        pairs = {name: [(each["value"], each["count"]) for each in values] for name, values in found.items()}
        folded = {
            name: [(value.lower() if isinstance(value, str) else value, count) for value, count in values]
            for name, values in pairs.items()
        }
        assert folded == facets


@pytest.mark.parametrize(
    "query",
    ["by=", "by=title", "by=genre,genre", "limit=0", "limit=501", "sort=title", "cursor=x", "q=%3F", "fields=id"],
)
async def test_facets_of_what_there_is_not_are_refused(library, get, query):
    assert (await get(f"/tracks/facets?{query}", status=400))["type"] == "/problems/invalid-query"


async def test_facets_have_a_validator(client, auth, library, add):
    answer = await client.get("/tracks/facets", headers=auth)
    asked = {**auth, "If-None-Match": answer.headers["ETag"]}
    assert (await client.get("/tracks/facets", headers=asked)).status == 304
    assert (await client.head("/tracks/facets", headers=auth)).headers["ETag"] == answer.headers["ETag"]
    await add(7, artist="New")
    assert (await client.get("/tracks/facets", headers=asked)).status == 200


async def test_facets_need_the_scope(client, auth):
    answer = await client.post("/tokens", json={"name": "test", "scopes": ["upload"]}, headers=auth)
    token = (await answer.json())["token"]
    assert (await client.get("/tracks/facets", headers={"Authorization": f"Bearer {token}"})).status == 403
    assert (await client.get("/tracks/facets", headers={"Authorization": "Bearer nothing"})).status == 401


async def test_the_page_has_a_search_box_that_keeps_what_is_asked(client, library):
    html = {"Accept": "text/html"}
    text = await (await client.get("/tracks?q=moto&genre=rock&label[mood]=%22%3E%3Cb&sort=title", headers=html)).text()
    assert '<input type="search" id="q" name="q" value="moto"' in text
    assert '<input type="hidden" name="genre" value="rock">' in text
    assert '<input type="hidden" name="label[mood]" value="&#34;&gt;&lt;b">' in text
    assert '<option value="title" selected>' in text
    assert "No track has words that begin like “moto” and is like what you chose." in text
    text = await (await client.get("/tracks?q=&sort=title", headers=html)).text()
    assert "Overkill" in text
    assert "filters" not in text
    assert (await client.get("/tracks?q=%21", headers=html)).status == 400
