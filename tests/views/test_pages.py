import re
from html.parser import HTMLParser

import pytest

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
        return await client.app[DATABASE].write(lambda connection: add_track(connection, number, me["id"], **changes))

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


async def test_every_field_has_a_label_and_every_picture_an_alternative(client, browser, add):
    track = await add(1)
    for path in ("/", "/tracks", f"/tracks/{track['track_id']}", "/login"):
        elements = Elements(await (await client.get(path, headers=browser)).text()).all
        labelled = {attributes.get("for") for tag, attributes in elements if tag == "label"}
        for tag, attributes in elements:
            if tag in ("input", "select") and attributes.get("type") != "hidden":
                assert attributes["id"] in labelled, (path, attributes)
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
