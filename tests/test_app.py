"""The composition root: what it starts it also ends."""

import dataclasses
import shutil
import sqlite3

from service import app as composition
from service.app import build_app


async def test_a_sweeper_that_died_does_not_break_the_shutdown(settings, monkeypatch, aiohttp_client, caplog):
    async def die(*_arguments):
        raise KeyError("what nobody thought of")

    monkeypatch.setattr(composition, "sweep_for_ever", die)
    app = build_app(settings)
    client = await aiohttp_client(app)
    assert (await client.get("/livez")).status == 200
    await client.close()  # raises what the shutdown raises
    assert "a background task had died" in caplog.text


async def test_the_backup_of_a_running_service_has_every_track_of_its_moment(
    client, auth, content_of, settings, tmp_path, make_client
):
    """As README.md says: first the catalogue, then the blobs, whatever happens in between."""
    names = ("jingle", "mono")
    receipts = [await client.put("/spool/a.mp3", data=content_of(name), headers=auth) for name in names]
    restored = tmp_path / "restored"
    restored.mkdir()
    with sqlite3.connect(settings.data_dir / "catalogue.db") as connection:
        connection.execute("VACUUM INTO ?", (str(restored / "catalogue.db"),))
    connection.close()
    await client.put("/spool/later.mp3", data=content_of("vbr"), headers=auth)
    gone = await client.delete(receipts[0].headers["Location"], headers=auth)
    assert gone.status in (200, 204)
    shutil.copytree(settings.data_dir / "blobs", restored / "blobs")
    copy = await make_client(dataclasses.replace(settings, data_dir=restored))
    assert len((await (await copy.get("/tracks", headers=auth)).json())["items"]) == 2
    for name, receipt in zip(names, receipts, strict=True):
        audio = await copy.get(receipt.headers["Location"] + "/audio", headers=auth)
        assert await audio.read() == content_of(name)
