"""The pages in a real browser: what a person does with them, and what a hostile name cannot do."""

import asyncio
import json
from io import BytesIO
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from mutagen.id3 import APIC, ID3, TXXX, WXXX, Frames
from PIL import Image
from playwright.async_api import Error, async_playwright, expect

from tests.corpus import make
from tests.e2e.conftest import PASSWORD

pytestmark = pytest.mark.e2e

CHROMIUM = Path("/usr/bin/chromium")
TIMEOUT_MS = 20_000
expect.set_options(timeout=TIMEOUT_MS)
LAN_NAME = "music.example"  # which browsers do not trust as they do 127.0.0.1
ARGUMENTS = [
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
    f"--host-resolver-rules=MAP {LAN_NAME} 127.0.0.1",
]

PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    '"><script>alert(1)</script>',
    "' autofocus onfocus=alert(1) x='",
    '" autofocus onfocus=alert(1) x="',
    "javascript:alert(1)",
    "</title><script>alert(1)</script>",
    "{{ 7*7 }}{% raw %}${alert(1)}",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "<a href=javascript:alert(1)>press</a>",
    "--><script>alert(1)</script><!--",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<style>*{display:none}</style>",
    "<base href=//example.org/><form action=//example.org>",
    "\u202egnp.3pm <b>",
]

WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
  console.error("violation", event.violatedDirective, event.blockedURI);
});
"""


@pytest.fixture
async def browser():
    if not CHROMIUM.exists():
        pytest.skip("chromium is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


async def new_page(browser, server, *, logged_in=True, **options):
    """A page of a fresh profile; what it complains about and what it asks in dialogs is kept beside it."""
    context = await browser.new_context(base_url=server.base_url, **options)
    page = await context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    page.complaints, page.dialogs = [], []
    page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.complaints.append(str(error)))

    async def refuse(dialog):
        page.dialogs.append(dialog.message)
        await dialog.dismiss()

    page.on("dialog", refuse)
    await page.add_init_script(WATCH)
    if logged_in:
        await context.add_cookies([{"name": "session", "value": server.token, "url": server.base_url}])
    return page


@pytest.fixture
async def page(browser, server):
    return await new_page(browser, server)


def own(complaints):
    """Without Chromium's note of each answer from 400 on."""
    return [text for text in complaints if not text.startswith("Failed to load resource")]


def upload(server, path, title=None):
    """A track made over the API; its id."""
    fields = ["--form-string", f"name={title}"] if title else []
    answer = server.curl("/tracks", *fields, "-F", f"mp3=@{path}")
    assert answer.status == 201, answer.body
    return answer.json()["id"]


def patch(server, track_id, **changes):
    """Change a track over the API, as another client does."""
    with urlopen(Request(f"{server.base_url}/tracks/{track_id}", headers=server.auth), timeout=10) as answer:
        etag = answer.headers["ETag"]
    headers = {**server.auth, "If-Match": etag, "Content-Type": "application/json"}
    body = json.dumps(changes).encode()
    urlopen(Request(f"{server.base_url}/tracks/{track_id}", body, headers, method="PATCH"), timeout=10).close()


async def visit(page, path):
    """Go there; Chromium under load aborts a navigation now and then that follows an upload at once."""
    try:
        await page.goto(path)
    except Error as error:
        if "ERR_ABORTED" not in str(error):
            raise
        await page.goto(path)


def row(page, title):
    return page.locator("#tracks > li", has=page.get_by_role("link", name=title, exact=True))


async def test_a_person_logs_in_and_lands_where_they_wanted_to_go(browser, server):
    page = await new_page(browser, server, logged_in=False)
    await page.goto("/tracks?sort=title")
    assert page.url.startswith(f"{server.base_url}/login?next=")
    await page.get_by_label("Name").fill("admin")
    await page.get_by_label("Password").fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_be_visible()
    await expect(page.get_by_label("Name")).to_have_value("admin")
    await page.get_by_label("Password").fill("correct horse battery")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/tracks?sort=title")
    await expect(page.get_by_label("Order")).to_have_value("title")
    await page.get_by_role("button", name="Log out").click()
    await page.wait_for_url("**/login")
    await page.goto("/")
    assert page.url.startswith(f"{server.base_url}/login")


async def test_chosen_files_are_uploaded_and_the_refused_one_says_why(page, server, tmp_path):
    await page.goto("/")
    files = [make(tmp_path, name) for name in ("jingle", "mono", "text")]
    await page.get_by_label("Add mp3 files").set_input_files(files)
    await expect(row(page, "jingle").first).to_be_visible()
    await expect(row(page, "mono").first).to_be_visible()
    refused = page.locator("#queue li")
    await expect(refused).to_have_count(1)
    await expect(refused).to_contain_text("text.mp3")
    await expect(refused).to_contain_text("This is not an mp3.")
    await expect(page.locator("#queue-summary")).to_have_text("2 uploaded, 1 not uploaded")
    await refused.get_by_role("button", name="Dismiss").click()
    await expect(refused).to_have_count(0)
    stored = {item["filename"] for item in server.get_json("/tracks")["items"]}
    assert {"jingle.mp3", "mono.mp3"} <= stored
    assert "text.mp3" not in stored
    assert own(page.complaints) == []
    assert await page.evaluate("violations") == []


