"""The client against services that say what no service of ours says on request."""

import asyncio
import hashlib
import io
import json
import time
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import ClassVar

import pytest
from aiohttp import web

from service.client import api as api_module
from service.client import patience
from service.client.files import SENT_BYTES, Source
from service.client.problems import Problem
from service.client.progress import Show
from service.client.upload import Options, _upload

TOKEN = "secret-token-5d41402a"
UPLOAD = "0123456789abcdef" * 2
CONTENT = b"\xff\xfb\x90\x64" * 100_000


class Service:
    """Takes one upload as tus says, after the answers it was told to give first: (method, answer) in order."""

    def __init__(self, *answers, lies=False):
        self.answers = list(answers)
        self.lies = lies
        self.requests = []
        self.content = None
        self.tracks = []

    async def handle(self, request):
        self.requests.append((request.method, request.path, time.monotonic()))
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        if self.answers and self.answers[0][0] == request.method:
            answer = self.answers.pop(0)[1]
            return await answer(self, request) if callable(answer) else answer
        return await getattr(self, request.method.lower())(request)

    async def get(self, request):
        if request.path == "/tracks":
            wanted = request.query["sha256"]
            return web.json_response({"items": [each for each in self.tracks if each["sha256"] == wanted]})
        return web.json_response({"state": "finished", "track": self.tracks[-1]})

    async def post(self, request):
        self.length = int(request.headers["Upload-Length"])
        self.content = b""
        return web.Response(status=201, headers={"Location": f"/uploads/{UPLOAD}"})

    async def head(self, _request):
        if self.content is None:
            return web.Response(status=404)
        return web.Response(headers={"Upload-Offset": str(len(self.content)), "Upload-Length": str(self.length)})

    async def patch(self, request):
        assert int(request.headers["Upload-Offset"]) == len(self.content)
        self.content += await request.read()
        if len(self.content) == self.length:
            digest = hashlib.sha256(self.content).hexdigest()
            self.tracks.append({"id": "T1", "sha256": "00" * 32 if self.lies else digest})
        return web.Response(status=204, headers={"Upload-Offset": str(len(self.content))})

    async def delete(self, _request):
        self.content = None
        return web.Response(status=204)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(patience, "FIRST_S", 0.02)


@pytest.fixture
def run(tmp_path, aiohttp_server):
    """A function that uploads files to a service: exit code, the lines of JSON, what people saw."""

    servers = {}

    async def run(service, *paths, **options):
        if service not in servers:
            app = web.Application(client_max_size=1 << 30)
            app.router.add_route("*", "/{path:.*}", service.handle)
            servers[service] = await aiohttp_server(app)
        server = servers[service]
        stream, output = io.StringIO(), io.StringIO()
        code = await _upload(
            Options(
                tuple(map(str, paths)),
                str(server.make_url("")).rstrip("/"),
                TOKEN,
                tmp_path / "state",
                **{"retries": 3, **options},
            ),
            Show(stream, output, is_json=True),
        )
        assert TOKEN not in stream.getvalue() + output.getvalue()
        return code, [json.loads(line) for line in output.getvalue().splitlines()], stream.getvalue()

    return run


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "song.mp3"
    path.write_bytes(CONTENT)
    return path


def problem(status, code="some-problem", detail="Some words.", **headers):
    """Answers with a problem, each time anew."""
    body = json.dumps({"type": f"/problems/{code}", "title": "A title", "status": status, "detail": detail})

    async def answer(_service, _request):
        return web.Response(status=status, text=body, content_type="application/problem+json", headers=headers)

    return answer


def dropped(after=0):
    """The connection breaks after so many bytes, which count."""

    async def drop(service, request):
        service.content += await request.content.readexactly(after)
        request.transport.abort()
        return web.Response()

    return drop


