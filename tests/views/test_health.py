"""Liveness, readiness, metrics."""

from ipaddress import ip_network

import pytest

from service.errors import StorageFailed
from service.keys import DATABASE, INTAKE
from service.web import forwarded


async def test_a_working_service_is_live_and_ready(client):
    for path in ("/livez", "/readyz"):
        answer = await client.get(path)
        assert answer.status == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert (await answer.json())["status"] == "ok"
        head = await client.head(path)
        assert (head.status, await head.read()) == (200, b"")


async def test_readiness_names_what_fails(client, monkeypatch):
    monkeypatch.setattr(client.app[INTAKE], "is_healthy", lambda: False)
    answer = await client.get("/readyz")
    assert answer.status == 503
    body = await answer.json()
    assert body["status"] == "unavailable"
    assert body["checks"] == {"accepting": "ok", "database": "ok", "storage": "failed", "free_space": "ok"}
    assert (await client.get("/livez")).status == 200


async def test_a_full_disk_is_not_ready(make_client, change_settings):
    client = await make_client(change_settings(free_space_reserve_bytes=1 << 60))
    answer = await client.get("/readyz")
    assert answer.status == 503
    assert (await answer.json())["checks"]["free_space"] == "failed"


async def test_a_broken_database_is_not_ready(client, monkeypatch):
    async def fail(sql, parameters=()):
        raise StorageFailed("The database cannot be read.")

    with monkeypatch.context() as patched:
        patched.setattr(client.app[DATABASE], "read", fail)
        answer = await client.get("/readyz")
    assert answer.status == 503
    assert (await answer.json())["checks"]["database"] == "failed"


async def test_metrics_count_uploads_and_requests_by_route(client, auth, content_of):
    await client.put("/spool/song.mp3", data=content_of("jingle"), headers=auth)
    await client.put("/spool/other.mp3", data=b"no mp3", headers=auth)
    answer = await client.get("/metrics")
    text = await answer.text()
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert 'yarrr_uploads_total{state="finished"} 1.0' in text
    assert 'yarrr_uploads_total{state="refused"} 1.0' in text
    assert "yarrr_running_uploads 0.0" in text
    assert f"yarrr_received_bytes_total {len(content_of('jingle')) + 6}.0" in text
    assert 'route="/spool/{filename}"' in text
    assert "song.mp3" not in text


@pytest.mark.parametrize("forwarded", ["203.0.113.9", "nonsense"])
async def test_metrics_are_not_for_everyone(make_client, change_settings, forwarded):
    client = await make_client(change_settings(trusted_proxies=(ip_network("127.0.0.1"),)))
    headers = {"X-Forwarded-For": forwarded}
    if forwarded != "nonsense":
        assert (await client.get("/metrics", headers=headers)).status == 401
        login = await client.post("/login", json={"username": "admin", "password": "correct horse battery"})
        token = (await login.json())["token"]
        answer = await client.get("/metrics", headers={**headers, "Authorization": f"Bearer {token}"})
        assert answer.status == 200
    public = await make_client(change_settings(metrics_public=True, data_dir=change_settings().data_dir / "other"))
    assert (await public.get("/metrics", headers=headers)).status == 200


@pytest.mark.parametrize("field", [{"X-Forwarded-For": "203.0.113.9"}, {"Forwarded": "for=203.0.113.9"}])
async def test_a_proxy_on_this_machine_that_is_not_configured_opens_no_metrics(client, field):
    assert (await client.get("/metrics")).status == 200
    assert (await client.get("/metrics", headers=field)).status == 401


async def test_a_proxy_that_is_not_configured_is_warned_of_once(client, caplog, monkeypatch):
    monkeypatch.setattr(forwarded, "_warned", set())
    await client.get("/metrics")
    assert "YARRR_TRUSTED_PROXIES" not in caplog.text
    for number in range(3):
        await client.get("/metrics", headers={"X-Forwarded-For": f"203.0.113.{number}"})
    assert caplog.text.count("YARRR_TRUSTED_PROXIES") == 1
    assert "127.0.0.1 sent X-Forwarded-For" in caplog.text


async def test_a_proxy_that_is_configured_is_not_warned_of(make_client, change_settings, caplog, monkeypatch):
    monkeypatch.setattr(forwarded, "_warned", set())
    client = await make_client(change_settings(trusted_proxies=(ip_network("127.0.0.1"),)))
    await client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"})
    assert "YARRR_TRUSTED_PROXIES" not in caplog.text