async def test_a_large_refused_file_still_shows_the_answer(page, tmp_path):
    path = tmp_path / "large.mp3"
    path.write_bytes(b"this is a text and not music\n" * 1_500_000)
    await page.goto("/")
    await page.get_by_label("Add mp3 files").set_input_files(path)
    await expect(page.locator("#queue li")).to_contain_text("This is not an mp3.")


async def test_a_file_over_the_limit_is_told_before_it_is_sent(browser, make_server, tmp_path):
    server = make_server(max_upload_bytes=50_000)
    page = await new_page(browser, server)
    sent = []
    page.on("request", lambda request: sent.append(request.method))
    await page.goto("/")
    await page.get_by_label("Add mp3 files").set_input_files(make(tmp_path, "jingle"))
    await expect(page.locator("#queue li")).to_contain_text("Too large. The limit is 50.0 kB.")
    assert "PUT" not in sent


async def test_a_lost_connection_can_be_tried_again(page, tmp_path):
    path = make(tmp_path, "vbr_low").rename(tmp_path / "second try.mp3")
    await page.goto("/")
    await page.route("**/spool/**", lambda route: route.abort())
    await page.get_by_label("Add mp3 files").set_input_files(path)
    upload = page.locator("#queue li")
    await expect(upload).to_contain_text("The connection broke off.")
    await page.unroute("**/spool/**")
    await upload.get_by_role("button", name="Try again").click()
    await expect(row(page, "second try")).to_be_visible()
    await expect(upload).to_have_count(0)


async def test_files_can_be_dropped_anywhere_on_the_page(page, tmp_path):
    await page.goto("/")
    content = list(make(tmp_path, "jingle").read_bytes())
    await page.evaluate(
        """(content) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(content)], "dropped.mp3", { type: "audio/mpeg" }));
            const fire = (name) => document.querySelector("main").dispatchEvent(
                new DragEvent(name, { dataTransfer: transfer, bubbles: true, cancelable: true }));
            fire("dragenter");
            window.marked = document.querySelector("#upload").classList.contains("over");
            fire("drop");
        }""",
        content,
    )
    assert await page.evaluate("marked")
    await expect(row(page, "dropped")).to_be_visible()
    assert not await page.locator("#upload.over").count()


async def test_a_form_without_javascript_uploads_too(browser, server, tmp_path):
    page = await new_page(browser, server, java_script_enabled=False)
    await page.goto("/")
    path = make(tmp_path, "jingle").rename(tmp_path / "plain form.mp3")
    await page.get_by_label("Add mp3 files").set_input_files(path)
    await page.get_by_role("button", name="Upload").click()
    await page.wait_for_url("**/tracks/*")
    await expect(page.get_by_role("heading", level=1)).to_have_text("plain form")
    await expect(page.get_by_role("button", name="Edit", exact=True)).to_be_hidden()
    await page.goto("/")
    await page.get_by_label("Add mp3 files").set_input_files(make(tmp_path, "text"))
    await page.get_by_role("button", name="Upload").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("This is not an mp3")
    await page.goto("/")
    await page.get_by_label("Add mp3 files").set_input_files([path, make(tmp_path, "mono")])
    await page.get_by_role("button", name="Upload").click()
    await expect(row(page, "mono").first).to_be_visible()


async def test_a_track_of_the_list_plays_and_pauses(page, server, tmp_path):
    upload(server, make(tmp_path, "jingle"), "Playable")
    await page.goto("/")
    await page.get_by_role("button", name="Play Playable", exact=True).click()
    await page.wait_for_function("() => document.querySelector('#player audio').currentTime > 0.2")
    await expect(page.get_by_role("region", name="Player").get_by_role("link")).to_have_text("Playable")
    await page.get_by_role("button", name="Pause Playable", exact=True).click()
    assert await page.evaluate("document.querySelector('#player audio').paused")
    await page.get_by_role("button", name="Close").click()
    await expect(page.locator("#player")).to_be_hidden()
    await expect(page.get_by_role("button", name="Play Playable", exact=True)).to_be_focused()
    assert page.complaints == []


async def test_a_track_plays_on_its_own_page_and_can_be_sought(page, server, tmp_path):
    track_id = upload(server, make(tmp_path, "vbr"))
    await page.goto(f"/tracks/{track_id}")
    await page.evaluate("document.querySelector('audio').play()")
    await page.evaluate("document.querySelector('audio').currentTime = 9")
    await page.wait_for_function("() => document.querySelector('audio').currentTime > 9.2")
    assert page.complaints == []


