import asyncio
import statistics
import time
from io import BytesIO

import pytest

from tests.conftest import PASSWORD

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
RIGHT = {"username": "admin", "password": PASSWORD}
WRONG = {"username": "admin", "password": "wrong horse battery"}


async def post_form(client, data, headers=HTML, path="/login"):
    return await client.post(path, data=data, headers=headers, allow_redirects=False)


async def test_a_program_gets_user_token_and_end(client):
    answer = await client.post("/login", json=RIGHT)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    body = await answer.json()
    assert sorted(body) == ["expires_at", "token", "user"]
    assert body["user"]["name"] == "admin"
    assert body["expires_at"].endswith("Z")
    me = await client.get("/me", headers={"Authorization": f"Bearer {body['token']}"})
    assert me.status == 200


async def test_a_browser_gets_a_redirect_and_a_cookie(client):
    answer = await post_form(client, {**RIGHT, "next": "/tracks?q=a%20b"})
    assert answer.status == 303
    assert answer.headers["Location"] == "/tracks?q=a%20b"
    assert answer.headers["Cache-Control"] == "no-store"
    assert (await client.get("/me")).status == 200


async def test_a_form_without_preference_is_a_browsers(client):
    answer = await post_form(client, RIGHT, headers={"Accept": "*/*"})
    assert (answer.status, answer.headers["Location"]) == (303, "/")


async def test_a_form_that_wants_json_gets_json(client):
    answer = await post_form(client, RIGHT, headers={"Accept": "application/json"})
    assert answer.status == 200
    assert "token" in await answer.json()


async def test_a_multipart_form_logs_in_too(client):
    import aiohttp

    form = aiohttp.FormData(RIGHT, default_to_multipart=True)
    assert (await post_form(client, form)).status == 303


async def test_the_cookie_is_for_this_host_and_not_for_scripts(client):
    answer = await post_form(client, RIGHT)
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("session=")
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/", "max-age=7776000"} <= attributes
    assert not {"secure"} & attributes
    assert not any(part.startswith("domain") for part in attributes)


async def test_on_https_the_cookie_is_secure_and_bound_to_the_host(make_client, change_settings):
    client = await make_client(change_settings(public_url="https://music.example"))
    answer = await post_form(client, RIGHT)
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-session=")
    assert "Secure" in cookie
    secret = cookie.partition(";")[0].partition("=")[2]
    for name, status in (("__Host-session", 200), ("session", 401)):
        answer = await client.get("/me", headers={"Cookie": f"{name}={secret}"})
        assert answer.status == status
    answer = await client.post("/logout", headers={"Cookie": f"__Host-session={secret}"})
    assert "Secure" in answer.headers["Set-Cookie"]
    assert "Max-Age=0" in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "target",
    ["/", "/tracks", "/tracks?q=a%26b", "/%2Fevil.example", "/%5Cevil.example", "/tracks?next=https://evil", "/ä"],
)
async def test_a_local_next_is_followed(client, target):
    answer = await post_form(client, {**RIGHT, "next": target})
    assert answer.headers["Location"] == target.replace("ä", "%C3%A4")


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/x\\y",
        "https:evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "/\t/evil.example",
        "\t//evil.example",
        " //evil.example",
        "/a\r\nSet-Cookie: x=y",
        "/a\x7f",
        "/a\u2028b",
        "tracks",
        "?q=1",
        "",
        "/" + "x" * 3000,
    ],
)
async def test_any_other_next_leads_to_the_start(client, target):
    answer = await post_form(client, {**RIGHT, "next": target})
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    assert "x" not in answer.cookies
    page = await (await client.get("/login", params={"next": target}, headers=HTML)).text()
    assert 'name="next" value="/"' in page


async def test_the_form_shows(client):
    answer = await client.get("/login?next=/tracks", headers=HTML)
    assert (answer.status, answer.content_type) == (200, "text/html")
    assert "no-store" in answer.headers["Cache-Control"]
    page = await answer.text()
    for part in (
        'action="/login"',
        'method="post"',
        'name="username"',
        'name="password"',
        'name="next" value="/tracks"',
    ):
        assert part in page
    assert (await client.head("/login")).status == 200


async def test_a_browsers_failure_is_the_form_again_with_the_input_but_the_password(client):
    answer = await post_form(client, {"username": '"><script>x', "password": "my secret try", "next": "/tracks"})
    assert answer.status == 401
    assert "Set-Cookie" not in answer.headers
    page = await answer.text()
    assert "The name or the password is wrong." in page
    assert 'value="&#34;&gt;&lt;script&gt;x"' in page
    assert 'name="next" value="/tracks"' in page
    assert "my secret try" not in page
    assert "<script>x" not in page


async def test_an_incomplete_form_is_the_form_again(client):
    answer = await post_form(client, {"username": "admin"})
    assert answer.status == 422
    page = await answer.text()
    assert "Enter your name and your password." in page
    assert 'value="admin"' in page


