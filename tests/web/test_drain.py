"""The counter of running requests, and what is answered when no new ones are taken."""

import asyncio

import pytest

from service.keys import DRAIN
from service.web.drain import Drain


async def test_an_idle_service_need_not_be_waited_for():
    assert await Drain().wait(0.1) is True


async def test_waiting_ends_with_the_last_request():
    drain = Drain()
    drain.enter()
    drain.enter()
    waiting = asyncio.create_task(drain.wait(5))
    drain.leave()
    await asyncio.sleep(0.05)
    assert not waiting.done()
    drain.leave()
    assert await waiting is True


async def test_waiting_ends_in_time_with_requests_still_running():
    drain = Drain()
    drain.enter()
    assert await drain.wait(0.05) is False


async def test_while_draining_nothing_new_is_taken_and_health_is_told(client, auth, content_of):
    client.app[DRAIN].begin()
    refused = await client.put("/spool/song.mp3", data=content_of("jingle"), headers=auth)
    assert refused.status == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert refused.headers["Connection"] == "close"
    assert (await refused.json())["type"] == "/problems/shutting-down"
    ready = await client.get("/readyz")
    assert ready.status == 503
    assert (await ready.json())["checks"]["accepting"] == "failed"
    assert (await client.get("/livez")).status == 200


@pytest.mark.parametrize("path", ["/me", "/nowhere"])
async def test_requests_are_counted_only_while_they_run(client, auth, path):
    await client.get(path, headers=auth)
    assert await client.app[DRAIN].wait(1) is True
