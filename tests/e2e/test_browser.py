"""The pages in a real browser: what a person does with them, and what a hostile name cannot do."""

import json
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from playwright.async_api import Error, async_playwright, expect

from tests.corpus import make

pytestmark = pytest.mark.e2e

CHROMIUM = Path("/usr/bin/chromium")
TIMEOUT_MS = 20_000
expect.set_options(timeout=TIMEOUT_MS)
ARGUMENTS = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]

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
    await expect(page.get_by_role("button", name="Rename")).to_be_hidden()
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
    await page.get_by_role("button", name="Rename").click()
    await expect(page.get_by_label("New title")).to_be_focused()
    await page.get_by_label("New title").fill("After <b>")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("After <b>")
    await expect(page.get_by_role("button", name="Rename")).to_be_focused()
    assert await page.title() == "After <b> · yarrr"
    assert server.get_json(f"/tracks/{track_id}")["title"] == "After <b>"


async def test_a_title_that_somebody_else_changed_is_not_overwritten(page, server, tmp_path):
    track_id = upload(server, make(tmp_path, "jingle"), "Before")
    await page.goto(f"/tracks/{track_id}")
    await page.get_by_role("button", name="Rename").click()
    await expect(page.get_by_label("New title")).to_be_focused()
    patch(server, track_id, title="Of somebody else")
    await page.get_by_label("New title").fill("Mine")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("It was changed in the meantime.")
    assert server.get_json(f"/tracks/{track_id}")["title"] == "Of somebody else"


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
    assert server.get_json(f"/tracks/{track_id}")["state"] == "ready"


async def test_a_track_in_the_trash_is_restored_from_its_page(page, server, tmp_path):
    track_id = upload(server, make(tmp_path, "jingle"), "Binned")
    await page.goto(f"/tracks/{track_id}")
    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("“Binned” is in the trash.")).to_be_visible()
    await page.reload()
    await page.get_by_role("button", name="Restore").click()
    await expect(page.locator("article audio")).to_be_visible()
    assert server.get_json(f"/tracks/{track_id}")["state"] == "ready"


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
        await page.get_by_role("button", name="Rename").click()
        await expect(page.get_by_label("New title")).to_have_value(payload)
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
    assert {"yarrr", "Tracks", "API", "Log out", "All tracks", "Play By keyboard", "Delete By keyboard"} <= set(names)
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
    for path in ("/", "/tracks", f"/tracks/{track_id}", "/problems/not-an-mp3", "/nothing", "/login"):
        await page.goto(path)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
