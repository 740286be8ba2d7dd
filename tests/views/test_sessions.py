import pytest

from tests.conftest import PASSWORD


@pytest.fixture
async def log_in(client):
    """A function that begins another session; its Authorization field."""

    async def begin(name="admin", password=PASSWORD, agent="test"):
        answer = await client.post(
            "/login", json={"username": name, "password": password}, headers={"User-Agent": agent}
        )
        client.session.cookie_jar.clear()
        return {"Authorization": f"Bearer {(await answer.json())['token']}"}

    return begin


@pytest.fixture
async def other_user(client, log_in):
    """The Authorization field of somebody else."""
    from service.accounts.passwords import Passwords
    from service.catalogue import users
    from service.keys import DATABASE

    passwords = Passwords(memory_kib=8192)
    encoded = await passwords.hash(PASSWORD)
    await passwords.close()
    await client.app[DATABASE].write(lambda c: users.insert(c, "01OTHER", "other", encoded, now=1))
    return await log_in("other")


async def items(client, headers):
    answer = await client.get("/sessions", headers=headers)
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    return (await answer.json())["items"]


async def statuses(client, *all_headers):
    return [(await client.get("/me", headers=headers)).status for headers in all_headers]


async def test_one_sees_where_one_is_logged_in(client, log_in, other_user):
    await log_in(agent="one")
    here = await log_in(agent="two")
    found = await items(client, here)
    assert [(each["user_agent"], each["current"]) for each in found] == [("two", True), ("one", False)]
    assert found[0]["address"] == "127.0.0.1"
    assert sorted(found[0]) == sorted(
        ["id", "address", "user_agent", "created_at", "last_seen_at", "expires_at", "current"]
    )


async def test_one_session_is_ended_at_once(client, log_in):
    there, here = await log_in(), await log_in()
    assert await statuses(client, here, there) == [200, 200]
    session_id = next(each["id"] for each in await items(client, here) if not each["current"])
    answer = await client.delete(f"/sessions/{session_id}", headers=here)
    assert answer.status == 204
    assert answer.headers["Cache-Control"] == "no-store"
    assert await statuses(client, here, there) == [200, 401]
    assert (await client.delete(f"/sessions/{session_id}", headers=here)).status == 404


async def test_the_own_session_may_be_ended(client, log_in):
    here = await log_in()
    session_id = (await items(client, here))[0]["id"]
    assert (await client.delete(f"/sessions/{session_id}", headers=here)).status == 204
    assert await statuses(client, here) == [401]


async def test_all_others_are_ended(client, log_in, other_user):
    first, here, last = await log_in(), await log_in(), await log_in()
    assert await statuses(client, first, here, last, other_user) == [200] * 4
    assert (await client.delete("/sessions", headers=here)).status == 204
    assert await statuses(client, first, here, last, other_user) == [401, 200, 401, 200]


async def test_another_users_session_is_not_found(client, log_in, other_user):
    session_id = (await items(client, other_user))[0]["id"]
    here = await log_in()
    unknown = await client.delete("/sessions/01AAAAAAAAAAAAAAAAAAAAAAAA", headers=here)
    foreign = await client.delete(f"/sessions/{session_id}", headers=here)
    assert unknown.status == foreign.status == 404
    assert (await unknown.json())["detail"] == (await foreign.json())["detail"]
    assert await statuses(client, other_user) == [200]


async def test_a_token_without_admin_has_no_business_here(client, log_in):
    here = await log_in()
    made = await client.post("/tokens", json={"name": "x", "scopes": ["upload", "read", "delete"]}, headers=here)
    token = {"Authorization": f"Bearer {(await made.json())['token']}"}
    session_id = (await items(client, here))[0]["id"]
    for method, path in (("GET", "/sessions"), ("DELETE", "/sessions"), ("DELETE", f"/sessions/{session_id}")):
        assert (await client.request(method, path, headers=token)).status == 403
        assert (await client.request(method, path)).status == 401
    assert await statuses(client, here) == [200]