async def test_a_title_is_changed_in_its_place(page, server, tmp_path):
    track_id = upload(server, make(tmp_path, "jingle"), "Before")
    await page.goto(f"/tracks/{track_id}")
    await edit(page)
    await page.get_by_label("Title", exact=True).fill("After <b>")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("After <b>")
    await expect(page.get_by_role("button", name="Edit", exact=True)).to_be_focused()
    assert await page.title() == "After <b> · yarrr"
    assert server.get_json(f"/tracks/{track_id}")["title"] == "After <b>"


async def test_a_title_that_somebody_else_changed_is_not_overwritten(page, server, tmp_path):
    track_id = upload(server, make(tmp_path, "jingle"), "Before")
    await page.goto(f"/tracks/{track_id}")
    await edit(page)
    patch(server, track_id, title="Of somebody else")
    await page.get_by_label("Title", exact=True).fill("Mine")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("Somebody changed it in the meantime.")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Of somebody else")
    assert server.get_json(f"/tracks/{track_id}")["title"] == "Of somebody else"
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Mine")


def described(tmp_path, **words):
    """An mp3 that says much about itself, with a red cover."""
    path = make(tmp_path, "vbr").rename(tmp_path / "described.mp3")
    tags = ID3()
    for name, word in words.items():
        tags.add(Frames[name](lang="eng", desc="", text=word) if name == "COMM" else Frames[name](text=word))
    tags.add(APIC(mime="image/png", type=3, data=picture("red")))
    tags.save(path)
    return path


def picture(colour):
    out = BytesIO()
    Image.new("RGB", (300, 200), colour).save(out, "PNG")
    return out.getvalue()


async def edit(page):
    """Open the form of a track's page."""
    await page.get_by_role("button", name="Edit", exact=True).click()
    await expect(page.get_by_label("Title", exact=True)).to_be_focused()


async def has_drawing(page):
    """Whether the canvas shows bars of different heights."""
    return await page.evaluate(
        """() => {
            const canvas = document.querySelector("#wave canvas");
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            const heights = new Set();
            for (let x = 0; x < canvas.width; x += 1) {
                let height = 0;
                for (let y = 0; y < canvas.height; y += 1) height += data[4 * (y * canvas.width + x) + 3] > 0;
                heights.add(height);
            }
            return heights.size > 2 && canvas.width === Math.round(canvas.clientWidth * devicePixelRatio);
        }"""
    )


async def test_a_track_page_shows_what_analysis_finds_without_being_loaded_again(browser, make_server, tmp_path):
    server = make_server(analyse_processes=0)
    track_id = upload(
        server, described(tmp_path, TIT2="Of the file", TPE1="Crew", TALB="Salt", TDRC="2019", TRCK="3/12")
    )
    page = await new_page(browser, server, device_scale_factor=2)
    await page.goto(f"/tracks/{track_id}")
    await expect(page.get_by_text("The file is still being looked at")).to_be_visible()
    await expect(page.get_by_role("slider", name="Position")).to_be_hidden()
    await page.evaluate("window.isSamePage = true")
    server.settings["ANALYSE_PROCESSES"] = "1"
    server.restart()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Of the file")
    await expect(page.get_by_text("Crew · Salt · 2019")).to_be_visible()
    await expect(page.get_by_text("3 of 12")).to_be_visible()
    await expect(page.get_by_text("LUFS")).to_be_visible()
    await expect(page.get_by_text("still being looked at")).to_have_count(0)
    await page.wait_for_function("() => document.querySelector('.cover img')?.naturalWidth > 0")
    await expect(page.get_by_role("slider", name="Position")).to_be_visible()
    assert await has_drawing(page)
    assert await page.evaluate("isSamePage")
    assert await page.title() == "Of the file · yarrr"
    assert await page.evaluate("violations") == []


async def test_the_waveform_leads_to_every_place(page, server, tmp_path):
    track_id = upload(server, make(tmp_path, "vbr"))
    await page.goto(f"/tracks/{track_id}")
    slider = page.get_by_role("slider", name="Position")
    await expect(slider).to_be_visible()
    assert await has_drawing(page)
    now = "document.querySelector('audio').currentTime"
    duration = server.get_json(f"/tracks/{track_id}")["duration"]
    box = await slider.bounding_box()
    await slider.click(position={"x": box["width"] / 2, "y": 10})
    assert await page.evaluate(now) == pytest.approx(duration / 2, abs=0.1)
    await page.keyboard.press("ArrowRight")
    assert await page.evaluate(now) == pytest.approx(min(duration, duration / 2 + 5), abs=0.1)
    await page.keyboard.press("Home")
    assert await page.evaluate(now) == 0
    await page.evaluate("document.querySelector('audio').play()")
    await page.wait_for_function("() => Number(document.querySelector('#wave').getAttribute('aria-valuenow')) >= 1")
    assert (await slider.get_attribute("aria-valuetext")).startswith("0:01 of ")
    assert page.complaints == []


