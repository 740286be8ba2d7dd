"""The proxy view before front ends that really listen on a socket: well-behaved, broken and hostile ones."""

import asyncio
from contextlib import asynccontextmanager, suppress

import aiohttp
import jinja2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, unused_port

from service.errors import NotFound
from service.keys import PAGES, SETTINGS, STARTED
from service.settings import Settings
from service.views import proxy
from service.web.problems import problems_middleware

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"


class Upstream:
    """A front end that answers each connection with fixed bytes or as a function likes, and remembers what it heard."""

    def __init__(self, answer):
        self.answer = answer
        self.heads = []
        self.closed = asyncio.Event()
        self.sent = 0

    async def serve(self, reader, writer):
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(self.answer, bytes):
                writer.write(self.answer)
                await writer.drain()
            else:
                await self.answer(self, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed.set()
            writer.close()

    @property
    def head(self):
        return self.heads[-1].decode()


class Owned(web.View):
    async def get(self):
        return web.Response(text="ours")


class Missing(web.View):
    async def get(self):
        raise NotFound("Nothing there.")


async def remember_start(request, response):
    request[STARTED] = True


@asynccontextmanager
async def service_before(url, port=None):
    app = web.Application(middlewares=[problems_middleware])
    app[SETTINGS] = Settings(frontend_url=url)
    app[PAGES] = jinja2.Environment(loader=jinja2.PackageLoader("service"), autoescape=True)
    app.on_response_prepare.append(remember_start)
    app.cleanup_ctx.append(proxy.frontend_session)
    app.router.add_view("/tracks", Owned)
    app.router.add_view("/tracks/{track_id}", Missing)
    app.router.add_view("/{path:.*}", proxy.Frontend)
    async with TestClient(TestServer(app, port=port), auto_decompress=False) as client:
        yield client


@pytest.fixture
async def front():
    """`front(answer)` starts a front end with that answer and the service before it: (client, upstream)."""
    open_things = []

    async def start(answer, path=""):
        upstream = Upstream(answer)
        server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        context = service_before(f"http://127.0.0.1:{port}{path}")
        client = await context.__aenter__()
        open_things.append((server, context))
        return client, upstream

    yield start
    for server, context in open_things:
        await context.__aexit__(None, None, None)
        server.close()


async def test_a_page_is_passed_on_with_the_chosen_headers_only(front):
    client, upstream = await front(
        OK + b'ETag: "1"\r\nCache-Control: max-age=60\r\nVary: Accept\r\nVary: Cookie\r\nServer: secret/1\r\n'
        b"Set-Cookie: session=planted\r\nX-Powered-By: x\r\nStrict-Transport-Security: max-age=1\r\n"
        b"Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nContent-Length: 5\r\n\r\nhello"
    )
    response = await client.get("/a/page?x=%20&y=1+2")
    assert (response.status, await response.text()) == (200, "hello")
    assert response.headers["ETag"] == '"1"'
    assert response.headers["Cache-Control"] == "max-age=60"
    assert response.headers["Content-Length"] == "5"
    assert response.headers.getall("Vary") == ["Accept", "Cookie"]
    for name in ("Set-Cookie", "X-Powered-By", "X-Hop", "Keep-Alive", "Strict-Transport-Security"):
        assert name not in response.headers
    assert "secret" not in response.headers["Server"]
    assert upstream.head.startswith("GET /a/page?x=%20&y=1+2 HTTP/1.1\r\n")


async def test_a_front_end_below_a_path_gets_the_path_first(front):
    client, upstream = await front(OK + b"Content-Length: 0\r\n\r\n", path="/app")
    await client.get("/a%2Fb/%C3%A9")
    assert upstream.head.startswith("GET /app/a%2Fb/%C3%A9 HTTP/1.1\r\n")


async def test_what_the_api_owns_never_reaches_the_front_end(front):
    client, upstream = await front(OK + b"Content-Length: 0\r\n\r\n")
    assert await (await client.get("/tracks")).text() == "ours"
    assert (await client.get("/tracks/7")).status == 404
    wrong_method = await client.delete("/tracks")
    assert (wrong_method.status, wrong_method.headers["Allow"]) == (405, "GET")
    assert upstream.heads == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_only_get_and_head_are_resent(front, method):
    client, upstream = await front(OK + b"Content-Length: 0\r\n\r\n")
    response = await client.request(method, "/elsewhere", data=b"x")
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")
    assert upstream.heads == []


async def test_head_is_resent_as_head(front):
    client, upstream = await front(OK + b"Content-Length: 1234\r\n\r\n")
    response = await client.head("/page")
    assert upstream.head.startswith("HEAD /page ")
    assert response.headers["Content-Length"] == "1234"
    assert await response.read() == b""


async def test_our_credentials_stay_here(front):
    client, upstream = await front(OK + b"Content-Length: 0\r\n\r\n")
    await client.get(
        "/page",
        headers=[
            ("Cookie", "theme=dark; session=OURS; __Host-session=OURS;  session =OURS"),
            ("Cookie", "session=OURS; lang=en; sessions=theirs"),
            ("Authorization", "Bearer OURS"),
            ("Proxy-Authorization", "Basic OURS"),
            ("X-Custom", "no"),
            ("Connection", "X-Custom"),
        ],
    )
    assert "OURS" not in upstream.head
    assert "X-Custom" not in upstream.head
    assert "Cookie: theme=dark; lang=en; sessions=theirs\r\n" in upstream.head


async def test_forwarded_headers_are_ours_not_the_clients(front):
    client, upstream = await front(OK + b"Content-Length: 0\r\n\r\n")
    await client.get(
        "/page",
        headers={
            "X-Forwarded-For": "6.6.6.6",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "evil.test",
            "Forwarded": "for=6.6.6.6",
        },
    )
    assert "6.6.6.6" not in upstream.head
    assert "evil.test" not in upstream.head
    assert "X-Forwarded-For: 127.0.0.1\r\n" in upstream.head
    assert "X-Forwarded-Proto: http\r\n" in upstream.head
    assert f"X-Forwarded-Host: 127.0.0.1:{client.port}\r\n" in upstream.head


async def test_conditions_and_ranges_pass(front):
    client, upstream = await front(
        b'HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nETag: "1"\r\nContent-Length: 2\r\n\r\nab'
    )
    response = await client.get("/page", headers={"Range": "bytes=0-1", "If-Range": '"1"', "Accept-Language": "de"})
    assert response.status == 206
    assert response.headers["Content-Range"] == "bytes 0-1/9"
    for line in ("Range: bytes=0-1", 'If-Range: "1"', "Accept-Language: de"):
        assert f"\r\n{line}\r\n" in upstream.head


async def test_not_modified_passes_without_a_body(front):
    client, _ = await front(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n')
    response = await client.get("/page", headers={"If-None-Match": '"1"'})
    assert (response.status, response.headers["ETag"]) == (304, '"1"')


async def test_packed_bodies_stay_packed_and_are_not_asked_for_unbidden(front):
    body = b"\x1f\x8bnot really"
    client, upstream = await front(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    response = await client.get("/page", headers={"Accept-Encoding": "gzip"})
    assert await response.read() == body
    assert response.headers["Content-Encoding"] == "gzip"
    await client.get("/page", skip_auto_headers=["Accept-Encoding", "User-Agent", "Accept"])
    assert "Accept-Encoding" not in upstream.head
    assert "User-Agent" not in upstream.head


async def test_redirects_are_passed_on_not_followed(front):
    client, upstream = await front(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\n\r\n")
    response = await client.get("/page", allow_redirects=False)
    assert (response.status, response.headers["Location"]) == (302, "http://127.0.0.1:1/x")
    assert len(upstream.heads) == 1


async def test_the_front_ends_own_policy_stands(front):
    client, _ = await front(OK + b"Content-Security-Policy: default-src 'self'\r\nContent-Length: 0\r\n\r\n")
    assert (await client.get("/")).headers["Content-Security-Policy"] == "default-src 'self'"


async def test_bytes_that_are_no_text_in_a_request_do_no_harm(front):
    client, upstream = await front(OK + b"Content-Length: 0\r\n\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"GET /page HTTP/1.1\r\nHost: \xff\r\nUser-Agent: \xff\r\nCookie: a=\xff\r\n\r\n")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200 ")
    writer.close()
    assert "User-Agent" not in upstream.head
    assert "Cookie" not in upstream.head


async def test_chunked_answers_are_streamed(front):
    go_on = asyncio.Event()

    async def answer(upstream, reader, writer):
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await go_on.wait()
        writer.write(b"6\r\nsecond\r\n0\r\n\r\n")

    client, _ = await front(answer)
    response = await client.get("/events")
    assert await response.content.readany() == b"first"
    go_on.set()
    assert await response.content.read() == b"second"


async def test_a_front_end_that_is_down_is_a_readable_502():
    async with service_before("http://127.0.0.1:1") as client:
        response = await client.get("/page")
        assert response.status == 502
        assert response.content_type == "application/problem+json"
        problem = await response.json()
        assert problem["type"] == "/problems/frontend-unavailable"
        assert "127.0.0.1" not in problem["detail"]
        assert (await client.get("/tracks")).status == 200


FAULTS = {
    "silence": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "NUL in a header": OK + b"ETag: a\0b\r\nContent-Length: 0\r\n\r\n",
    "bare CR in a header": OK + b"ETag: a\rSet-Cookie: x=1\r\nContent-Length: 0\r\n\r\n",
    "bytes that are no text in a header": OK + b"Location: /caf\xe9\r\nContent-Length: 0\r\n\r\n",
    "a huge header": OK + b"ETag: " + b"a" * 100_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "ten thousand headers": OK + b"X: 1\r\n" * 10_000 + b"Content-Length: 0\r\n\r\n",
    "a status that is none": b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a negative length": OK + b"Content-Length: -1\r\n\r\n",
    "cut in the head": OK,
}


@pytest.mark.parametrize("answer", FAULTS.values(), ids=FAULTS.keys())
async def test_an_answer_that_cannot_be_passed_on_is_a_502(front, answer):
    client, _ = await front(answer)
    response = await client.get("/page")
    assert response.status == 502
    assert (await response.json())["type"] == "/problems/frontend-unavailable"


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

CUTS = {
    "cut below its length": (OK + b"Content-Length: 100\r\n\r\n", b"only this", b""),
    "cut before any byte": (OK + b"Content-Length: 100\r\n\r\n", b"", b""),
    "cut between chunks": (CHUNKED, b"5\r\nhello\r\n", b""),
    "cut in a chunk": (CHUNKED, b"5\r\nhello\r\n", b"ff\r\nhello"),
    "a chunk size that is none": (CHUNKED, b"5\r\nhello\r\n", b"zz\r\nhello\r\n0\r\n\r\n"),
    "a negative chunk": (CHUNKED, b"5\r\nhello\r\n", b"-5\r\nhello\r\n0\r\n\r\n"),
    "a chunk size without end": (CHUNKED, b"5\r\nhello\r\n", b"0" * 100_000),
}


@pytest.mark.parametrize("pieces", CUTS.values(), ids=CUTS.keys())
async def test_a_broken_body_never_looks_complete_and_never_becomes_a_second_answer(front, pieces):
    async def answer(upstream, reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)  # so that the answer of the service has begun before it breaks

    client, _ = await front(answer)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"GET /page HTTP/1.1\r\nHost: x\r\n\r\nGET /tracks HTTP/1.1\r\nHost: x\r\n\r\n")
    received = b""
    with suppress(ConnectionError):
        while block := await reader.read(65536):
            received += block
    writer.close()
    assert received.count(b"HTTP/1.1") <= 1
    assert b"ours" not in received
    assert not received.endswith(b"0\r\n\r\n")
    if pieces[1]:
        assert b" 200 OK" in received
        assert b"hello" in received or b"only this" in received


async def test_what_follows_a_body_is_not_passed_on(front):
    client, _ = await front(OK + b"Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    for _ in range(3):
        assert await (await client.get("/page")).read() == b"hello"


async def test_length_and_chunked_together_do_not_confuse_our_own_framing(front):
    client, _ = await front(
        OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    )
    response = await client.get("/page")
    if response.status == 200:
        assert "Content-Length" not in response.headers
        assert await response.read() == b"hello"
    else:
        assert response.status == 502


async def test_dripping_the_head_ends_in_a_502(front, monkeypatch):
    monkeypatch.setattr(proxy, "HEADERS_TIMEOUT_S", 0.3)

    async def drip(upstream, reader, writer):
        writer.write(OK)
        for _ in range(100):
            writer.write(b"X: 1\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)

    client, upstream = await front(drip)
    assert (await client.get("/page")).status == 502
    await asyncio.wait_for(upstream.closed.wait(), 2)


async def test_endless_interim_answers_end_in_a_502(front, monkeypatch):
    monkeypatch.setattr(proxy, "HEADERS_TIMEOUT_S", 0.3)

    async def flood(upstream, reader, writer):
        while True:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
            await writer.drain()
            await asyncio.sleep(0)

    client, upstream = await front(flood)
    assert (await client.get("/page")).status == 502
    await asyncio.wait_for(upstream.closed.wait(), 2)


async def endless(upstream, reader, writer):
    writer.write(OK + b"\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()
        upstream.sent += 65536


async def test_an_endless_answer_is_read_only_as_fast_as_the_client_reads(front):
    client, upstream = await front(endless)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=1024)
    writer.write(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    before = -1
    while upstream.sent != before:  # the buffers of four sockets fill up, then nothing moves
        before = upstream.sent
        await asyncio.sleep(0.2)
    assert upstream.sent < 64 << 20
    assert (await client.get("/tracks")).status == 200
    writer.transport.abort()
    await asyncio.wait_for(upstream.closed.wait(), 5)


async def test_the_front_end_is_let_go_when_the_client_leaves_a_silent_answer(front, monkeypatch):
    monkeypatch.setattr(proxy, "LOOK_EVERY_S", 0.05)

    async def silent(upstream, reader, writer):
        writer.write(OK + b"\r\n" if "/head" in upstream.head else b"")
        await reader.read()

    client, upstream = await front(silent)
    for path in (b"/head-only", b"/nothing"):
        upstream.closed.clear()
        _, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        while not upstream.heads or path not in upstream.heads[-1]:
            await asyncio.sleep(0.01)
        writer.close()
        await asyncio.wait_for(upstream.closed.wait(), 2)


async def test_a_service_that_is_its_own_front_end_says_so():
    port = unused_port()
    async with service_before(f"http://127.0.0.1:{port}", port=port) as client:
        response = await client.get("/page")
        assert response.status == 502
        assert "leads back" in await response.text()


async def test_kept_connections_are_used_again(front):
    async def answer(upstream, reader, writer):
        while True:
            writer.write(OK + b"Content-Length: 2\r\n\r\nok")
            upstream.heads.append(await reader.readuntil(b"\r\n\r\n"))
            upstream.sent += 1

    client, upstream = await front(answer)
    for _ in range(3):
        assert await (await client.get("/page")).read() == b"ok"
    assert upstream.sent == 2


async def test_old_clients_get_the_body_until_the_connection_closes(front):
    client, _ = await front(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"GET /page HTTP/1.0\r\n\r\n")
    received = await reader.read()
    writer.close()
    assert received.endswith(b"\r\n\r\nhello")


def test_hop_by_hop_and_cookie_setting_headers_are_on_no_list():
    forbidden = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "set-cookie"}
    assert not forbidden & {name.lower() for name in (*proxy.REQUEST_HEADERS, *proxy.RESPONSE_HEADERS)}
    assert "authorization" not in {name.lower() for name in proxy.REQUEST_HEADERS}
    assert aiohttp.__version__ >= "3.14.5"


async def test_the_whole_service_with_a_front_end_behind_it(make_client, change_settings):
    upstream = Upstream(OK + b"Content-Security-Policy: script-src 'self'\r\nContent-Length: 4\r\n\r\npage")
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = await make_client(change_settings(frontend_url=f"http://127.0.0.1:{port}"))
    page = await client.get("/somewhere/deep?x=1")
    assert (page.status, await page.text()) == (200, "page")
    assert page.headers["Content-Security-Policy"] == "script-src 'self'"
    assert page.headers["X-Request-ID"] in upstream.head
    for path, status in {"/livez": 200, "/me": 401, "/problems/none": 404, "/static/none": 404}.items():
        assert (await client.get(path)).status == status
    assert (await client.post("/somewhere")).status == 405
    assert len(upstream.heads) == 1
    server.close()


async def test_without_a_front_end_nothing_is_resent(client):
    assert (await client.get("/somewhere")).status == 404
