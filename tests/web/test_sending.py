import asyncio
import os
import socket

import pytest
from aiohttp import ClientPayloadError, web

from service.web.sending import FileResponse, is_in_memory


async def test_bytes_of_a_file_never_overtake_a_head_that_waits(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"body" * 100)
    ours, theirs = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        response = FileResponse(descriptor, 0, 400, status=200, headers={})
        transport.write(b"head" * 1_000_000)  # more than a socket holds
        while len(theirs.recv(1 << 20)) == 1 << 20:
            pass  # now there is room in the socket, but the rest of the head comes first
        assert transport.get_write_buffer_size() > 0
        assert response._send_now(transport, 400) == 0
    finally:
        transport.abort()
        theirs.close()
        os.close(descriptor)


def test_what_was_just_written_is_in_memory_and_what_is_not_there_is_not(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(100_000))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert is_in_memory(descriptor, 0, 100_000)
        assert not is_in_memory(descriptor, 0, 100_001)
        assert not is_in_memory(-1, 0, 1)
    finally:
        os.close(descriptor)


async def test_a_disk_that_fails_cuts_the_answer_short_and_is_logged(tmp_path, aiohttp_client, caplog):
    async def send(request):
        response = FileResponse(descriptor, 0, 400, status=200, headers={})  # a directory, which the kernel reads not
        await response.send(request)
        return response

    app = web.Application()
    app.router.add_get("/tracks/1/audio", send)
    client = await aiohttp_client(app)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        answer = await client.get("/tracks/1/audio")
        with pytest.raises(ClientPayloadError):
            await answer.read()
    finally:
        os.close(descriptor)
    assert "/tracks/1/audio: the file cannot be sent from byte 0 on: [Errno" in caplog.text


async def test_a_client_that_goes_away_is_not_logged(tmp_path, aiohttp_client, caplog):
    ended = asyncio.Event()

    async def send(request):
        try:
            response = FileResponse(descriptor, 0, 50_000_000, status=200, headers={})
            await response.send(request)
        finally:
            ended.set()
        return response

    app = web.Application()
    app.router.add_get("/", send)
    client = await aiohttp_client(app)
    path = tmp_path / "file"
    path.write_bytes(b"")
    os.truncate(path, 50_000_000)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        answer = await client.get("/")
        answer.connection.transport.abort()
        await asyncio.wait_for(ended.wait(), 10)
    finally:
        os.close(descriptor)
    assert "cannot be sent" not in caplog.text


@pytest.mark.parametrize("has_sendfile", [True, False])
@pytest.mark.parametrize(("prefix", "count"), [(0, 1000), (5, 0), (5, 7), (3_000_000, 0), (3_000_000, 3_000_000)])
async def test_the_prefix_comes_first_and_counts(tmp_path, aiohttp_client, monkeypatch, has_sendfile, prefix, count):
    before, content = os.urandom(prefix), os.urandom(count + 20)
    path = tmp_path / "file"
    path.write_bytes(content)
    sizes = []

    async def send(request):
        response = FileResponse(descriptor, 10, count, status=200, headers={}, prefix=before)
        await response.send(request)
        sizes.append(request._payload_writer.output_size)
        return response

    app = web.Application()
    app.router.add_get("/", send)
    client = await aiohttp_client(app)
    if not has_sendfile:
        monkeypatch.setattr(os, "sendfile", _blocking)
        monkeypatch.setattr(asyncio.get_running_loop(), "sendfile", _not_here, raising=False)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for _ in range(2):  # on one connection, so that nothing was left of the first
            answer = await client.get("/")
            assert answer.headers["Content-Length"] == str(prefix + count)
            assert await answer.read() == before + content[10 : 10 + count]
    finally:
        os.close(descriptor)
    assert all(prefix + count < size < prefix + count + 1000 for size in sizes)


def _blocking(*_):
    raise BlockingIOError


async def _not_here(*_, **__):
    raise NotImplementedError


async def test_a_client_that_goes_away_within_the_prefix_gets_no_more(tmp_path, aiohttp_client, caplog):
    ended = asyncio.Event()

    async def send(request):
        try:
            response = FileResponse(descriptor, 0, 50_000_000, status=200, headers={}, prefix=bytes(50_000_000))
            await response.send(request)
        finally:
            ended.set()
        return response

    app = web.Application()
    app.router.add_get("/", send)
    client = await aiohttp_client(app)
    path = tmp_path / "file"
    path.write_bytes(b"")
    os.truncate(path, 50_000_000)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        answer = await client.get("/")
        assert not ended.is_set()
        answer.connection.transport.abort()
        await asyncio.wait_for(ended.wait(), 10)
    finally:
        os.close(descriptor)
    assert "cannot be sent" not in caplog.text
