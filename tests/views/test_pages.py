import html
import re
from html.parser import HTMLParser

import pytest

from service.catalogue import analyses
from service.catalogue.analyses import Analysis
from service.keys import DATABASE
from service.web.pages import STATIC, static_files, static_url
from service.web.problems import BY_CODE
from tests.rows import add_track

HTML = {"Accept": "text/html"}
LIGHT_AND_DARK = 2


class Elements(HTMLParser):
    """Every start tag of a page with its attributes."""

    def __init__(self, text):
        super().__init__()
        self.all = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.all.append((tag, dict(attributes)))


@pytest.fixture
async def browser(client, token):
    """Header fields of a browser that is logged in."""
    return {**HTML, "Cookie": f"session={token}"}


@pytest.fixture
def add(client, browser):
    """A function that adds a track of the administrator; its row."""

    async def add(number, **changes):
        me = await (await client.get("/me", headers={"Cookie": browser["Cookie"]})).json()

        def write(connection):
            for name in {"cover_given", "cover_tagged"} & changes.keys():
                sql = "INSERT OR IGNORE INTO covers (digest, width, height, created_at) VALUES (?, 9, 9, 0)"
                connection.execute(sql, (changes[name],))
            return add_track(connection, number, me["id"], **changes)

        return await client.app[DATABASE].write(write)

    return add


async def test_home_sends_a_browser_to_the_login_and_back(client):
    answer = await client.get("/", headers=HTML, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/login?next=%2F")


async def test_home_gives_a_program_links_that_lead_somewhere(client, auth):
    answer = await client.get("/")
    assert answer.content_type == "application/json"
    for name, path in (await answer.json()).items():
        response = await client.head(path.replace("{filename}", "x.mp3"), headers=auth)
        if name == "spool":  # no upload of that name is under way: only OPTIONS knows the door
            response = await client.options(path.replace("{filename}", "x.mp3"))
        assert response.status in (200, 204, 405), name


async def test_home_shows_the_newest_tracks_first_and_takes_files(client, browser, add):
    for number in range(25):
        await add(number, title=f"Song {number:02}", created_at=number)
    text = await (await client.get("/", headers=browser)).text()
    titles = re.findall(r'class="title" href="/tracks/[0-9A-Z]{26}">(.*?)</a>', text)
    assert titles == [f"Song {number:02}" for number in range(24, 4, -1)]
    forms = [attributes for tag, attributes in Elements(text).all if tag == "form"]
    upload = next(each for each in forms if each["action"] == "/tracks")
    assert (upload["method"], upload["enctype"]) == ("post", "multipart/form-data")
    fields = [attributes for tag, attributes in Elements(text).all if tag == "input"]
    assert any(each.get("type") == "file" and each["name"] == "mp3" and "multiple" in each for each in fields)


async def test_a_page_behind_the_last_track_leads_back(client, browser, auth, add):
    ids = [(await add(number, created_at=number))["track_id"] for number in range(3)]
    second = (await (await client.get("/tracks?limit=2", headers=auth)).json())["next"]
    await client.delete(f"/tracks/{ids[0]}", headers={**auth, "If-Match": "*"})
    text = await (await client.get(second, headers=browser)).text()
    assert "Nothing more on this page" in text
    assert "Nothing here yet" not in text
    assert 'href="/tracks?limit=2"' in text


async def test_a_long_title_without_blanks_is_found(client, browser, auth, add):
    await add(1, title="東京事変の新しい歌を聴いて踊ろう夜明けまで")
    answer = await client.get("/tracks", params={"q": "東京事変の新しい歌を聴いて踊ろう夜明けまで"}, headers=auth)
    assert len((await answer.json())["items"]) == 1


async def test_home_without_tracks_says_so(client, browser):
    assert "Nothing here yet" in await (await client.get("/", headers=browser)).text()


async def test_pages_with_somebodys_tracks_are_not_stored(client, browser, add):
    track = await add(1)
    for path in ("/", "/tracks", f"/tracks/{track['track_id']}"):
        answer = await client.get(path, headers=browser)
        assert answer.status == 200
        assert "no-store" in answer.headers["Cache-Control"]
        assert "Accept" in answer.headers["Vary"]


async def test_words_of_users_are_escaped_everywhere(client, browser, add):
    hostile = "\"'><script>alert(1)</script>"
    track = await add(1, title=hostile, filename=hostile, artist=hostile, album=hostile)
    for path in ("/", "/tracks", f"/tracks/{track['track_id']}"):
        text = await (await client.get(path, headers=browser)).text()
        assert "&#34;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in text
        assert "<script>alert" not in text


FACTS = {
    "title": "Fiddler's Green",
    "artist": "Crew",
    "album": "Salt",
    "album_artist": "Various",
    "year": 2019,
    "genre": "Folk",
    "composer": "Trad.",
    "track_number": 3,
    "comment": "On deck.",
    "tags": '{"track_total": 12, "sources": ["id3v2.4"], "bpm": 96.5, "isrc": "ABC"}',
    "metadata": "available",
    "audio_start": 100,
    "cover": b"c" * 32,
    "cover_tagged": b"c" * 32,
}
MEASURED = {
    "loudness_lufs": -14.23,
    "true_peak_dbtp": 0.31,
    "silence_start_s": 0.5,
    "silence_end_s": 1.25,
    "clipped_samples": 7,
}


def facts_of(text):
    """The terms and descriptions of a page."""
    return {
        html.unescape(name): html.unescape(re.sub("<[^>]*>", "", value))
        for name, value in re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text, re.DOTALL)
    }


