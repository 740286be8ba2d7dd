from datetime import UTC, datetime, timedelta

import pytest

from tests.views.test_sessions import log_in, other_user  # noqa: F401


@pytest.fixture
def make(client, auth):
    """A function that makes a token; the answer."""
    client.session.cookie_jar.clear()
    return lambda headers=auth, **data: client.post(
        "/tokens", json={"name": "test", "scopes": ["read"], **data}, headers=headers
    )


async def bearer(answer):
    assert answer.status == 201, await answer.text()
    return {"Authorization": f"Bearer {(await answer.json())['token']}"}


async def test_a_new_token_is_shown_once(client, auth, make):
    answer = await make(name="phone", scopes=["upload", "read", "upload"])
    assert answer.status == 201
    assert answer.headers["Cache-Control"] == "no-store"
    body = await answer.json()
    assert answer.headers["Location"] == f"/tokens/{body['id']}"
    text = body.pop("token")
    assert text.startswith(f"yarrr_{body['id']}_")
    assert (body["name"], body["scopes"], body["expires_at"]) == ("phone", ["upload", "read"], None)
    read = await client.get(answer.headers["Location"], headers=auth)
    assert await read.json() == body
    listing = await client.get("/tokens", headers=auth)
    assert await listing.json() == {"items": [body]}
    assert listing.headers["Cache-Control"] == "no-store"
    assert text[13:] not in await listing.text()


async def test_a_token_is_its_owner(client, make):
    token = await bearer(await make())
    body = await (await client.get("/me", headers=token)).json()
    assert (body["name"], body["scopes"]) == ("admin", ["read"])


async def test_a_revoked_token_is_over_at_once(client, auth, make):
    answer = await make()
    token = await bearer(answer)
    assert (await client.get("/me", headers=token)).status == 200
    assert (await client.delete(answer.headers["Location"], headers=auth)).status == 204
    assert (await client.get("/me", headers=token)).status == 401
    assert (await client.delete(answer.headers["Location"], headers=auth)).status == 404


async def test_a_token_lives_as_long_as_was_said(client, make):
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    body = await (await make(expires_at=end.isoformat())).json()
    assert datetime.fromisoformat(body["expires_at"]) == end
    body = await (await make(expires_in_s=3600)).json()
    left = datetime.fromisoformat(body["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "x" * 101}, "/name"),
        ({"name": "a\0b"}, "/name"),
        ({"scopes": []}, "/scopes"),
        ({"scopes": "read"}, "/scopes"),
        ({"scopes": ["everything"]}, "/scopes"),
        ({"scopes": [1]}, "/scopes/0"),
        ({"expires_in_s": 0}, "/expires_in_s"),
        ({"expires_in_s": 5.7}, "/expires_in_s"),
        ({"expires_in_s": "60"}, "/expires_in_s"),
        ({"expires_in_s": True}, "/expires_in_s"),
        ({"expires_in_s": 10**30}, "/expires_in_s"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "2999-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-23:59"}, "/expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+23:59"}, "/expires_at"),
        ({"expires_at": "2030-01-01T00:00:00"}, "/expires_at"),
        ({"expires_at": 5}, "/expires_at"),
        ({"expires_at": "2030-01-01T00:00:00Z", "expires_in_s": 5}, "/expires_in_s"),
        ({"owner": "x"}, "/owner"),
    ],
)
async def test_what_does_not_fit_is_422_with_a_pointer(make, data, pointer):
    answer = await make(**data)
    assert answer.status == 422, await answer.text()
    assert [each["pointer"] for each in (await answer.json())["errors"]] == [pointer]


async def test_tokens_are_made_from_json_only(client, auth):
    assert (await client.post("/tokens", data={"name": "x", "scopes": "read"}, headers=auth)).status == 415


async def test_a_token_manages_tokens_only_with_the_scope_admin(client, auth, make):
    answer = await make(scopes=["upload", "read", "delete"])
    token = await bearer(answer)
    assert (await make(headers=token)).status == 403
    assert (await client.get("/tokens", headers=token)).status == 403
    other = (await make()).headers["Location"]
    assert (await client.delete(other, headers=token)).status == 403
    assert (await client.get(other, headers=auth)).status == 200
    manager = await bearer(await make(scopes=["admin", "read"]))
    assert (await make(headers=manager)).status == 201
    assert (await client.get("/tokens", headers=manager)).status == 200
    assert (await client.delete(other, headers=manager)).status == 204


async def test_a_token_makes_none_that_may_more(make):
    manager = await bearer(await make(scopes=["admin", "read"]))
    answer = await make(headers=manager, scopes=["read", "upload"])
    assert answer.status == 403
    assert (await answer.json())["required_scope"] == "upload"


async def test_a_token_may_revoke_itself(client, make):
    answer = await make()
    token = await bearer(answer)
    assert (await client.delete(answer.headers["Location"], headers=token)).status == 204
    assert (await client.get("/me", headers=token)).status == 401


async def test_only_administrators_make_tokens_with_admin(make, other_user):  # noqa: F811
    assert (await make(headers=other_user, scopes=["admin"])).status == 403
    assert (await make(headers=other_user, scopes=["read"])).status == 201


async def test_another_users_token_is_not_found(client, make, other_user):  # noqa: F811
    answer = await make()
    token = await bearer(answer)
    for method in ("GET", "DELETE"):
        foreign = await client.request(method, answer.headers["Location"], headers=other_user)
        unknown = await client.request(method, "/tokens/AAAAAA", headers=other_user)
        assert foreign.status == unknown.status == 404
    assert (await (await client.get("/tokens", headers=other_user)).json()) == {"items": []}
    assert (await client.get("/me", headers=token)).status == 200


async def test_an_api_token_cannot_log_out(client, make):
    token = await bearer(await make())
    assert (await client.post("/logout", headers=token)).status == 403


async def test_nobody_is_401(client):
    for method, path in (("GET", "/tokens"), ("POST", "/tokens"), ("GET", "/tokens/AAAAAA"), ("DELETE", "/tokens/A")):
        assert (await client.request(method, path)).status == 401
