"""The report: what the frames say at once, what decoding says a moment later."""

import asyncio
import dataclasses

import pytest

from service.catalogue import jobs
from service.keys import DATABASE
from tests.rows import add_track


@pytest.fixture
async def client(make_client, settings):
    return await make_client(dataclasses.replace(settings, analyse_processes=1))


async def report_of(client, auth, track_id, *, decoded=True):
    async with asyncio.timeout(20):
        while True:
            answer = await client.get(f"/tracks/{track_id}/report", headers=auth)
            assert answer.status == 200
            report = await answer.json()
            if report["state"] == "ready" or not decoded:
                return answer, report
            await asyncio.sleep(0.05)


async def test_frames_are_known_at_once_and_sound_a_moment_later(client, auth, content_of):
    headers = {**auth, "Content-Type": "audio/mpeg"}
    made = await (await client.post("/tracks?filename=a.mp3", data=content_of("vbr"), headers=headers)).json()
    _, early = await report_of(client, auth, made["id"], decoded=False)
    assert early["frames"]["duration"] == made["duration"]
    answer, report = await report_of(client, auth, made["id"])
    assert report["frames"].items() >= made["audio"].items()
    assert len(report["frames"]["sha256"]) == 64
    decoded = report["decoded"]
    assert decoded["duration"] == pytest.approx(made["duration"], abs=0.03)
    assert (decoded["channels"], decoded["sample_rate"]) == (made["channels"], made["sample_rate"])
    assert -70 < decoded["loudness_lufs"] < 0
    unchanged = await client.get(
        f"/tracks/{made['id']}/report", headers={**auth, "If-None-Match": answer.headers["ETag"]}
    )
    assert unchanged.status == 304


async def test_why_a_track_was_not_decoded(client, auth):
    user_id = (await (await client.get("/me", headers=auth)).json())["id"]
    write = client.app[DATABASE].write
    row = await write(lambda connection: add_track(connection, 1, user_id))  # its blob is missing
    await write(lambda connection: jobs.queue(connection, "measure", [row["track_id"]], now=0))
    async with asyncio.timeout(20):
        while (report := (await report_of(client, auth, row["track_id"]))[1])["decoded_reason"] is None:
            await asyncio.sleep(0.05)
    assert report["decoded"] is None
    assert "No such file" in report["decoded_reason"]


async def test_a_report_of_nothing(client, auth):
    assert (await client.get("/tracks/01ARZ3NDEKTSV4RRFFQ69G5FAV/report", headers=auth)).status == 404