async def test_a_programs_failure_is_a_problem(client):
    answer = await client.post("/login", json=WRONG)
    assert answer.status == 401
    assert answer.content_type == "application/problem+json"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "Set-Cookie" not in answer.headers
    assert (await answer.json())["type"] == "/problems/unauthenticated"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"username": "admin"}, "/password"),
        ({"username": "", "password": "x"}, "/username"),
        ({"username": 5, "password": "x"}, "/username"),
        ({**RIGHT, "more": 1}, "/more"),
        ({"username": "ad\0min", "password": "x"}, "/username"),
        ({"username": "admin", "password": "x\0y"}, "/password"),
        ({"username": "admin", "password": "x" * 5000}, "/password"),
        ([], ""),
    ],
)
async def test_what_does_not_fit_the_schema_is_422_with_a_pointer(client, body, pointer):
    answer = await client.post("/login", json=body)
    assert answer.status == 422
    assert [each["pointer"] for each in (await answer.json())["errors"]] == [pointer]


async def test_other_bodies_are_refused(client):
    headers = {"Content-Type": "application/json"}
    assert (await client.post("/login", data=b"{", headers=headers)).status == 400
    assert (await client.post("/login", data=b'{"username":"\\ud800","password":"x"}', headers=headers)).status in (
        400,
        422,
    )
    assert (await client.post("/login", data=b"x", headers={"Content-Type": "text/plain"})).status == 415
    large = BytesIO(b'{"username": "admin", "password": "' + b"x" * (2 << 20) + b'"}')
    assert (await client.post("/login", data=large, headers=headers)).status == 413


async def test_unknown_and_known_names_look_the_same(client):
    answers = []
    for name in ("admin", "nobody"):
        answer = await client.post("/login", json={"username": name, "password": "wrong horse"})
        body = await answer.json()
        body.pop("instance")
        answers.append((answer.status, body, sorted(answer.headers)))
    assert answers[0] == answers[1]


async def test_unknown_and_known_names_take_the_same_time(client):
    seconds = {"admin": [], "nobody": []}
    for _ in range(60):
        for name, taken in seconds.items():
            begin = time.perf_counter()
            await client.post("/login", json={"username": name, "password": "wrong horse"})
            taken.append(time.perf_counter() - begin)
    known, unknown = (statistics.median(each) for each in seconds.values())
    assert abs(known - unknown) < 0.002


async def test_a_guesser_is_slowed_down_and_the_owner_gets_in(make_client, change_settings):
    import ipaddress

    proxies = (ipaddress.ip_network("127.0.0.1"),)
    client = await make_client(change_settings(login_attempts_per_minute=10, trusted_proxies=proxies))
    guesser, owner = {"X-Forwarded-For": "203.0.113.1"}, {"X-Forwarded-For": "203.0.113.2"}
    statuses = []
    for _ in range(40):
        answer = await client.post("/login", json=WRONG, headers=guesser)
        statuses.append(answer.status)
    assert statuses == [401] * 10 + [429] * 30
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert (await client.post("/login", json=RIGHT, headers=guesser)).status == 429
    assert (await client.post("/login", json=RIGHT, headers=owner)).status == 200
    page = await post_form(client, RIGHT, headers={**HTML, **guesser})
    assert (page.status, page.content_type) == (429, "text/html")
    assert 1 <= int(page.headers["Retry-After"]) <= 60
    assert "Too many tries" in await page.text()


async def test_an_address_that_tries_many_names_is_slowed_down(make_client, change_settings):
    client = await make_client(change_settings(login_attempts_per_minute=2))
    statuses = [(await client.post("/login", json={"username": f"name{n}", "password": "x"})).status for n in range(25)]
    assert statuses == [401] * 20 + [429] * 5


async def test_more_logins_than_can_wait_are_busy(client):
    answers = await asyncio.gather(*(client.post("/login", json=WRONG) for _ in range(90)))
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {401, 503}
    busy = next(answer for answer in answers if answer.status == 503)
    assert int(busy.headers["Retry-After"]) >= 1


async def test_a_cookie_set_beforehand_does_not_become_the_session(client):
    planted = "A" * 43
    client.session.cookie_jar.update_cookies({"session": planted}, client.make_url("/"))
    answer = await post_form(client, RIGHT)
    assert planted not in answer.headers["Set-Cookie"]
    assert (await client.get("/me", headers={"Cookie": f"session={planted}"})).status in (401, 200)
    client.session.cookie_jar.clear()
    assert (await client.get("/me", headers={"Cookie": f"session={planted}"})).status == 401


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
async def test_another_site_cannot_log_a_browser_in_or_out(client, headers):
    for path in ("/login", "/logout"):
        assert (await post_form(client, RIGHT, {**HTML, **headers}, path)).status == 403


async def test_logging_out_ends_the_session_on_the_server(client):
    answer = await post_form(client, RIGHT)
    secret = answer.cookies["session"].value
    answer = await post_form(client, {}, path="/logout")
    assert (answer.status, answer.headers["Location"]) == (303, "/login")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    for headers in ({"Cookie": f"session={secret}"}, {"Authorization": f"Bearer {secret}"}):
        assert (await client.get("/me", headers=headers)).status == 401


async def test_a_program_logs_out_with_204(client, auth):
    client.session.cookie_jar.clear()
    answer = await client.post("/logout", headers=auth)
    assert answer.status == 204
    assert (await client.get("/me", headers=auth)).status == 401
    assert (await client.post("/logout", headers=auth)).status == 204  # it is over already, and that was asked for


async def test_login_and_logout_have_no_other_methods(client):
    assert (await client.get("/logout")).status == 405
    assert (await client.put("/login")).status == 405
