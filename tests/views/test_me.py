import asyncio

import pytest

from tests.conftest import PASSWORD

OTHER = "another horse battery"


@pytest.fixture
async def other_session(client):
    answer = await client.post("/login", json={"username": "admin", "password": PASSWORD})
    client.session.cookie_jar.clear()
    return {"Authorization": f"Bearer {(await answer.json())['token']}"}


def change(client, headers, current=PASSWORD, new=OTHER):
    return client.patch("/me", json={"current_password": current, "password": new}, headers=headers)


async def test_me_tells_who_and_how_much_is_left(client, auth, settings):
    answer = await client.get("/me", headers=auth)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    body = await answer.json()
    assert (body["name"], body["is_admin"], body["track_count"]) == ("admin", True, 0)
    assert body["scopes"] == ["upload", "read", "delete", "admin"]
    assert body["created_at"].endswith("Z")
    assert body["quota"] == {
        "limit_bytes": settings.quota_bytes,
        "used_bytes": 0,
        "reserved_bytes": 0,
        "left_bytes": settings.quota_bytes,
        "limit_tracks": settings.quota_tracks,
    }
    assert (await client.head("/me", headers=auth)).status == 200


async def test_what_is_used_and_reserved_is_not_left(client, auth):
    from service.keys import DATABASE

    await client.app[DATABASE].write(
        lambda connection: connection.execute(
            "UPDATE users SET quota_bytes = 100, used_bytes = 30, reserved_bytes = 20, used_tracks = 3"
        )
    )
    body = await (await client.get("/me", headers=auth)).json()
    assert body["track_count"] == 3
    assert [body["quota"][f"{name}_bytes"] for name in ("limit", "used", "reserved", "left")] == [100, 30, 20, 50]


async def test_nobody_is_401_and_a_browser_is_sent_to_the_form(client):
    answer = await client.get("/me")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    answer = await client.get("/me", headers={"Accept": "text/html"}, allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/login?next=%2Fme")


@pytest.mark.parametrize("credential", ["", "x", "A" * 43, "yarrr_AAAAAA_" + "A" * 49, "é" * 10, "x" * 5000])
async def test_a_credential_that_is_none_is_401(client, credential):
    for headers in ({"Authorization": f"Bearer {credential}"}, {"Cookie": f"session={credential}"}):
        assert (await client.get("/me", headers=headers)).status == 401


async def test_a_token_that_is_wrong_is_not_helped_by_a_cookie(client):
    await client.post("/login", json={"username": "admin", "password": PASSWORD})
    assert (await client.get("/me")).status == 200
    assert (await client.get("/me", headers={"Authorization": "Bearer x"})).status == 401


async def test_a_new_password_ends_the_other_sessions_and_renews_this_one(client, auth, other_session):
    assert (await client.get("/me", headers=other_session)).status == 200
    answer = await change(client, auth)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    body = await answer.json()
    client.session.cookie_jar.clear()
    statuses = [
        (await client.get("/me", headers=headers)).status
        for headers in (auth, other_session, {"Authorization": f"Bearer {body['token']}"})
    ]
    assert statuses == [401, 401, 200]
    assert answer.cookies["session"].value == body["token"]
    for password, status in ((PASSWORD, 401), (OTHER, 200)):
        assert (await client.post("/login", json={"username": "admin", "password": password})).status == status


@pytest.mark.parametrize(
    ("current", "new", "pointer"),
    [
        ("wrong horse battery", OTHER, "/current_password"),
        (PASSWORD, "short", "/password"),
        (PASSWORD, "passwordpassword", "/password"),
        (PASSWORD, "é" * 600, "/password"),
        (PASSWORD, "x" * 20 + "\0", "/password"),
    ],
)
async def test_a_change_that_will_not_do_is_422_and_changes_nothing(client, auth, current, new, pointer):
    answer = await change(client, auth, current, new)
    assert answer.status == 422
    assert [each["pointer"] for each in (await answer.json())["errors"]] == [pointer]
    assert (await client.get("/me", headers=auth)).status == 200
    assert (await client.post("/login", json={"username": "admin", "password": PASSWORD})).status == 200


async def test_guessing_the_current_password_is_limited(make_client, change_settings):
    client = await make_client(change_settings(login_attempts_per_minute=3))
    await client.post("/login", json={"username": "admin", "password": PASSWORD})
    statuses = [(await change(client, {}, "guess")).status for _ in range(5)]
    assert statuses == [422] * 3 + [429] * 2


async def test_two_changes_at_once_leave_one_password(client, auth, other_session):
    answers = await asyncio.gather(
        change(client, auth, new="first horse battery"), change(client, other_session, new="second horse battery")
    )
    assert sorted(answer.status for answer in answers) in ([200, 401], [200, 422])


async def test_an_api_token_does_not_change_the_password(client, auth):
    made = await client.post("/tokens", json={"name": "x", "scopes": ["admin", "read"]}, headers=auth)
    token = {"Authorization": f"Bearer {(await made.json())['token']}"}
    client.session.cookie_jar.clear()
    assert (await change(client, token)).status == 403
    assert (await (await client.get("/me", headers=token)).json())["scopes"] == ["read", "admin"]
