"""Interim answers: to whom they go, and what may be in them."""

import asyncio

import pytest
from aiohttp import web

from service.keys import STARTED
from service.web.interim import send_interim

FIELDS = {"Location": "/uploads/a", "Upload-Limit": "max-size=5, max-age=60"}


@pytest.fixture
async def ask(serve):
    """A function that asks a server whose view is `handler`; all that comes back."""

    async def ask(handler, version="1.1", gone=False):
        app = web.Application()
        app.router.add_get("/", handler)
        port = await serve(app)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET / HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        if gone:
            writer.transport.abort()
            return b""
        try:
            return await asyncio.wait_for(reader.read(), 5)
        finally:
            writer.close()

    return ask


async def test_they_come_before_the_answer_one_after_the_other(ask):
    async def handler(request):
        assert send_interim(request, 104, "Upload Resumption Supported", FIELDS)
        assert send_interim(request, 104, "Upload Resumption Supported", {"Upload-Offset": "7"})
        return web.Response(text="done")

    text = (await ask(handler)).decode()
    first, second, last = text.split("\r\n\r\n", 2)
    assert first.split("\r\n") == [
        "HTTP/1.1 104 Upload Resumption Supported",
        "Location: /uploads/a",
        "Upload-Limit: max-size=5, max-age=60",
    ]
    assert second == "HTTP/1.1 104 Upload Resumption Supported\r\nUpload-Offset: 7"
    assert last.startswith("HTTP/1.1 200 ")


async def test_an_old_client_gets_none(ask):
    async def handler(request):
        assert not send_interim(request, 104, "Upload Resumption Supported", FIELDS)
        return web.Response(text="done")

    assert (await ask(handler, version="1.0")).startswith(b"HTTP/1.0 200 ")


async def test_none_comes_after_the_answer_has_begun(ask):
    async def handler(request):
        response = web.StreamResponse()
        await response.prepare(request)
        request[STARTED] = True  # as the app notes it
        assert not send_interim(request, 104, "Upload Resumption Supported", FIELDS)
        await response.write(b"done")
        return response

    text = await ask(handler)
    assert b" 104 " not in text
    assert b"done" in text


async def test_a_client_that_has_gone_gets_none(ask):
    sent = asyncio.get_running_loop().create_future()

    async def handler(request):
        await asyncio.sleep(0.1)
        sent.set_result(send_interim(request, 104, "Upload Resumption Supported", FIELDS))
        return web.Response()

    await ask(handler, gone=True)
    assert await asyncio.wait_for(sent, 5) is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Location", "/a\r\nSet-Cookie: x=1"),
        ("Location", "/a\nb"),
        ("Location", "/a\0"),
        ("Location", "/\u00e4"),
        ("Location", ""),
        ("Location", " /a"),
        ("Location", "/a\n"),
        ("Location: /b\r\nX", "/a"),
        ("", "/a"),
    ],
)
async def test_a_field_that_would_end_its_line_is_never_sent(ask, name, value):
    async def handler(request):
        with pytest.raises(ValueError):
            send_interim(request, 104, "Upload Resumption Supported", {name: value})
        return web.Response(text="done")

    assert b" 104 " not in await ask(handler)