async def test_words_are_edited_and_given_back_to_the_file(page, server, tmp_path):
    track_id = upload(server, described(tmp_path, TIT2="Of the file", TPE1="Crew", TDRC="2019"))
    await page.goto(f"/tracks/{track_id}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Of the file")
    await edit(page)
    await page.get_by_label("Artist", exact=True).fill("Mates")
    await page.get_by_label("Genre", exact=True).fill("Folk")
    await page.get_by_label("Year", exact=True).fill("20001")
    await page.get_by_role("button", name="Save").click()
    year = page.get_by_label("Year", exact=True)
    await expect(year).to_be_focused()
    await expect(year).to_have_attribute("aria-invalid", "true")
    await expect(year).to_have_accessible_description(
        "Must be greater than or equal to 0 and less than or equal to 9999."
    )
    await year.fill("2001")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Mates · 2001")).to_be_visible()
    track = server.get_json(f"/tracks/{track_id}")
    assert [track[name] for name in ("title", "artist", "genre", "year")] == ["Of the file", "Mates", "Folk", 2001]
    await edit(page)
    await page.get_by_role("button", name="The file says “Crew”").click()
    await expect(page.get_by_label("Artist", exact=True)).to_be_focused()
    await year.fill("")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_text("Crew · 2019")).to_be_visible()
    assert own(page.complaints) == []


async def test_a_cover_is_chosen_refused_and_removed(page, server, tmp_path):
    track_id = upload(server, make(tmp_path, "jingle"))
    await page.goto(f"/tracks/{track_id}")
    await expect(page.locator(".cover")).to_be_hidden()
    await edit(page)
    files = {"name": "cover.png", "mimeType": "image/png", "buffer": picture("blue")}
    await page.get_by_label("Choose a cover").set_input_files([files])
    await page.wait_for_function("() => document.querySelector('.cover img')?.naturalWidth > 0")
    cover = server.get_json(f"/tracks/{track_id}")["cover"]
    await page.get_by_label("Choose a cover").set_input_files([{**files, "buffer": b"<svg onload=alert(1)>"}])
    await expect(page.get_by_role("alert")).to_contain_text("picture")
    assert server.get_json(f"/tracks/{track_id}")["cover"] == cover
    await page.goto("/")
    await page.wait_for_function(
        "(id) => document.querySelector(`[data-id='${id}'] img`).naturalWidth > 0", arg=track_id
    )
    await page.goto(f"/tracks/{track_id}")
    await edit(page)
    await page.get_by_role("button", name="Remove the cover").click()
    await expect(page.locator(".cover")).to_be_hidden()
    assert server.get_json(f"/tracks/{track_id}")["cover"] is None
    assert own(page.complaints) == []
    assert await page.evaluate("violations") == []


async def test_other_copies_of_a_track_are_listed(page, server, tmp_path):
    first = upload(server, described(tmp_path, TIT2="One copy"))
    second = upload(server, described(tmp_path, TIT2="Another copy"))
    await page.goto(f"/tracks/{second}")
    await expect(page.get_by_role("slider", name="Position")).to_be_visible()
    await page.goto(f"/tracks/{first}")
    copies = page.get_by_role("region", name="The same music")
    await expect(copies.get_by_role("link", name="Another copy").first).to_be_visible()


async def test_a_list_shows_what_analysis_finds_without_being_loaded_again(page, tmp_path):
    await page.goto("/")
    await page.get_by_label("Add mp3 files").set_input_files(described(tmp_path, TIT2="Soon in the list", TPE1="Crew"))
    found = row(page, "Soon in the list").first
    await expect(found).to_contain_text("Crew")
    await expect(found.get_by_role("button", name="Play Soon in the list")).to_be_visible()
    await expect(found.locator("img.thumbnail")).to_be_visible()


