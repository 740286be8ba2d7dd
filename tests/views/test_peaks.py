"""The peaks of a track on the wire."""

import struct
from array import array

import pytest

from service.catalogue import analyses, jobs
from service.catalogue.analyses import Analysis
from service.keys import DATABASE
from tests.rows import add_track, add_user

PEAKS = array("b", [-3, 4, -128, 127, 0, 0, -1, 90, -5, 6]).tobytes()
DAT = "application/octet-stream"


@pytest.fixture
async def user_id(client, auth):
    return (await (await client.get("/me", headers=auth)).json())["id"]


@pytest.fixture
def add(client, user_id):
    """A function that adds a track, analysed if it is given peaks; the address of its peaks."""

    async def add(peaks=PEAKS, number=1, **changes):
        def write(connection):
            row = add_track(connection, number, changes.pop("user_id", user_id), **changes)
            if peaks is not None:
                analyses.save(connection, row["track_id"], Analysis({}, 44100, 4096, peaks, None), now=number)
            return row

        row = await client.app[DATABASE].write(write)
        return f"/tracks/{row['track_id']}/peaks"

    return add


@pytest.fixture
async def url(add):
    return await add()


async def test_all_that_are_there_come_as_json(client, auth, url):
    answer = await client.get(url, headers=auth)
    assert answer.status == 200
    assert answer.content_type == "application/json"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert "Accept" in answer.headers["Vary"]
    assert await answer.json() == {
        "version": 2,
        "channels": 1,
        "sample_rate": 44100,
        "samples_per_pixel": 4096,
        "bits": 8,
        "length": 5,
        "data": [-3, 4, -128, 127, 0, 0, -1, 90, -5, 6],
    }


async def test_fewer_points_span_more_samples(client, auth, url):
    document = await (await client.get(url, params={"points": 3}, headers=auth)).json()
    assert (document["length"], document["samples_per_pixel"]) == (3, 8192)
    assert document["data"] == [-128, 127, -1, 90, -5, 6]


@pytest.mark.parametrize(
    ("accept", "query", "content_type"),
    [
        (DAT, "", DAT),
        ("*/*", "?format=dat", DAT),
        ("application/json", "?format=dat", DAT),
        (DAT, "?format=json", "application/json"),
        ("*/*", "", "application/json"),
        ("text/html", "", "application/json"),
        (f"{DAT};q=0.5, application/json", "", "application/json"),
        (f"{DAT}, application/json;q=0.5", "", DAT),
    ],
)
async def test_the_form_is_what_format_says_or_else_what_accept_prefers(client, auth, url, accept, query, content_type):
    answer = await client.get(url + query, headers={**auth, "Accept": accept})
    assert answer.content_type == content_type


async def test_the_binary_form_has_the_header_of_audiowaveform(client, auth, url):
    body = await (await client.get(url, params={"format": "dat", "points": 3}, headers=auth)).read()
    assert struct.unpack_from("<iIiiIi", body) == (2, 1, 44100, 8192, 3, 1)
    assert array("b", body[24:]).tolist() == [-128, 127, -1, 90, -5, 6]


async def test_each_number_of_points_and_form_has_an_etag_that_stays(client, auth, url):
    queries = ("", "?points=3", "?points=1", "?format=dat", "?format=dat&points=3")
    tags = [(await client.get(url + query, headers=auth)).headers["ETag"] for query in queries]
    assert len(set(tags)) == len(queries)
    assert not any(tag.startswith("W/") for tag in tags)
    for query, tag in zip(queries, tags, strict=True):
        answer = await client.get(url + query, headers={**auth, "If-None-Match": tag})
        assert (answer.status, answer.headers["ETag"], await answer.read()) == (304, tag, b"")


async def test_new_peaks_have_a_new_etag(client, auth, add):
    first, second = await add(), await add(PEAKS[:-1] + b"\7", 2)
    tags = [(await client.get(each, headers=auth)).headers["ETag"] for each in (first, second)]
    assert tags[0] != tags[1]


async def test_head_says_what_get_says(client, auth, url):
    got, head = [await client.request(method, url, headers=auth) for method in ("GET", "HEAD")]
    assert head.status == 200
    for name in ("ETag", "Content-Type", "Content-Length", "Cache-Control"):
        assert head.headers[name] == got.headers[name]
    assert await head.read() == b""


@pytest.mark.parametrize(
    "query", ["points=0", "points=32769", "points=-1", "points=x", "points=1.5", "points=", "format=png"]
)
async def test_other_numbers_and_forms_are_refused(client, auth, url, query):
    answer = await client.get(f"{url}?{query}", headers=auth)
    assert answer.status == 400
    assert (await answer.json())["parameter"] == query.split("=")[0]


async def test_while_the_track_is_not_decoded_there_are_none_yet(client, auth, add):
    answer = await client.get(await add(None, state="analysing"), headers=auth)
    assert answer.status == 409
    assert int(answer.headers["Retry-After"]) > 0
    assert (await answer.json())["type"].endswith("/not-analysed")


async def test_where_decoding_failed_the_reason_is_told(client, auth, add):
    url = await add(None, state="ready")
    track_id = url.split("/")[2]

    def fail(connection):
        jobs.queue(connection, "measure", [track_id], now=0)
        connection.execute("UPDATE jobs SET state = 'failed', problem = 'It is broken.'")

    await client.app[DATABASE].write(fail)
    answer = await client.get(url, headers=auth)
    assert answer.status == 409
    assert "Retry-After" not in answer.headers
    assert (await answer.json())["reason"] == "It is broken."


async def test_there_are_none_of_what_is_not_there(client, auth):
    answer = await client.get(f"/tracks/{'0' * 26}/peaks", headers=auth)
    assert answer.status == 404


async def test_another_users_track_is_not_there(client, auth, add):
    await client.app[DATABASE].write(lambda connection: add_user(connection, "other"))
    assert (await client.get(await add(user_id="other"), headers=auth)).status == 404


async def test_nobody_gets_them_without_a_login(client, url):
    client.session.cookie_jar.clear()
    assert (await client.get(url, headers={"Accept": "application/json"})).status == 401