@pytest.fixture
def read(client, browser):
    """A function that gives the page of a track."""

    async def read(track):
        answer = await client.get(f"/tracks/{track['track_id']}", headers=browser)
        assert answer.status == 200
        return await answer.text()

    return read


@pytest.fixture
def measure(client):
    """A function that notes what decoding found."""

    async def measure(track, **changes):
        found = Analysis({**MEASURED, **changes}, 44_100, 2048, bytes(20), None)
        await client.app[DATABASE].write(lambda connection: analyses.save(connection, track["track_id"], found, now=1))

    return measure


async def test_the_page_of_a_track_shows_what_is_known_of_it(read, add, measure):
    track = await add(1, **FACTS)
    await measure(track)
    facts = facts_of(await read(track))
    known = {"Artist": "Crew", "Album": "Salt", "Album artist": "Various", "Year": "2019", "Genre": "Folk"}
    known |= {"Composer": "Trad.", "Track": "3 of 12", "Tempo": "96.5 bpm", "ISRC": "ABC", "Comment": "On deck."}
    known |= {"Loudness": "−14.2 LUFS", "True peak": "0.3 dBTP", "Clipped samples": "7", "Tags": "id3v2.4"}  # noqa: RUF001
    assert facts.items() >= known.items()
    assert "Disc" not in facts
    assert "Silence at the start" in facts


async def test_what_decoding_could_not_tell_is_left_out(read, add, measure):
    track = await add(1)
    assert "Loudness" not in facts_of(await read(track))
    await measure(track, loudness_lufs=None, true_peak_dbtp=None)
    facts = facts_of(await read(track))
    assert "Loudness" not in facts
    assert facts["Clipped samples"] == "7"


async def test_the_waveform_is_asked_for_when_there_is_one(read, add, measure):
    track = await add(1)
    assert "data-peaks" not in await read(track)
    await measure(track)
    assert f'data-peaks="/tracks/{track["track_id"]}/peaks"' in await read(track)


async def test_a_cover_comes_in_the_sizes_of_screens_and_its_place_is_kept(client, browser, read, add):
    track = await add(1, **FACTS)
    await add(2)
    url = f"/tracks/{track['track_id']}/cover?v={'63' * 8}"
    large = next(each for tag, each in Elements(await read(track)).all if tag == "img" and "sizes" in each)
    assert [part.split(" ") for part in large["srcset"].split(", ")] == [
        [f"{url}&size={size}", f"{size}w"] for size in (128, 256, 512)
    ]
    for path in ("/", "/tracks"):
        elements = Elements(await (await client.get(path, headers=browser)).text()).all
        small = [each for tag, each in elements if tag == "img" and each.get("class") == "thumbnail"]
        assert len(small) == 1
        assert (small[0]["src"], small[0]["srcset"]) == (f"{url}&size=64", f"{url}&size=128 2x")
        assert (small[0]["loading"], small[0]["width"], small[0]["height"]) == ("lazy", "48", "48")


async def test_reasons_of_failed_analysis_are_told_as_text(client, read, add):
    track = await add(1, metadata="unavailable", metadata_reason="Too many <b>frames</b>.")
    await client.app[DATABASE].write(
        lambda connection: connection.execute(
            "INSERT INTO jobs (track_id, kind, state, due_at, created_at, problem) "
            "VALUES (?, 'measure', 'failed', 0, 0, 'No <i>sound</i>.')",
            (track["track_id"],),
        )
    )
    text = await read(track)
    assert "The tags of the file could not be read: Too many &lt;b&gt;frames&lt;/b&gt;." in text
    assert "The sound could not be looked at: No &lt;i&gt;sound&lt;/i&gt;." in text
    assert "tags=current" not in text


@pytest.mark.parametrize(
    ("metadata", "words"), [("pending", "its tags and cover come"), ("available", "its waveform and loudness come")]
)
async def test_a_track_that_is_looked_at_says_so(read, add, metadata, words):
    assert words in await read(await add(1, state="analysing", metadata=metadata))
    assert words not in await read(await add(2, metadata=metadata))


async def test_today_s_tags_are_offered_when_they_can_be_had(read, add):
    assert "tags=current" not in await read(await add(1))
    assert "audio?tags=current&amp;download=1" in await read(await add(2, audio_start=100))


async def test_other_copies_are_listed_with_what_tells_them_apart(read, add):
    track = await add(1, frames_sha256=b"f" * 32)
    await add(2, frames_sha256=b"f" * 32, title="A copy", bitrate=96_000)
    await add(3, title="Not a copy")
    text = await read(track)
    assert "A copy" in text
    assert "96 kbit/s" in text
    assert "Not a copy" not in text
    for number in range(4, 14):
        await add(number, frames_sha256=b"f" * 32)
    assert f"/tracks?same_as={track['track_id']}" in await read(track)


