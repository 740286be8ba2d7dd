"""The access log: one line a request, with the address of whom it is about."""

import asyncio
import json
from ipaddress import ip_network

import aiohttp
import pytest
from aiohttp import web

from service.app import build_app
from service.server import make_runner


@pytest.fixture
async def port(change_settings, capsys):
    """The app as the server runs it, behind a trusted proxy on this machine, with its log on stderr as JSON."""
    settings = change_settings(trusted_proxies=(ip_network("127.0.0.1"),), log_format="json")
    runner = make_runner(build_app(settings), settings)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines() if line.startswith("{")]


async def test_a_line_names_the_client_and_not_the_proxy(port, capsys, caplog):
    caplog.set_level("INFO")
    async with aiohttp.ClientSession() as session:
        for path in ("livez", "nothing"):
            await session.get(f"http://127.0.0.1:{port}/{path}", headers={"X-Forwarded-For": "203.0.113.9"})
    await asyncio.sleep(0.05)
    assert [(line["event"], line["address"]) for line in lines(capsys)] == [
        ("GET /livez 200", "203.0.113.9"),
        ("GET /nothing 404", "203.0.113.9"),
    ]


async def test_what_is_no_http_has_a_line_with_its_peer(port, capsys, caplog):
    caplog.set_level("INFO")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/9.9\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n")
    await reader.read()
    writer.close()
    assert [line["address"] for line in lines(capsys)] == ["127.0.0.1"]