async def test_hostile_words_in_tags_are_shown_as_words(page, server, tmp_path):
    words = ["TIT2", "TPE1", "TALB", "TPE2", "TCON", "TCOM", "COMM", "TSRC", "TIT1", "TPUB"]
    path = described(tmp_path, **dict(zip(words, PAYLOADS, strict=False)))
    tags = ID3(path)
    tags.add(APIC(mime="image/svg+xml", type=3, data=b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"))
    for number, payload in enumerate(PAYLOADS):
        tags.add(TXXX(desc=payload, text=payload))
        tags.add(WXXX(desc=str(number), url=f"javascript:alert({number})"))
    tags.save(path)
    track_id = upload(server, path)
    violations = []
    await visit(page, f"/tracks/{track_id}")
    await expect(page.get_by_text("LUFS")).to_be_visible()
    await expect(page.get_by_role("heading", level=1)).to_have_text(PAYLOADS[0])
    facts = await page.locator("dd").all_inner_texts()
    assert set(PAYLOADS[1:7]) <= set(facts)
    await edit(page)
    await expect(page.get_by_label("Artist", exact=True)).to_have_value(PAYLOADS[1])
    await page.get_by_label("Artist", exact=True).fill("mine")
    await expect(page.get_by_role("button", name=f"The file says “{PAYLOADS[1]}”")).to_be_visible()
    violations += await page.evaluate("violations")
    for path in ("/", "/tracks"):
        await visit(page, path)
        await expect(row(page, PAYLOADS[0]).first).to_be_visible()
        violations += await page.evaluate("violations")
    assert page.dialogs == []
    assert violations == []
    assert own(page.complaints) == []


async def test_plain_http_under_a_name_of_the_lan_is_enough_to_log_in(browser, server, tmp_path):
    page = await new_page(browser, server, logged_in=False)
    await page.goto(f"http://{LAN_NAME}:{server.port}/login")
    await page.get_by_label("Name").fill("admin")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_label("Add mp3 files")).to_be_attached()
    await page.get_by_label("Add mp3 files").set_input_files(make(tmp_path, "jingle"))
    await expect(page.get_by_role("list").first).to_contain_text("jingle")
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert own(page.complaints) == []


async def test_who_is_logged_out_while_editing_loses_no_word(page, server, tmp_path):
    track_id = upload(server, make(tmp_path, "jingle"), "Kept")
    await page.goto(f"/tracks/{track_id}")
    await edit(page)
    await page.get_by_label("Title", exact=True).fill("Typed for long")
    await page.context.clear_cookies()
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert").first).to_contain_text("You are logged out.")
    await expect(page.get_by_label("Title", exact=True)).to_have_value("Typed for long")
    await page.context.add_cookies([{"name": "session", "value": server.token, "url": server.base_url}])
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Typed for long")


async def slowly(route):
    await asyncio.sleep(0.7)
    await route.continue_()


async def test_pressing_twice_does_it_once(page, server, tmp_path):
    track_id = upload(server, make(tmp_path, "jingle"), "Twice")
    await page.goto(f"/tracks/{track_id}")
    await page.route(f"**/tracks/{track_id}", slowly)
    await edit(page)
    await page.get_by_label("Title", exact=True).fill("Pressed twice")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Pressed twice")
    await expect(page.locator("#edit")).to_be_hidden()
    await expect(page.locator("#trouble")).to_be_hidden()

    await page.route("**/collections", slowly)
    await page.get_by_role("button", name="Add to a collection").click()
    await page.get_by_label("A new collection").fill("Made once")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("dialog")).to_be_hidden()
    assert [each["name"] for each in server.get_json("/collections")["items"]].count("Made once") == 1


async def test_files_chosen_before_the_script_is_there_are_taken(page, server, tmp_path):
    async def late(route):
        await waiting.wait()
        await route.continue_()

    waiting = asyncio.Event()
    await page.route("**/uploads.js*", late)
    await page.goto("/", wait_until="commit")
    song = make(tmp_path, "jingle").read_bytes()
    await page.get_by_label("Add mp3 files").set_input_files(
        [{"name": "early.mp3", "mimeType": "audio/mpeg", "buffer": song}]
    )
    waiting.set()
    await expect(row(page, "early")).to_be_visible()


async def test_the_trash_can_be_found_and_gives_back(page, server, tmp_path):
    track_id = upload(server, make(tmp_path, "jingle"), "Thrown away")
    server.curl(f"/tracks/{track_id}", "-X", "DELETE")
    await page.goto("/tracks")
    await page.get_by_role("link", name="Trash").click()
    await expect(row(page, "Thrown away")).to_be_visible()
    await expect(page.get_by_role("button", name="Play Thrown away")).to_have_count(0)
    await page.get_by_role("button", name="Restore Thrown away").click()
    await expect(page.locator("article audio")).to_be_visible()
    assert server.get_json(f"/tracks/{track_id}")["state"] in ("analysing", "ready")


async def test_what_cannot_be_played_is_said_and_the_next_is_played(page, server, tmp_path):
    song = make(tmp_path, "jingle")
    upload(server, song, "Played instead")
    gone = upload(server, song, "Cannot be played")
    await page.goto("/tracks")
    server.curl(f"/tracks/{gone}", "-X", "DELETE")
    await page.get_by_role("button", name="Play Cannot be played").click()
    await expect(page.get_by_text("“Cannot be played” cannot be played.")).to_be_visible()
    await expect(page.get_by_role("button", name="Pause Played instead")).to_be_visible()


