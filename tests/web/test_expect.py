"""Expect: 100-continue over a plain socket: exactly one final answer, and 100 only where the body is wanted."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from service.app import build_app
from tests.conftest import PASSWORD
from tests.web.conftest import served


class Connection:
    """A socket, and the heads that come back on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        self.reader, self.writer, self.token = reader, writer, token

    def send(self, line: str, *fields: str, token: str | None = "own", body: bytes = b"", version: str = "1.1") -> None:
        auth = [f"Authorization: Bearer {self.token if token == 'own' else token}"] if token else []
        head = "\r\n".join([f"{line} HTTP/{version}", "Host: x", *auth, *fields])
        self.writer.write(f"{head}\r\n\r\n".encode() + body)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await self.reader.readexactly(int(fields.get("content-length", 0)))
        return int(first.split()[1]), fields, body

    async def is_silent(self) -> bool:
        """Whether nothing comes for a moment, or the connection is closed."""
        try:
            return await asyncio.wait_for(self.reader.read(1), 0.3) == b""
        except TimeoutError:
            return True


@pytest.fixture
async def make_connect(change_settings):
    @asynccontextmanager
    async def make(**changes):
        app = build_app(change_settings(**changes))
        writers = []
        async with served(app) as port:
            login = Connection(*await asyncio.open_connection("127.0.0.1", port), "")
            body = b'{"username": "admin", "password": "%s"}' % PASSWORD.encode()
            fields = ("Content-Type: application/json", f"Content-Length: {len(body)}")
            login.send("POST /login", *fields, token=None, body=body)
            status, _, answer = await login.answer()
            assert status == 200, answer
            token = answer.decode().split('"token":"')[1].split('"')[0]
            login.writer.close()

            async def connect() -> Connection:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writers.append(writer)
                return Connection(reader, writer, token)

            yield connect
            for writer in writers:
                writer.close()

    return make


EXPECT = "Expect: 100-continue"
FORM = "Content-Type: multipart/form-data; boundary=x"

DOOMED = [
    ("no token", 401, ["Content-Length: 1000"], {"token": None}),
    ("wrong token", 401, ["Content-Length: 1000"], {"token": "nonsense"}),
    ("too large", 413, ["Content-Length: 5001"], {}),
    ("far too large", 413, ["Content-Length: 9223372036854775807"], {}),
    ("no room on the disk", 507, ["Content-Length: 1000"], {}),
    ("packed", 415, ["Content-Length: 1000", "Content-Encoding: gzip"], {}),
    ("no part of a file", 400, ["Content-Length: 1000", "Content-Range: bytes 0-1999/2000"], {}),
    ("another expectation", 417, ["Content-Length: 1000", "Expect: 200-ok"], {}),
    ("another site", 403, ["Content-Length: 1000", "Cookie: session=x", "Sec-Fetch-Site: cross-site"], {"token": None}),
]


@pytest.mark.parametrize("line", ["PUT /spool/song.mp3", "POST /tracks"])
@pytest.mark.parametrize(("what", "status", "fields", "more"), DOOMED, ids=[each[0] for each in DOOMED])
async def test_a_doomed_upload_is_refused_before_its_body(make_connect, line, what, status, fields, more):
    changes = {"free_space_reserve_bytes": 1 << 60} if status == 507 else {"max_upload_bytes": 5000}
    async with make_connect(**changes) as connect:
        connection = await connect()
        expect = [] if any(each.startswith("Expect") for each in fields) else [EXPECT]
        connection.send(line, *fields, *expect, "Content-Type: audio/mpeg", **more)
        found, head, body = await connection.answer()
        assert found == status, body
        assert head["content-type"] == "application/problem+json"
        assert head["x-request-id"]
        assert head["connection"] == "close", "what comes next on it would be taken for the body"
        assert await connection.is_silent()


async def test_a_form_that_is_too_large_for_all_its_files_is_refused_before_its_body(make_connect):
    async with make_connect(max_upload_bytes=5000) as connect:
        connection = await connect()
        connection.send("POST /tracks", "Content-Length: 99999999", FORM, EXPECT)
        assert (await connection.answer())[0] == 413
        assert await connection.is_silent()
        connection = await connect()
        connection.send("POST /tracks", "Content-Length: 6000", FORM, EXPECT)
        assert (await connection.answer())[0] == 100


async def test_too_many_uploads_are_refused_before_their_bodies(make_connect):
    async with make_connect(max_running_uploads_per_user=1) as connect:
        first, second = await connect(), await connect()
        first.send("PUT /spool/a.mp3", "Content-Length: 1000", EXPECT)
        assert (await first.answer())[0] == 100
        first.writer.write(b"x" * 10)
        await asyncio.sleep(0.1)
        second.send("PUT /spool/b.mp3", "Content-Length: 1000", EXPECT)
        status, head, _ = await second.answer()
        assert status == 429
        assert int(head["retry-after"]) > 0


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_welcome_upload_is_asked_for_its_body_and_answered_once(make_connect, content_of, framing):
    content = content_of("jingle")
    async with make_connect() as connect:
        connection = await connect()
        field = "Transfer-Encoding: chunked" if framing == "chunked" else f"Content-Length: {len(content)}"
        connection.send("PUT /spool/song.mp3", field, "Expect: 100-Continue")
        assert await connection.answer() == (100, {}, b"")
        assert await connection.is_silent()
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content) if framing == "chunked" else content
        connection.writer.write(body)
        status, head, _ = await connection.answer()
        assert status == 201
        assert head.get("connection") != "close"
        connection.send("GET /livez")
        assert (await connection.answer())[0] == 200


async def test_who_does_not_wait_for_100_is_served_too(make_connect, content_of):
    content = content_of("jingle")
    async with make_connect() as connect:
        connection = await connect()
        connection.send("PUT /spool/song.mp3", f"Content-Length: {len(content)}", EXPECT, body=content)
        assert (await connection.answer())[0] == 100
        assert (await connection.answer())[0] == 201


@pytest.mark.parametrize("status", [201, 401])
async def test_http_1_0_knows_no_100(make_connect, content_of, status):
    content = content_of("jingle")
    async with make_connect() as connect:
        connection = await connect()
        more = {"token": None} if status == 401 else {}
        fields = (f"Content-Length: {len(content)}", EXPECT)
        connection.send("PUT /spool/song.mp3", *fields, body=content, version="1.0", **more)
        assert (await connection.answer())[0] == status


async def test_without_expect_the_same_is_refused(make_connect):
    async with make_connect(max_upload_bytes=5000) as connect:
        for fields, more, status in (
            (["Content-Length: 5001"], {}, 413),
            (["Content-Length: 10"], {"token": None}, 401),
        ):
            connection = await connect()
            connection.send("PUT /spool/song.mp3", *fields, **more)
            assert (await connection.answer())[0] == status


async def test_a_refused_body_that_comes_all_the_same_does_no_harm(make_connect):
    async with make_connect(max_upload_bytes=5000) as connect:
        connection = await connect()
        connection.send("PUT /spool/song.mp3", "Content-Length: 6000", EXPECT, body=b"x" * 6000)
        assert (await connection.answer())[0] == 413
        assert await connection.is_silent()


async def test_a_part_of_a_file_is_for_the_door_that_has_names(make_connect):
    fields = ("Content-Length: 1000", "Content-Range: bytes 0-999/2000", "Content-Type: audio/mpeg", EXPECT)
    async with make_connect() as connect:
        for line, status in (("PUT /spool/song.mp3", 100), ("POST /tracks", 400)):
            connection = await connect()
            connection.send(line, *fields)
            assert (await connection.answer())[0] == status
