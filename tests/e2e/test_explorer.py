"""The explorer in a real browser: "try it out" really uploads."""

from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from tests.corpus import make

pytestmark = pytest.mark.e2e

CHROMIUM = Path("/usr/bin/chromium")
TIMEOUT_MS = 20_000


@pytest.fixture
async def page():
    if not CHROMIUM.exists():
        pytest.skip("chromium is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = await browser.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.complaints = []
        page.on("console", lambda message: page.complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        yield page
        await browser.close()


async def open_operation(page, base_url, operation_id, tag):
    await page.goto(f"{base_url}/docs")
    operation = page.locator(f"#operations-{tag}-{operation_id}")
    await operation.locator(".opblock-summary-control").click()
    await operation.locator("button.execute").wait_for()
    return operation


async def execute(operation):
    """Press Execute; the status and the text of what came back."""
    await operation.locator("button.execute").click()
    answer = operation.locator(".live-responses-table")
    status = await answer.locator(".response .response-col_status").first.inner_text()
    return status.split()[0], await answer.inner_text()


async def upload(page, base_url, song):
    operation = await open_operation(page, base_url, "upload", "tracks")
    await operation.locator("input[type=file]").first.set_input_files(song)
    return await execute(operation)


async def test_trying_it_out_uploads_with_the_session_of_the_browser(server, page, tmp_path):
    await page.goto(f"{server.base_url}/login")
    await page.fill("input[name=username]", "admin")
    await page.fill("input[name=password]", "correct horse battery")
    await page.press("input[name=password]", "Enter")
    await page.wait_for_url(lambda url: "/login" not in url)
    page.complaints.clear()
    song = make(tmp_path, "jingle")
    status, text = await upload(page, server.base_url, song)
    assert status == "201"
    assert '"filename": "jingle.mp3"' in text
    items = server.get_json("/tracks")["items"]
    assert [item["size"] for item in items if item["filename"] == "jingle.mp3"] == [song.stat().st_size]
    assert page.complaints == [], "nothing the policy forbids, and no fault of a script"


async def test_trying_it_out_uploads_with_a_token(server, page, tmp_path):
    await page.goto(f"{server.base_url}/docs")
    await page.locator("button.authorize").first.click()
    await page.locator(".auth-container input").first.fill(server.token)
    await page.locator(".modal-ux button.authorize").first.click()
    await page.locator(".modal-ux .close-modal").click()
    operation = page.locator("#operations-tracks-upload")
    await operation.locator(".opblock-summary-control").click()
    await operation.locator("input[type=file]").first.set_input_files(make(tmp_path, "vbr"))
    status, _ = await execute(operation)
    assert status == "201"


async def test_trying_it_out_without_a_login_is_told_so(server, page, tmp_path):
    status, text = await upload(page, server.base_url, make(tmp_path, "jingle"))
    assert status == "401"
    assert "/problems/unauthenticated" in text
