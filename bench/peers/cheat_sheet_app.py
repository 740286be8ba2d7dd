"""The handler every aiohttp tutorial shows: read_chunk() with its default of 8 KiB, a blocking write for each."""

import os
import sys
from pathlib import Path

from aiohttp import BodyPartReader, web

DATA = Path(os.environ["BENCH_DATA"])


async def store(request: web.Request) -> web.Response:
    reader = await request.multipart()
    field = await reader.next()
    assert isinstance(field, BodyPartReader)
    assert field.name == "mp3"
    size = 0
    with (DATA / Path(field.filename or "unnamed").name).open("wb") as out:
        while True:
            chunk = await field.read_chunk()
            if not chunk:
                break
            size += len(chunk)
            out.write(chunk)
    return web.Response(status=201, text=f"stored {size} bytes")


if __name__ == "__main__":
    app = web.Application()
    app.router.add_post("/form", store)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