async def test_a_file_arrives_whole_and_is_verified(run, song):
    service = Service()
    code, (line,), _ = await run(service, song)
    assert code == 0
    assert service.content == CONTENT
    assert (line["status"], line["track"]) == ("uploaded", "T1")
    assert line["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert [method for method, *_ in service.requests] == ["GET", "POST", "PATCH", "HEAD", "GET"]


async def test_what_arrived_is_not_sent_again(run, song):
    service = Service(("PATCH", dropped(100_000)), ("PATCH", dropped(200_000)))
    code, _, told = await run(service, song)
    assert code == 0
    assert service.content == CONTENT
    assert told.count("The connection broke off; again in") == 2


@pytest.mark.parametrize("status", [408, 409, 423, 429, 500, 502, 503, 507])
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
async def test_passing_trouble_is_waited_out(run, song, method, status):
    service = Service((method, problem(status)), (method, problem(status)))
    code, _, told = await run(service, song, jobs=1)
    assert code == 0
    assert service.content == CONTENT
    assert told.count("Some words.; again in") == 2


@pytest.mark.parametrize("retry_after", ["1", lambda: formatdate(time.time() + 2, usegmt=True)])
async def test_retry_after_is_honoured(run, song, retry_after):
    value = retry_after() if callable(retry_after) else retry_after
    service = Service(("POST", problem(503, **{"Retry-After": value})))
    assert (await run(service, song))[0] == 0
    first, second = [at for method, _, at in service.requests if method == "POST"]
    assert 0.9 <= second - first < 3


@pytest.mark.parametrize("value", ["soon", "-1", "9" * 40, "Mon, 99 Foo 2026"])
async def test_a_retry_after_that_is_none_is_as_good_as_none(value):
    assert api_module._seconds(value) is None


async def test_it_gives_up_without_progress_and_remembers_the_upload(run, song, tmp_path):
    service = Service(*[("PATCH", problem(503, detail="Busy."))] * 4)
    code, (line,), _ = await run(service, song)
    assert code == 1
    assert line["problem"] == {"code": "given-up", "detail": "Busy."}
    assert [method for method, *_ in service.requests].count("PATCH") == 4
    code, (line,), _ = await run(service, song)
    assert code == 0
    assert [method for method, *_ in service.requests].count("POST") == 1


@pytest.mark.parametrize("status", [400, 403, 413, 415, 422, 460])
async def test_other_refusals_are_final_and_in_the_words_of_the_service(run, song, status, tmp_path):
    service = Service(("PATCH", problem(status, "not-an-mp3", "This is text.")))
    code, (line,), _ = await run(service, song)
    assert code == 1
    assert line["problem"] == {"code": "not-an-mp3", "detail": "This is text."}
    assert [method for method, *_ in service.requests].count("PATCH") == 1


async def test_a_wrong_token_is_said_once_to_the_service(run, song, tmp_path):
    other = tmp_path / "other.mp3"
    other.write_bytes(b"other")
    service = Service(*[("GET", problem(401, "unauthenticated", "The token is not valid."))] * 2)
    code, lines, _ = await run(service, song, other, jobs=1)
    assert code == 1
    assert [line["problem"]["code"] for line in lines] == ["unauthenticated"] * 2
    assert len(service.requests) == 1


async def test_a_track_with_other_bytes_is_a_failure(run, song):
    code, (line,), _ = await run(Service(lies=True), song)
    assert code == 1
    assert line["problem"]["code"] == "digest-mismatch"


async def test_what_is_there_is_skipped(run, song):
    service = Service()
    await run(service, song)
    code, (line,), _ = await run(service, song)
    assert code == 0
    assert (line["status"], line["track"]) == ("skipped", "T1")
    assert [method for method, *_ in service.requests].count("POST") == 1


async def test_the_same_content_twice_in_one_run_is_sent_once(run, song, tmp_path):
    copy = tmp_path / "copy.mp3"
    copy.write_bytes(CONTENT)
    service = Service()
    code, lines, _ = await run(service, song, copy, song)
    assert code == 0
    assert sorted(line["status"] for line in lines) == ["skipped", "skipped", "uploaded"]
    assert [method for method, *_ in service.requests].count("PATCH") == 1


async def test_an_upload_the_service_has_lost_begins_anew(run, song):
    async def lose(service, request):
        await dropped(100_000)(service, request)
        service.content = None
        return web.Response()

    service = Service(("PATCH", lose))
    code, _, _ = await run(service, song)
    assert code == 0
    assert service.content == CONTENT
    assert [method for method, *_ in service.requests].count("POST") == 2


async def test_a_service_that_loses_everything_is_left_alone(run, song):
    code, (line,), _ = await run(Service(*[("PATCH", problem(404))] * 20), song, retries=100)
    assert code == 1
    assert line["problem"]["code"] == "upload-expired"


async def test_a_refusal_whose_answer_was_lost_is_found_out(run, song):
    refused = {"state": "refused", "problem": {"code": "not-an-mp3", "detail": "This is text."}}
    service = Service(("PATCH", dropped(1000)), ("HEAD", web.Response(status=410)), ("GET", web.json_response(refused)))
    service.answers.insert(0, ("GET", web.json_response({"items": []})))
    code, (line,), _ = await run(service, song)
    assert code == 1
    assert line["problem"] == {"code": "not-an-mp3", "detail": "This is text."}


async def test_no_redirect_gets_the_token(run, song):
    elsewhere = web.Response(status=307, headers={"Location": "https://elsewhere.example/tracks"})
    code, (line,), _ = await run(Service(("GET", elsewhere)), song)
    assert code == 1
    assert line["problem"]["code"] == "redirected"
    assert "https://elsewhere.example/tracks" in line["problem"]["detail"]


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(text="<h1>It works!</h1>", content_type="text/html"),
        web.json_response({"hello": "world"}),
        web.json_response({"items": [5]}),
        web.json_response({"items": [{"id": 1}]}),
        web.Response(text="[" * 100_000),
        web.Response(status=404, text="Not Found"),
    ],
    ids=["page", "object", "number", "no track", "deep", "404"],
)
async def test_another_kind_of_service_is_told_from_ours(run, song, answer):
    code, (line,), _ = await run(Service(("GET", answer)), song)
    assert code == 1
    assert line["problem"]["code"] == "no-service"


