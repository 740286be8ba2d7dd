"""Bodies over real sockets: slow clients, clients that vanish, and the bytes they had delivered before."""

import asyncio
import socket
import struct
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from service.errors import BodyTimeout, ClientGone, UnsupportedMediaType, YarrrError
from service.server import READ_BUFFER_BYTES
from service.web.body import BUFFER_BYTES, NARROW_BYTES, RECEIVE_BYTES, RequestBody, refuse_content_encoding
from tests.web.conftest import served

SIZE = 200_000


class Reading:
    """A server whose one handler reads a body after a moment, and what it saw."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self.error: YarrrError | None = None
        self.ends: list[bool] = []
        self.done = asyncio.Event()
        self.lag_s = 0.0
        self.idle_timeout_s = 5.0
        self.limit = RECEIVE_BYTES
        self.pause_s = 0.0
        self.buffered = 0
        self.buffer_limits: list[int] = []

    async def handle(self, request: web.Request) -> web.Response:
        await asyncio.sleep(self.lag_s)
        body = RequestBody(request, self.idle_timeout_s, lambda: self.limit)
        try:
            self.buffer_limits.append(request.content.get_read_buffer_limits()[0])
            while chunk := await body.read():
                self.chunks.append(chunk)
                await asyncio.sleep(self.pause_s)
                self.buffer_limits.append(request.content.get_read_buffer_limits()[0])
                self.buffered = max(self.buffered, request.content._size)
                self.ends.append(body.at_end())
        except YarrrError as error:
            self.error = error
            with pytest.raises(type(error)):
                await body.read()
        finally:
            self.done.set()
        return web.Response(text="read")

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks)


@pytest.fixture
async def reading():
    return Reading()


@asynccontextmanager
async def connection(reading):
    app = web.Application()
    app.router.add_route("*", "/", reading.handle)
    async with served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield reader, writer
        finally:
            writer.close()


def head(length: int | None) -> bytes:
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"PUT / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode()


def chunk_of(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("lag_s", [0.0, 0.2])
async def test_a_whole_body_is_read_to_its_end(reading, chunked, lag_s):
    reading.lag_s = lag_s
    data = bytes(range(250)) * 4000
    async with connection(reading) as (reader, writer):
        writer.write(head(None if chunked else len(data)) + (chunk_of(data) + b"0\r\n\r\n" if chunked else data))
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert reading.content == data
    assert reading.error is None
    if not chunked:
        assert reading.ends == [False] * (len(reading.ends) - 1) + [True]


@pytest.mark.parametrize("limit", [NARROW_BYTES, RECEIVE_BYTES])
async def test_what_waits_to_be_read_of_one_of_many_uploads_is_little(reading, limit):
    """64 KiB and not 128 and more: two hundred times."""
    reading.limit = limit
    reading.pause_s = 0.05
    data = bytes(range(250)) * 20_000
    async with connection(reading) as (reader, writer):
        writer.write(head(len(data)) + data)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert reading.content == data
    if limit < RECEIVE_BYTES:
        assert reading.buffered <= NARROW_BYTES + READ_BUFFER_BYTES * 2
    else:
        assert reading.buffered > NARROW_BYTES * 2


async def test_before_it_is_known_how_many_begin_each_may_buffer_less_than_one_receive(reading):
    reading.limit = RECEIVE_BYTES
    reading.pause_s = 0.01
    async with connection(reading) as (reader, writer):
        writer.write(head(SIZE) + bytes(SIZE))
        await reader.readline()
    assert reading.buffer_limits[0] < NARROW_BYTES
    assert reading.buffer_limits[-1] == BUFFER_BYTES  # for one of few, who would only be slower


async def test_an_empty_body_ends_at_once(reading):
    async with connection(reading) as (reader, writer):
        writer.write(head(0))
        await reader.readline()
    assert reading.chunks == []
    assert reading.error is None


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("lag_s", [0.0, 0.3])
@pytest.mark.parametrize("size", [100_000, SIZE])
async def test_all_that_a_vanished_client_delivered_is_read(reading, how, chunked, lag_s, size):
    """With a lag, the bytes lie in aiohttp's buffer when the connection is lost: `unread` finds them there.

    When there are too many for the buffer, aiohttp stops receiving and sees the loss only after they were read.
    """
    reading.lag_s = lag_s
    data = bytes(range(250)) * (size // 250)
    async with connection(reading) as (_, writer):
        writer.write(head(None if chunked else SIZE * 2) + (b"%x\r\n" % (SIZE * 2) if chunked else b"") + data)
        await writer.drain()
        await asyncio.sleep(0.1)
        vanish(writer, how)
        await asyncio.wait_for(reading.done.wait(), 10)
    assert isinstance(reading.error, ClientGone)
    assert reading.content == data


def vanish(writer: asyncio.StreamWriter, how: str) -> None:
    if how == "half-close":
        writer.write_eof()
        return
    if how == "reset":
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_a_broken_chunk_is_no_content(reading):
    """aiohttp's parser does not tell the body that is being read; it only never goes on."""
    reading.idle_timeout_s = 0.2
    async with connection(reading) as (_, writer):
        writer.write(head(None) + chunk_of(b"good"))
        await asyncio.sleep(0.1)
        writer.write(b"zzz\r\nbad")
        await asyncio.wait_for(reading.done.wait(), 10)
    assert isinstance(reading.error, BodyTimeout)
    assert reading.content == b"good"


@pytest.mark.parametrize("sent", [b"", b"some bytes"])
async def test_a_client_that_stops_sending_is_given_up(reading, sent):
    reading.idle_timeout_s = 0.2
    async with connection(reading) as (_, writer):
        writer.write(head(SIZE) + sent)
        await asyncio.wait_for(reading.done.wait(), 5)
    assert isinstance(reading.error, BodyTimeout)
    assert reading.content == sent


async def test_a_slow_client_that_goes_on_sending_is_served(reading):
    reading.idle_timeout_s = 0.3
    async with connection(reading) as (reader, writer):
        writer.write(head(8))
        for _ in range(8):
            await asyncio.sleep(0.1)
            writer.write(b"x")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert reading.content == b"x" * 8


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "deflate", "identity, gzip", "zstd", "nonsense"])
async def test_packed_bodies_are_refused(coding):
    with pytest.raises(UnsupportedMediaType):
        refuse_content_encoding(request_with(("Content-Encoding", coding)))


async def test_a_second_field_hides_no_coding():
    with pytest.raises(UnsupportedMediaType):
        refuse_content_encoding(request_with(("Content-Encoding", "identity"), ("Content-Encoding", "gzip")))


@pytest.mark.parametrize("fields", [(), (("Content-Encoding", "identity"),), (("Content-Encoding", " Identity "),)])
async def test_bodies_as_they_are_are_taken(fields):
    refuse_content_encoding(request_with(*fields))


def request_with(*fields):
    return make_mocked_request("PUT", "/", headers=CIMultiDict(fields))
