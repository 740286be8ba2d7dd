"""The FastAPI peer: uploads the three usual ways, and a listing. No login, no checks, no fsync."""

import json
import os
import shutil
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiofiles
from fastapi import FastAPI, Request, UploadFile

DATA = Path(os.environ["BENCH_DATA"])
DATABASE = os.environ.get("BENCH_DATABASE", "")

app = FastAPI()
_local = threading.local()


@app.put("/sync/{name}", status_code=201)
async def put_sync(name: str, request: Request) -> dict[str, Any]:
    with (DATA / name).open("wb") as out:
        async for chunk in request.stream():
            out.write(chunk)
    return {"name": name}


@app.put("/aiofiles/{name}", status_code=201)
async def put_aiofiles(name: str, request: Request) -> dict[str, Any]:
    async with aiofiles.open(DATA / name, "wb") as out:
        async for chunk in request.stream():
            await out.write(chunk)
    return {"name": name}


@app.post("/form", status_code=201)
def form(mp3: UploadFile) -> dict[str, Any]:
    name = Path(mp3.filename or "unnamed").name
    with (DATA / name).open("wb") as out:
        shutil.copyfileobj(mp3.file, out, 1 << 20)
    return {"name": name, "size": mp3.size}


@app.get("/tracks")
def page(limit: int = 50, cursor: str | None = None) -> dict[str, Any]:
    """The same query and the same answer as the service, from the same database file; the first user's tracks."""
    where, values = "", [_user()]
    if cursor:
        created_at, _, track_id = cursor.partition("-")
        where = "AND (created_at, track_id) < (?, ?)"
        values += [int(created_at), track_id]
    rows = _connection().execute(
        f"SELECT * FROM tracks WHERE user_id = ? AND is_trashed = 0 {where}"
        " ORDER BY created_at DESC, track_id DESC LIMIT ?",
        [*values, limit + 1],
    )
    found = rows.fetchall()
    items = found[:limit]
    following = None
    if len(found) > limit:
        following = f"/tracks?limit={limit}&cursor={items[-1]['created_at']}-{items[-1]['track_id']}"
    return {"items": [_track(row) for row in items], "next": following, "prev": None, "limit": limit, "count": None}


def _track(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["track_id"],
        **{name: row[name] for name in _SAME},
        "sha256": row["sha256"].hex(),
        "content_type": "audio/mpeg",
        "audio": json.loads(row["audio"]),
        "labels": json.loads(row["labels"]),
        "created_at": _time(row["created_at"]),
        "updated_at": _time(row["updated_at"]),
        "url": f"/tracks/{row['track_id']}",
    }


_SAME = (
    "title",
    "artist",
    "album",
    "filename",
    "size",
    "duration",
    "bitrate",
    "mode",
    "channels",
    "sample_rate",
    "state",
)


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, UTC).isoformat()


def _connection() -> sqlite3.Connection:
    """One read-only connection a thread of the pool."""
    if not hasattr(_local, "connection"):
        _local.connection = sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True)
        _local.connection.row_factory = sqlite3.Row
    connection: sqlite3.Connection = _local.connection
    return connection


def _user() -> Any:
    if not hasattr(_local, "user"):
        _local.user = _connection().execute("SELECT user_id FROM users LIMIT 1").fetchone()[0]
    return _local.user