async def test_the_chosen_cover_can_be_removed_and_that_of_the_file_not(read, add):
    assert 'uncover">' not in await read(await add(1, **FACTS))
    chosen = {"cover": b"d" * 32, "cover_given": b"d" * 32}
    assert "Show the file’s cover again" in await read(await add(2, **{**FACTS, **chosen}))  # noqa: RUF001
    assert "Remove the cover" in await read(await add(3, **chosen))


async def test_a_track_in_the_trash_is_neither_played_nor_edited(read, add):
    text = await read(await add(1, state="trashed", trashed_at=1))
    tags = [tag for tag, _ in Elements(text).all]
    assert "audio" not in tags
    assert "input" not in tags
    assert "/restore" in text


async def test_no_name_is_given_twice_in_a_page(client, browser, read, add):
    track = await add(1, **FACTS)
    for path in ("/", "/tracks", f"/tracks/{track['track_id']}"):
        elements = Elements(await (await client.get(path, headers=browser)).text()).all
        ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        for _, attributes in elements:
            for name in ("aria-describedby", "aria-labelledby", "aria-controls", "for"):
                assert set(attributes.get(name, "").split()) <= set(ids), (path, attributes)


async def test_every_field_has_a_label_and_every_picture_an_alternative(client, browser, add):
    track = await add(1)
    for path in ("/", "/tracks", f"/tracks/{track['track_id']}", "/collections", "/login"):
        elements = Elements(await (await client.get(path, headers=browser)).text()).all
        labelled = {attributes.get("for") for tag, attributes in elements if tag == "label"}
        for tag, attributes in elements:
            if tag in ("input", "select", "textarea") and attributes.get("type") != "hidden":
                assert attributes.get("id") in labelled or attributes.get("aria-label"), (path, attributes)
            if tag == "img":
                assert "alt" in attributes
        assert ("html", {"lang": "en"}) in elements
        assert sum(tag == "h1" for tag, _ in elements) == 1, path


@pytest.mark.parametrize("code", sorted(BY_CODE))
async def test_every_problem_has_a_help_page_in_both_forms(client, code):
    problem = BY_CODE[code]
    document = await (await client.get(f"/problems/{code}")).json()
    assert document == {
        "type": f"/problems/{code}",
        "title": problem.title,
        "status": problem.status,
        "help": problem.help,
    }
    answer = await client.get(f"/problems/{code}", headers=HTML)
    assert (answer.status, answer.content_type) == (200, "text/html")
    assert code in await answer.text()


@pytest.mark.parametrize("headers", [HTML, {}])
async def test_a_problem_nobody_has_is_404(client, headers):
    assert (await client.get("/problems/no-such", headers=headers)).status == 404


@pytest.mark.parametrize("name", sorted(each for each in static_files() if "/" not in each))
async def test_static_files_with_their_version_are_kept_for_ever(client, name):
    answer = await client.get(static_url(name))
    assert answer.status == 200
    assert await answer.read() == (STATIC / name).read_bytes()
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_static_files_without_it_are_asked_for_again(client):
    for query in ("", "?v=", "?v=0123456789abcdef"):
        answer = await client.get(f"/static/yarrr.css{query}")
        assert answer.headers["Cache-Control"] == "public, no-cache"
    again = await client.get("/static/yarrr.css", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status == 304


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("yarrr.css", {"text/css"}),
        ("page.js", {"text/javascript", "application/javascript"}),
        ("icon.svg", {"image/svg+xml"}),
    ],
)
async def test_static_files_have_the_type_browsers_ask_for(client, name, types):
    answer = await client.head(f"/static/{name}")
    assert answer.status == 200
    assert answer.content_type in types
    assert int(answer.headers["Content-Length"]) == (STATIC / name).stat().st_size
    assert await answer.read() == b""


@pytest.mark.parametrize(
    "path",
    [
        "",
        "no.css",
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "vendor",
        "vendor/",
        "/etc/passwd",
        "yarrr.css/",
        "%00",
    ],
)
async def test_nothing_else_is_served(client, path):
    answer = await client.get(f"/static/{path}")
    assert answer.status == 404


def colours(scheme):
    """The custom properties of the style sheet's light (0) or dark (1) scheme."""
    block = (STATIC / "yarrr.css").read_text().split(":root {")[1 + scheme].split("}")[0]
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", range(LIGHT_AND_DARK))
@pytest.mark.parametrize(
    ("front", "back", "least"),
    [
        *((front, back, 4.5) for front in ("ink", "muted", "accent") for back in ("paper", "raised", "sunken")),
        ("accent-ink", "accent", 4.5),
        ("bad", "bad-wash", 4.5),
        ("bad", "paper", 4.5),
        ("muted", "accent-wash", 4.5),
        ("field", "paper", 3),
        ("field", "raised", 3),
    ],
)
def test_words_and_fields_stand_out_as_wcag_asks(scheme, front, back, least):
    scheme_colours = colours(scheme)
    assert contrast(scheme_colours[front], scheme_colours[back]) >= least
