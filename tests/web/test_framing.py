"""Raw requests over a socket, whole and byte by byte: parser and middleware together give one verdict."""

import asyncio
import re

import jinja2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from service.keys import PAGES, SETTINGS
from service.settings import Settings
from service.web.framing import framing_middleware
from service.web.problems import problems_middleware


async def echo(request):
    return web.Response(text=(await request.read()).decode())


@pytest.fixture
async def server():
    app = web.Application(middlewares=[framing_middleware, problems_middleware])
    app[SETTINGS] = Settings(public_url="https://music.example")
    app[PAGES] = jinja2.Environment(autoescape=True)
    app.router.add_route("*", "/", echo)
    app.router.add_get("/get-only", echo)
    server = TestServer(app)
    await server.start_server(auto_decompress=False)
    yield server
    await server.close()


async def send(server, data: bytes, answers: int, *, piecewise: bool = False) -> bytes:
    """All that comes back until so many answers are there, the connection closes, or a moment later."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    received = b""

    async def deliver():
        for piece in [data[i : i + 1] for i in range(len(data))] if piecewise else [data]:
            if not reader.at_eof():  # a refusal in the middle closes the connection
                writer.write(piece)
                await asyncio.sleep(0)

    sending = asyncio.create_task(deliver())
    try:
        while True:
            async with asyncio.timeout(5 if len(statuses(received)) < answers else 0.05):
                block = await reader.read(65536)
            if not block:
                return received
            received += block
    except (TimeoutError, ConnectionError):
        return received
    finally:
        await sending
        writer.close()


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/\d\.\d (\d{3}) ", answer)]


HOST = b"Host: music.test\r\n"

CASES = {
    "an ordinary request": (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n", [200]),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\n\r\n", [200]),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", [505]),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", [505]),
    "a method nobody has heard of": (b"FROBNICATE / HTTP/1.1\r\n" + HOST + b"\r\n", [400]),
    "a method of another protocol": (b"PROPFIND /get-only HTTP/1.1\r\n" + HOST + b"\r\n", [405]),
    "CONNECT": (b"CONNECT music.test:443 HTTP/1.1\r\n" + HOST + b"\r\n", [501]),
    "a known method the resource lacks": (b"TRACE /get-only HTTP/1.1\r\n" + HOST + b"\r\n", [405]),
    "chunked": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", [200]),
    "Chunked": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", [200]),
    "gzip, chunked": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        [501],
    ),
    "chunked in HTTP/1.0": (
        b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        [400],
    ),
    "an absolute target of this host": (b"GET http://music.test/ HTTP/1.1\r\n" + HOST + b"\r\n", [200]),
    "an absolute target of the public host": (b"GET https://music.example/ HTTP/1.1\r\n" + HOST + b"\r\n", [200]),
    "an absolute target of another host": (b"GET http://evil.test/ HTTP/1.1\r\n" + HOST + b"\r\n", [400]),
    "another port is another host": (b"GET http://music.test:81/ HTTP/1.1\r\n" + HOST + b"\r\n", [400]),
    "a user before the host": (b"GET http://me@music.test/ HTTP/1.1\r\n" + HOST + b"\r\n", [400]),
    "length and chunked": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        [400],
    ),
    "two lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", [400]),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", [400]),
    "two hosts": (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", [400]),
    "Upgrade is ignored": (
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        b"GET /get-only HTTP/1.1\r\n" + HOST + b"\r\n",
        [200, 200],
    ),
    "Upgrade with a body is ignored": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 4\r\n\r\nGET "
        b"GET /get-only HTTP/1.1\r\n" + HOST + b"\r\n",
        [200, 200],
    ),
    "h2c is ignored": (
        b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n",
        [200],
    ),
}


@pytest.mark.parametrize("piecewise", [False, True], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(("data", "expected"), CASES.values(), ids=CASES.keys())
async def test_the_frame_of_a_request_decides(server, data, expected, piecewise):
    assert statuses(await send(server, data, len(expected), piecewise=piecewise)) == expected


@pytest.mark.parametrize("name", ["HTTP/2.0", "gzip, chunked", "an absolute target of another host"])
async def test_nothing_after_a_refused_request_is_read_as_a_request(server, name):
    smuggled = b"GET /get-only HTTP/1.1\r\n" + HOST + b"\r\n"
    answer = await send(server, CASES[name][0] + smuggled, 1)
    assert len(statuses(answer)) == 1


async def test_a_refusal_is_a_problem_that_closes_the_connection(server):
    answer = await send(server, CASES["gzip, chunked"][0], 1)
    assert b"application/problem+json" in answer
    assert b'"type":"/problems/not-implemented"' in answer
    assert b"connection: close" in answer.lower()