async def test_a_deleted_track_comes_back_by_undo(page, server, tmp_path):
    track_id = upload(server, make(tmp_path, "jingle"), "Doomed")
    await page.goto("/")
    await page.get_by_role("button", name="Delete Doomed", exact=True).click()
    await expect(page.get_by_text("“Doomed” is in the trash.")).to_be_visible()
    await expect(row(page, "Doomed")).to_be_hidden()
    assert server.get_json(f"/tracks/{track_id}")["state"] == "trashed"
    await expect(page.get_by_role("button", name="Undo")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(row(page, "Doomed")).to_be_visible()
    await expect(page.get_by_role("link", name="Doomed", exact=True)).to_be_focused()
    assert server.get_json(f"/tracks/{track_id}")["state"] in ("analysing", "ready")


async def test_a_track_in_the_trash_is_restored_from_its_page(page, server, tmp_path):
    track_id = upload(server, make(tmp_path, "jingle"), "Binned")
    await page.goto(f"/tracks/{track_id}")
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("“Binned” is in the trash.")).to_be_visible()
    await page.reload()
    await page.get_by_role("button", name="Restore").click()
    await expect(page.locator("article audio")).to_be_visible()
    assert server.get_json(f"/tracks/{track_id}")["state"] in ("analysing", "ready")


async def test_hostile_words_are_shown_as_words(page, server, tmp_path):
    song = make(tmp_path, "jingle")
    ids = []
    for payload in PAYLOADS:
        track_id = upload(server, song, payload)
        patch(server, track_id, title=payload, artist=payload, album=payload, labels={"mood": payload})
        ids.append(track_id)
    for name in (payload.replace("/", "\u2215") for payload in PAYLOADS[:10]):
        await page.goto("/")
        await page.get_by_label("Add mp3 files").set_input_files(
            [{"name": f"{name}.mp3", "mimeType": "audio/mpeg", "buffer": song.read_bytes()}]
        )
        await expect(page.locator("#tracks > li.new")).to_be_visible()
    refused = [{"name": f"{PAYLOADS[1]}.mp3", "mimeType": "audio/mpeg", "buffer": b"no music " * 500}]
    await page.get_by_label("Add mp3 files").set_input_files(refused)
    await expect(page.locator("#queue li .name")).to_have_text(f"{PAYLOADS[1]}.mp3")
    violations = list(await page.evaluate("violations"))
    for track_id, payload in zip(ids, PAYLOADS, strict=True):
        await visit(page, f"/tracks/{track_id}")
        await expect(page.get_by_role("heading", level=1)).to_have_text(payload)
        await page.get_by_role("button", name="Edit", exact=True).click()
        await expect(page.get_by_label("Title", exact=True)).to_have_value(payload)
        violations += await page.evaluate("violations")
    await page.goto("/tracks?limit=100")
    await page.locator("[data-do=play]").first.click()
    await page.locator("[data-do=trash]").first.click()
    await expect(page.locator("#undo")).to_be_visible()
    violations += await page.evaluate("violations")
    await page.goto("/tracks?sort=%3Cscript%3Ealert(1)%3C/script%3E")
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    violations += await page.evaluate("violations")
    assert page.dialogs == []
    assert violations == []
    assert own(page.complaints) == []


async def test_the_browser_itself_refuses_scripts_that_were_smuggled_in(page):
    await page.goto("/")
    refused = await page.evaluate(
        """() => {
            const attempts = [
                () => { document.body.innerHTML = "<img src=x onerror=alert(1)>"; },
                () => { document.createElement("button").setAttribute("onclick", "alert(1)"); },
                () => { document.createElement("script").textContent = "alert(1)"; },
                () => { setTimeout("alert(1)"); },
            ];
            return attempts.map((attempt) => { try { attempt(); return false; } catch { return true; } });
        }"""
    )
    assert refused == [True, True, True, True]
    assert page.dialogs == []


async def test_the_keyboard_reaches_everything_and_names_it(page, server, tmp_path):
    upload(server, make(tmp_path, "jingle"), "By keyboard")
    await page.goto("/")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    names = []
    for _ in range(12):
        await page.keyboard.press("Tab")
        names.append(
            await page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent.trim()")
        )
    assert {
        "yarrr",
        "Tracks",
        "Collections",
        "API",
        "Log out",
        "All tracks",
        "Play By keyboard",
        "Delete By keyboard",
    } <= set(names)
    nameless = await page.evaluate(
        """[...document.querySelectorAll("button, a, input:not([type=hidden]), select, audio")]
            .filter((e) => !e.closest("[hidden]"))
            .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length))
            .map((e) => e.outerHTML)"""
    )
    assert nameless == []


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
async def test_no_page_is_wider_than_the_window(browser, server, tmp_path, width):
    track_id = upload(server, make(tmp_path, "jingle"), "W" * 200)
    page = await new_page(browser, server, viewport={"width": width, "height": 700})
    patch(server, track_id, artist="A" * 255, album="B" * 255, genre="G" * 255)
    collection = f"/collections/{make_collection(server, 'W' * 255, track_id, track_id)}"
    for path in (
        *("/", "/tracks", f"/tracks?artist={'A' * 255}", f"/tracks/{track_id}", "/collections", collection),
        *("/problems/not-an-mp3", "/nothing", "/login"),
    ):
        await page.goto(path)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


