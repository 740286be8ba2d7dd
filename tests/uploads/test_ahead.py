"""A body read ahead gives every byte once, whether it came at once or not."""

import asyncio

import pytest

from service.errors import ClientGone
from service.uploads.ahead import Ahead
from tests.uploads.conftest import Bytes, Slow


async def rest_of(ahead: Ahead) -> bytes:
    return b"".join([chunk async for chunk in _chunks(ahead)])


async def _chunks(ahead):
    while chunk := await ahead.read():
        yield chunk


@pytest.mark.parametrize("chunks", [(), (b"abc",), (b"ab", b"c")])
async def test_a_body_that_is_there_has_arrived_whole(chunks):
    ahead = Ahead(Bytes(*chunks))
    assert await ahead.arrives_whole(limit=lambda: 3, within_s=1)
    assert ahead.chunks == list(chunks)
    assert ahead.at_end() == (not chunks)
    assert await rest_of(ahead) == b"".join(chunks)
    assert ahead.at_end()


async def test_a_body_over_the_limit_is_read_no_further_and_given_whole():
    body = Bytes(b"ab", b"cd", b"ef")
    ahead = Ahead(body)
    assert not await ahead.arrives_whole(limit=lambda: 3, within_s=1)
    assert await body.read() == b"ef"
    assert await rest_of(ahead) == b"abcd"


async def test_a_late_body_is_not_waited_for_and_given_whole():
    ahead = Ahead(Slow(b"ab", b"cd", b"ef"))
    assert not await ahead.arrives_whole(limit=lambda: 100, within_s=0.07)
    assert not ahead.at_end()
    assert await rest_of(ahead) == b"abcdef"


async def test_a_body_that_broke_off_says_so_behind_its_bytes():
    ahead = Ahead(Bytes(b"ab", ClientGone("gone")))
    assert not await ahead.arrives_whole(limit=lambda: 100, within_s=1)
    assert await ahead.read() == b"ab"
    assert not ahead.at_end()
    with pytest.raises(ClientGone):
        await ahead.read()


async def test_who_is_cancelled_leaves_no_reader_behind():
    task = asyncio.create_task(Ahead(Slow(b"ab")).arrives_whole(limit=lambda: 100, within_s=1))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
