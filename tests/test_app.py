"""The composition root: what it starts it also ends."""

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