@pytest.mark.parametrize("location", ["", "/uploads/", "https://elsewhere.example/uploads/..", "/uploads/%2e%2e"])
async def test_a_location_that_names_no_upload_is_not_followed(run, song, location):
    created = web.Response(status=201, headers={"Location": location})
    code, (line,), _ = await run(Service(("POST", created)), song)
    assert code == 1
    assert line["problem"]["code"] == "no-service"


async def test_a_file_that_changes_on_its_way_is_taken_back(run, song):
    async def change(service, request):
        song.write_bytes(b"other")
        return await dropped(100_000)(service, request)

    service = Service(("PATCH", change))
    code, (line,), _ = await run(service, song)
    assert code == 1
    assert line["problem"]["code"] == "file-changed"
    assert service.requests[-1][0] == "DELETE"


async def test_a_service_that_falls_silent_is_not_waited_for_for_ever(run, song, tmp_path):
    song.write_bytes(CONTENT * 100)

    async def stall(_service, request):
        await request.content.readany()
        await asyncio.sleep(1.5)

    service = Service(("PATCH", stall))
    started_at = time.monotonic()
    code, _, told = await run(service, song, stall_timeout_s=0.5)
    assert code == 0
    assert "does not answer in time" in told
    assert time.monotonic() - started_at < 5


async def test_fewer_files_go_at_once_when_the_service_takes_no_more(run, tmp_path):
    paths = [tmp_path / f"{number}.mp3" for number in range(12)]
    for number, path in enumerate(paths):
        path.write_bytes(f"{number}".encode() * 1000)
    running, most, refused = 0, 0, 0

    class Narrow(Service):
        """Each upload under an id of its own; two at once."""

        uploads: ClassVar[dict] = {}

        async def post(self, request):
            upload_id = f"{len(self.uploads):032x}"
            self.uploads[upload_id] = [b"", int(request.headers["Upload-Length"])]
            return web.Response(status=201, headers={"Location": f"/uploads/{upload_id}"})

        async def head(self, request):
            content, length = self.uploads[request.path[-32:]]
            return web.Response(headers={"Upload-Offset": str(len(content)), "Upload-Length": str(length)})

        async def patch(self, request):
            nonlocal running, most, refused
            if running == 2:
                refused += 1
                return await problem(429, "too-many-uploads", **{"Retry-After": "60"})(self, request)
            async with counted():
                await asyncio.sleep(0.02)
                self.uploads[request.path[-32:]][0] += await request.read()
            return web.Response(status=204)

        async def get(self, request):
            if request.path == "/tracks":
                return web.json_response({"items": []})
            digest = hashlib.sha256(self.uploads[request.path[-32:]][0]).hexdigest()
            return web.json_response({"state": "finished", "track": {"id": "T1", "sha256": digest}})

    @asynccontextmanager
    async def counted():
        nonlocal running, most
        running += 1
        most = max(most, running)
        yield
        running -= 1

    code, lines, _ = await run(Narrow(), *paths, jobs=8)
    assert code == 0
    assert [line["status"] for line in lines] == ["uploaded"] * 12
    assert most == 2
    assert 1 <= refused <= 6


async def test_a_server_that_is_not_there_fails_all_files_after_one_patience(tmp_path, unused_tcp_port):
    paths = []
    for number in range(50):
        paths.append(tmp_path / f"{number}.mp3")
        paths[-1].write_bytes(b"%d" % number)
    output = io.StringIO()
    started_at = time.monotonic()
    options = Options(
        tuple(map(str, paths)), f"http://127.0.0.1:{unused_tcp_port}", TOKEN, tmp_path / "state", jobs=2, retries=2
    )
    assert await _upload(options, Show(io.StringIO(), output, is_json=True)) == 1
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert len(lines) == 50
    assert {line["problem"]["code"] for line in lines} == {"given-up"}
    assert "No connection to 127.0.0.1" in lines[0]["problem"]["detail"]
    assert time.monotonic() - started_at < 3


async def test_an_empty_folder_is_no_failure(run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert (await run(Service(), tmp_path / "empty"))[:2] == (0, [])


async def test_a_disk_that_fails_under_the_file_is_not_taken_for_the_network(run, song, monkeypatch):
    read = Source._read

    def fail(self, size, offset):
        if size <= SENT_BYTES and offset:  # it could be hashed, and now it cannot be sent
            raise Problem("unreadable", "Input/output error")
        return read(self, size, offset)

    monkeypatch.setattr(Source, "_read", fail)
    service = Service()
    code, (line,), told = await run(service, song)
    assert code == 1
    assert line["problem"] == {"code": "unreadable", "detail": "Input/output error"}
    assert "again in" not in told