def make_collection(server, name, *track_ids):
    """A collection made over the API; its id."""
    made = send(server, "POST", "/collections", {"name": name})
    if track_ids:
        send(server, "POST", f"/collections/{made['id']}/tracks", {"track_ids": list(track_ids)})
    return made["id"]


def send(server, method, path, document):
    headers = {**server.auth, "Content-Type": "application/json"}
    request = Request(f"{server.base_url}{path}", json.dumps(document).encode(), headers, method=method)
    with urlopen(request, timeout=10) as answer:
        return json.load(answer)


def titles(server, collection_id):
    return [item["track"]["title"] for item in server.get_json(f"/collections/{collection_id}/tracks")["items"]]


@pytest.mark.parametrize("scripts", [True, False])
async def test_a_search_is_folded_narrowed_widened_and_turned(browser, server, tmp_path, scripts):
    song = make(tmp_path, "jingle")
    for number, (title, artist) in enumerate([("Hafengeräusche", "Möwe"), ("Hafen bei Nacht", "Kran")]):
        patch(server, upload(server, song, title), artist=artist, genre="Field", year=2000 + number)
    page = await new_page(browser, server, java_script_enabled=scripts)
    await page.goto("/tracks")
    await page.get_by_role("searchbox", name="Search").fill("HAFENGERAUSCHE")
    await page.keyboard.press("Enter")
    await expect(row(page, "Hafengeräusche").first).to_be_visible()
    await expect(row(page, "Hafen bei Nacht")).to_have_count(0)
    await page.get_by_role("searchbox", name="Search").fill("hafen")
    await page.get_by_role("button", name="Show").click()
    await expect(row(page, "Hafen bei Nacht").first).to_be_visible()
    artists = page.get_by_role("region", name="Artist", exact=True)
    await artists.get_by_role("link", name="Kran").click()
    await expect(row(page, "Hafengeräusche")).to_have_count(0)
    await expect(row(page, "Hafen bei Nacht").first).to_be_visible()
    await expect(page.get_by_role("searchbox", name="Search")).to_have_value("hafen")
    await page.get_by_label("Order").select_option("title")
    await page.get_by_role("button", name="Show").click()
    await expect(row(page, "Hafengeräusche")).to_have_count(0)
    await page.get_by_role("link", name="Take away Artist: Kran").click()
    await expect(row(page, "Hafengeräusche").first).to_be_visible()
    await page.goto("/tracks?q=hafen&sort=title&limit=1")
    await expect(row(page, "Hafen bei Nacht")).to_be_visible()
    await page.get_by_role("link", name="Next").click()
    await expect(page.get_by_role("link", name="Previous")).to_be_visible()
    await page.goto("/tracks?q=nowhere-at-all")
    await expect(page.get_by_text("No track has words that begin like “nowhere-at-all”")).to_be_visible()
    await page.get_by_role("link", name="Show all tracks").click()
    await expect(page.locator("#tracks > li").first).to_be_visible()
    assert page.complaints == []


async def test_every_word_of_a_track_is_edited(page, server, tmp_path):
    track_id = upload(server, make(tmp_path, "jingle"), "Wordy")
    patch(server, track_id, labels={"mood": "calm", "place": "harbour"})
    await page.goto(f"/tracks/{track_id}")
    await edit(page)
    await page.get_by_text("More words").click()
    words = {
        "Album artist": "Various",
        "Composer": "Nobody",
        "Comment": "Loud",
        "Track number": "3",
        "Disc number": "2",
    }
    for name, word in words.items():
        await page.get_by_label(name, exact=True).fill(word)
    await page.get_by_role("button", name="Remove the label mood").click()
    await page.get_by_label("What the label says").first.fill("quay")
    await page.get_by_role("button", name="Add a label").click()
    name = page.get_by_label("Name of the label").last
    await expect(name).to_be_focused()
    await name.fill("Not A Name")
    await page.get_by_label("What the label says").last.fill("slow")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert").filter(has_text="a-z")).to_be_visible()
    await expect(name).to_be_focused()
    await name.fill("tempo")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#edit")).to_be_hidden()
    track = server.get_json(f"/tracks/{track_id}")
    assert [track[each] for each in ("album_artist", "composer", "comment", "track_number", "disc_number")] == [
        "Various",
        "Nobody",
        "Loud",
        3,
        2,
    ]
    assert track["labels"] == {"place": "quay", "tempo": "slow"}
    assert own(page.complaints) == []
    assert await page.evaluate("violations") == []


