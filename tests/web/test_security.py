from ipaddress import ip_network

import pytest

from service.web.security import API_POLICY, PAGE_POLICY

HTML = {"Accept": "text/html"}


@pytest.mark.parametrize("path", ["/livez", "/", "/tracks", "/nothing", "/static/yarrr.css", "/openapi.json"])
async def test_every_answer_forbids_sniffing_framing_and_use_by_other_sites(client, path):
    answer = await client.get(path)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Content-Security-Policy"] == API_POLICY
    assert "Permissions-Policy" not in answer.headers


@pytest.mark.parametrize(("path", "status"), [("/login", 200), ("/nothing", 404), ("/problems/invalid", 200)])
async def test_pages_run_only_scripts_of_their_own(client, path, status):
    answer = await client.get(path, headers=HTML)
    assert answer.status == status
    policy = answer.headers["Content-Security-Policy"]
    assert policy == PAGE_POLICY
    assert "unsafe" not in policy
    assert "Cross-Origin-Opener-Policy" not in answer.headers, "browsers complain over plain http"
    assert answer.headers["Permissions-Policy"] == "camera=(), microphone=(), geolocation=()"


def test_both_policies_start_from_nothing_and_allow_no_frame():
    for policy in (API_POLICY, PAGE_POLICY):
        directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
        assert directives["default-src"] == "'none'"
        for name in ("frame-ancestors", "base-uri", "object-src"):
            assert directives[name] == "'none'", name


async def test_the_banner_does_not_tell_versions(client):
    assert (await client.get("/livez")).headers["Server"] == "yarrr"


async def test_plain_http_is_not_told_to_be_https(client):
    assert "Strict-Transport-Security" not in (await client.get("/livez")).headers


async def test_a_service_with_an_https_url_is_https_for_good(make_client, change_settings):
    client = await make_client(change_settings(public_url="https://music.example.org"))
    answer = await client.get("/livez")
    assert answer.headers["Strict-Transport-Security"] == "max-age=63072000"
    assert (await client.get("/login", headers=HTML)).headers["Cross-Origin-Opener-Policy"] == "same-origin"


async def test_https_behind_a_trusted_proxy_counts(make_client, change_settings):
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    client = await make_client(change_settings(trusted_proxies=(ip_network("127.0.0.0/8"),)))
    assert "Strict-Transport-Security" in (await client.get("/livez", headers=forwarded)).headers


async def test_https_that_nobody_trusted_vouches_for_does_not_count(client):
    answer = await client.get("/livez", headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"})
    assert "Strict-Transport-Security" not in answer.headers


async def test_a_view_may_have_a_policy_of_its_own(client):
    policy = (await client.get("/docs")).headers["Content-Security-Policy"]
    assert policy != PAGE_POLICY
    assert "default-src 'none'" in policy


async def test_error_answers_of_middlewares_carry_them_too(client):
    answer = await client.post("/tracks", headers={"Origin": "https://evil.example"})
    assert answer.status == 403
    assert answer.headers["Content-Security-Policy"] == API_POLICY
