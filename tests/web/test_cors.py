"""Pages of allowed origins may call the API; no other page learns anything."""

import pytest

FRIEND = "https://player.example"
STRANGER = "https://evil.example"
UNKNOWN = f"/uploads/{'0' * 32}"
NOBODY = {"Authorization": "Bearer nonsense"}
PATHS = ["/uploads", UNKNOWN, "/uploads/nothing", "/tracks", "/tracks/x", "/login", "/me", "/spool/a.mp3", "/no/where"]

# What tus-js-client, Uppy and the IETF draft's clients send from a page.
SENT = {
    "authorization",
    "content-type",
    "content-digest",
    "repr-digest",
    "tus-resumable",
    "upload-length",
    "upload-offset",
    "upload-metadata",
    "upload-defer-length",
    "upload-concat",
    "upload-checksum",
    "upload-complete",
    "upload-draft-interop-version",
    "x-http-method-override",
    "x-request-id",
    "x-requested-with",
}
READ = {
    "location",
    "content-location",
    "etag",
    "repr-digest",
    "retry-after",
    "tus-resumable",
    "tus-version",
    "tus-extension",
    "tus-max-size",
    "tus-checksum-algorithm",
    "upload-offset",
    "upload-length",
    "upload-expires",
    "upload-metadata",
    "upload-defer-length",
    "upload-concat",
    "upload-complete",
    "upload-limit",
    "x-request-id",
}


@pytest.fixture
async def client(make_client, change_settings):
    return await make_client(change_settings(cors_origins=(FRIEND, "http://localhost:3000")))


def preflight(origin, method="PATCH"):
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,tus-resumable,upload-offset",
    }


def listed(answer, name):
    return {part.strip().lower() for part in answer.headers.get(name, "").split(",") if part.strip()}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("origin", [FRIEND, "http://localhost:3000"])
async def test_a_preflight_is_answered_without_login_on_every_path(client, path, origin):
    answer = await client.options(path, headers=preflight(origin))
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert listed(answer, "Access-Control-Allow-Methods") >= {"get", "head", "post", "put", "patch", "delete"}
    assert listed(answer, "Access-Control-Allow-Headers") >= SENT
    assert int(answer.headers["Access-Control-Max-Age"]) > 0
    assert "origin" in listed(answer, "Vary")


@pytest.mark.parametrize(
    "origin",
    [STRANGER, "null", "https://player.example:8443", "http://player.example", "https://a.player.example", "*", ""],
)
@pytest.mark.parametrize("path", ["/uploads", UNKNOWN, "/tracks"])
async def test_a_preflight_of_a_stranger_allows_nothing(client, path, origin):
    answer = await client.options(path, headers=preflight(origin))
    assert not [name for name in answer.headers if name.startswith("Access-Control-")]
    assert "origin" in listed(answer, "Vary")


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("GET", "/tracks", {}, 401),
        ("GET", "/no/where", {}, 404),
        ("POST", "/uploads", {}, 403),
        ("PUT", "/uploads", NOBODY, 405),
        ("POST", "/uploads", {"Tus-Resumable": "0.2", **NOBODY}, 412),
        ("POST", "/uploads", {"Tus-Resumable": "1.0.0", **NOBODY}, 401),
        ("HEAD", UNKNOWN, {"Tus-Resumable": "1.0.0"}, 401),
        ("DELETE", UNKNOWN, NOBODY, 401),
        ("GET", "/livez", {}, 200),
    ],
)
async def test_errors_can_be_read_too(client, method, path, more, status):
    answer = await client.request(method, path, headers={"Origin": FRIEND, **more})
    assert answer.status == status
    assert answer.headers["Access-Control-Allow-Origin"] == FRIEND
    assert listed(answer, "Access-Control-Expose-Headers") >= READ
    assert "origin" in listed(answer, "Vary")


async def test_an_upload_from_a_page_of_a_friend_goes_through(client, auth, content_of):
    content = content_of("vbr")
    headers = {**auth, "Origin": FRIEND, "Sec-Fetch-Site": "cross-site", "Tus-Resumable": "1.0.0"}
    created = await client.post("/uploads", headers={**headers, "Upload-Length": str(len(content))})
    assert created.status == 201
    more = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    sent = await client.patch(created.headers["Location"], data=content, headers={**headers, **more})
    assert sent.status == 204
    for answer in (created, sent):
        assert answer.headers["Access-Control-Allow-Origin"] == FRIEND


@pytest.mark.parametrize("origin", [FRIEND, STRANGER])
async def test_no_answer_lets_cookies_cross(client, auth, origin):
    for answer in [
        await client.options("/uploads", headers=preflight(origin)),
        await client.get("/tracks", headers={**auth, "Origin": origin}),
    ]:
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert answer.headers.get("Access-Control-Allow-Origin") != "*"


async def test_a_stranger_s_page_cannot_read(client, auth):
    answer = await client.get("/tracks", headers={**auth, "Origin": STRANGER})
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("Access-Control-")]


async def test_a_friend_s_page_cannot_use_the_login_of_the_browser(client, token):
    headers = {"Origin": FRIEND, "Sec-Fetch-Site": "cross-site", "Tus-Resumable": "1.0.0", "Upload-Length": "1"}
    answer = await client.post("/uploads", headers={**headers, "Cookie": f"session={token}"})
    assert answer.status == 403
    assert await (await client.get("/uploads", headers={"Authorization": f"Bearer {token}"})).json() == {"items": []}


async def test_other_fields_that_an_answer_depends_on_stay(client, auth):
    answer = await client.get("/tracks", headers=auth)
    assert listed(answer, "Vary") >= {"accept", "authorization", "cookie", "origin"}


async def test_without_allowed_origins_nothing_is_said(make_client, settings):
    client = await make_client(settings)
    answer = await client.get("/livez", headers={"Origin": FRIEND})
    assert not [name for name in answer.headers if name.startswith("Access-Control-") or name == "Vary"]