async def test_after_a_conflict_only_what_was_touched_is_written_over(page, server, tmp_path):
    track_id = upload(server, make(tmp_path, "jingle"), "Before")
    await page.goto(f"/tracks/{track_id}")
    await edit(page)
    patch(server, track_id, title="Theirs", artist="Theirs", labels={"mood": "theirs"})
    await page.get_by_label("Title", exact=True).fill("Mine")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("alert").first).to_contain_text("Somebody changed it in the meantime.")
    await expect(page.get_by_text("Somebody made it “Theirs”.")).to_be_visible()
    await expect(page.get_by_label("Artist", exact=True)).to_have_value("Theirs")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Mine")
    track = server.get_json(f"/tracks/{track_id}")
    assert (track["artist"], track["labels"]) == ("Theirs", {"mood": "theirs"})


async def test_a_collection_is_made_filled_ordered_and_played(page, server, tmp_path):
    song = make(tmp_path, "jingle")
    first, second = upload(server, song, "First one"), upload(server, song, "Second one")
    await page.goto("/collections")
    await page.get_by_label("A new collection").fill("For the <b>train")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("For the <b>train")
    url = page.url
    collection_id = url.rpartition("/")[2]
    await expect(page.get_by_text("Nothing stands in it yet.")).to_be_visible()
    await page.goto(f"/tracks/{first}")
    await page.get_by_role("button", name="Add to a collection").click()
    await page.get_by_role("dialog").get_by_role("button", name="For the <b>train").click()
    await expect(page.get_by_text("“First one” was added to “For the <b>train”.")).to_be_visible()
    await page.goto("/tracks")
    await page.get_by_role("button", name="Add Second one to a collection").click()
    await page.get_by_role("dialog").get_by_role("button", name="For the <b>train").click()
    await expect(page.get_by_text("“Second one” was added")).to_be_visible()
    assert titles(server, collection_id) == ["First one", "Second one"]
    await page.goto(url)
    await expect(page.get_by_role("button", name="Move First one up")).to_be_disabled()
    await page.get_by_role("button", name="Move Second one up").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#items > li").first).to_contain_text("Second one")
    await expect(page.get_by_role("button", name="Move Second one down")).to_be_focused()
    assert titles(server, collection_id) == ["Second one", "First one"]
    await page.get_by_role("button", name="Play", exact=True).click()
    player = page.get_by_role("region", name="Player")
    await expect(player.get_by_role("link")).to_have_text("Second one")
    await page.wait_for_function("() => document.querySelector('#player audio').currentTime > 0.1")
    await page.evaluate("document.querySelector('#player audio').currentTime = 1e6")
    await expect(player.get_by_role("link")).to_have_text("First one")
    await expect(player.get_by_role("link")).to_have_attribute("href", f"/tracks/{first}")
    await page.wait_for_function("() => document.querySelector('#player audio').currentTime > 0.1")
    assert second in await page.locator("#items > li").first.get_attribute("data-track")
    await page.get_by_role("button", name="Take Second one out").click()
    await expect(page.locator("#items > li")).to_have_count(1)
    await expect(page.get_by_text("1 track ·")).to_be_visible()
    assert titles(server, collection_id) == ["First one"]
    assert page.complaints == []
    assert await page.evaluate("violations") == []


async def test_a_collection_is_renamed_and_deleted(page, server, tmp_path):
    collection_id = make_collection(server, "Old name", upload(server, make(tmp_path, "jingle"), "Within"))
    await page.goto(f"/collections/{collection_id}")
    await page.get_by_role("button", name="Rename").click()
    await page.get_by_label("Name", exact=True).fill("")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Name", exact=True)).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Name", exact=True).fill("New name")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("New name")
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete it").click()
    await page.wait_for_url("**/collections")
    assert collection_id not in {each["id"] for each in server.get_json("/collections")["items"]}
    assert own(page.complaints) == []


async def test_collections_without_javascript(browser, server, tmp_path):
    track_id = upload(server, make(tmp_path, "jingle"), "Plainly added")
    page = await new_page(browser, server, java_script_enabled=False)
    await page.goto("/collections")
    await page.get_by_label("A new collection").fill("Plain")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Plain")
    await page.goto(f"/tracks/{track_id}")
    await page.get_by_text("Add to a collection").last.click()
    await page.get_by_role("button", name="Plain", exact=True).click()
    await expect(page.get_by_role("link", name="Plainly added")).to_be_visible()
    await expect(page.get_by_role("button", name="Move Plainly added up")).to_be_hidden()
    for name in ("Download zip", "Playlist (M3U8)"):
        async with page.expect_download() as download:
            await page.get_by_role("link", name=name).click()
        assert await (await download.value).failure() is None
