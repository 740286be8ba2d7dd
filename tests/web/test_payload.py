"""Small bodies."""

import asyncio

import pytest

LOGIN = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nContent-Type: "


@pytest.mark.parametrize(
    ("kind", "begun"),
    [
        (b"application/json", b'{"username": "'),
        (b"application/x-www-form-urlencoded", b"username="),
        (b"multipart/form-data; boundary=xx", b"--xx\r\nContent-Disposition: form-data; name=username\r\n\r\n"),
    ],
)
async def test_a_small_body_that_does_not_come_is_not_waited_for(make_client, change_settings, kind, begun):
    client = await make_client(change_settings(body_idle_timeout_s=0.2))
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(LOGIN + kind + b"\r\n\r\n" + begun)
    async with asyncio.timeout(5):
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"body-timeout" in await reader.readuntil(b"}")
    writer.close()
