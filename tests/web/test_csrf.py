import pytest
from aiohttp.test_utils import make_mocked_request

from service.errors import CrossSite
from service.web.csrf import check

OWN = "http://127.0.0.1:8080"


@pytest.fixture
def judge(client):
    """A function that checks a request with these header fields."""

    def run(method="POST", **headers):
        fields = {"Host": "127.0.0.1:8080"} | {name.replace("_", "-"): value for name, value in headers.items()}
        check(make_mocked_request(method, "/", headers=fields, app=client.app))

    return run


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_is_free_to_all_sites(judge, method):
    judge(method, Sec_Fetch_Site="cross-site", Origin="https://evil.example")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense", ""])
def test_changes_from_other_sites_are_refused(judge, method, site):
    with pytest.raises(CrossSite):
        judge(method, Sec_Fetch_Site=site)


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_changes_from_our_own_pages_are_taken(judge, site):
    judge(Sec_Fetch_Site=site)


def test_fetch_metadata_counts_more_than_the_origin(judge):
    with pytest.raises(CrossSite):
        judge(Sec_Fetch_Site="cross-site", Origin=OWN)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1:9090",
        "http://127.0.0.1",
        "http://127.0.0.1:8080.evil.example",
        "http://evil.example/127.0.0.1:8080",
        "http://user@127.0.0.1:8080",
        "file://127.0.0.1:8080",
        "http://[",
        "",
    ],
)
def test_without_fetch_metadata_a_foreign_origin_is_refused(judge, origin):
    with pytest.raises(CrossSite):
        judge(Origin=origin)


def test_without_fetch_metadata_our_own_origin_is_taken(judge):
    judge(Origin=OWN)


def test_who_sends_neither_is_no_browser(judge):
    judge()


def test_a_bearer_token_is_never_sent_by_a_browser_on_its_own(judge):
    judge(Authorization="Bearer x", Sec_Fetch_Site="cross-site", Origin="https://evil.example")


def test_other_credentials_are_no_excuse(judge):
    with pytest.raises(CrossSite):
        judge(Authorization="Basic eDp5", Sec_Fetch_Site="cross-site")


async def test_the_public_url_is_our_own_whatever_the_proxy_says_in_host(make_client, change_settings):
    client = await make_client(change_settings(public_url="https://music.example.org/yarrr"))
    headers = {"Host": "10.0.0.5:8080", "Origin": "https://music.example.org"}
    check(make_mocked_request("POST", "/", headers=headers, app=client.app))


@pytest.mark.parametrize("path", ["/login", "/logout", "/tracks", "/uploads", "/tokens", "/spool/x.mp3"])
async def test_the_app_refuses_before_any_view(client, path):
    method = client.put if path.startswith("/spool") else client.post
    answer = await method(path, headers={"Sec-Fetch-Site": "cross-site"}, data=b"x")
    assert answer.status == 403
    assert (await answer.json())["type"] == "/problems/cross-site"


async def test_a_refused_change_with_a_cookie_changes_nothing(client, token):
    headers = {"Cookie": f"session={token}", "Sec-Fetch-Site": "cross-site"}
    assert (await client.post("/logout", headers=headers)).status == 403
    assert (await client.get("/me", headers={"Cookie": f"session={token}"})).status == 200
