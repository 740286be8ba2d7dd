"""Clients that load the service and write down everything it promises them.

A kind of client is a class with one method, `Client.upload`. It sends something in its own way and calls
`Ledger.acknowledge` for each receipt. A client that is told more than receipts (offsets, say) keeps that to itself and
checks it in `Client.audit`, which runs after every restart. `KINDS` is what the runner starts.
"""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, ClassVar

from tests.corpus import id3

FRAME_BYTES = 417  # MPEG-1 layer III, 128 kbit/s, 44.1 kHz, no padding
FRAME_HEADER = b"\xff\xfb\x90\x64"
TIMEOUT_S = 30
BOUNDARY = "a-boundary-that-no-frame-holds-9c1f4e"


class Interrupted(Exception):
    """There is no answer: the server went away. ``sent_bytes`` counts what it had been sent of the body."""

    def __init__(self, sent_bytes: int) -> None:
        super().__init__(f"interrupted after {sent_bytes} bytes")
        self.sent_bytes = sent_bytes


@dataclass(frozen=True, slots=True)
class Content:
    """A valid mp3."""

    name: str
    data: bytes = field(repr=False)
    sha256: str

    @property
    def size(self) -> int:
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a 201 said, and what had been sent."""

    track_id: str
    sha256: str
    size: int
    client: str
    came_at: float  # time.monotonic()


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Contents:
    """Makes mp3 files of random noise between true frame headers: no two alike, except where it is wanted."""

    def __init__(self, seed: str, *, max_bytes: int, shared: int = 6) -> None:
        self._max_bytes = max_bytes
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._shared = [self._make(self._random, "shared") for _ in range(shared)]

    def next(self, rng: random.Random) -> Content:
        """Mostly small ones, some of several megabytes; one in eight has the bytes of another one."""
        if rng.random() < 1 / 8:
            return rng.choice(self._shared)
        with self._lock:
            number = self._random.randrange(1 << 30)
        return self._make(random.Random(number), f"song {number}")

    def _make(self, rng: random.Random, name: str) -> Content:
        least, most = rng.choices(((1, 40), (40, 1500), (1500, 20_116)), (5, 5, 1))[0]
        frames = min(int(least * (most / least) ** rng.random()), self._max_bytes // FRAME_BYTES)
        data = bytearray(rng.randbytes(frames * FRAME_BYTES))
        for place, value in enumerate(FRAME_HEADER):
            data[place::FRAME_BYTES] = bytes((value,)) * frames
        if rng.random() < 0.5:
            data[:0] = id3(padding=rng.randrange(10, 4000))
        content = bytes(data)
        return Content(f"{name}.mp3", content, sha256(content).hexdigest())


class Ledger:
    """All that the clients have seen. Threads share it."""

    def __init__(self) -> None:
        self.receipts: list[Receipt] = []
        self.interrupted = 0
        self.refused: Counter[int] = Counter()
        self.wrong: list[str] = []
        self._lock = threading.Lock()

    def acknowledge(self, client: str, track_id: str, content: Content, track: Mapping[str, Any] | None) -> None:
        """A 201 came. `track` is what it says about the track, None when the connection was cut in its body."""
        with self._lock:
            self.receipts.append(Receipt(track_id, content.sha256, content.size, client, time.monotonic()))
            if track is not None and (track["sha256"], track["size"]) != (content.sha256, content.size):
                self.wrong.append(f"{client}: the receipt of {track_id} is not of what was sent")

    def forget_since(self, moment: float) -> None:
        """The power was gone by then: whatever came later, no real client would have seen."""
        with self._lock:
            self.receipts[:] = [each for each in self.receipts if each.came_at < moment]

    def refuse(self, client: str, answer: Answer) -> None:
        """The answer is no receipt."""
        with self._lock:
            self.refused[answer.status] += 1
            if answer.status not in (429, 503, 507):
                self.wrong.append(f"{client}: {answer.status} {answer.body[:300]!r}")

    def interrupt(self, error: Interrupted) -> None:
        """A request has no answer; it counts if some of its body had been sent."""
        with self._lock:
            self.interrupted += error.sent_bytes > 0

    @property
    def acknowledged_bytes(self) -> int:
        return sum(each.size for each in self.receipts)


class Connection:
    """HTTP to the server as one user. It reconnects by itself after an error."""

    def __init__(self, port: int, token: str) -> None:
        self._http = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        self._token = token

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: Iterable[bytes] = (),
    ) -> Answer:
        """Send a request, piece by piece, and read the answer. Without ``Content-Length`` the body is sent chunked.

        Raises:
            Interrupted: there is no answer.
        """
        headers = headers or {}
        sent_bytes = 0
        is_chunked = method in ("PUT", "POST", "PATCH") and "Content-Length" not in headers
        try:
            self._http.putrequest(method, path, skip_accept_encoding=True)
            for name, value in {"Authorization": f"Bearer {self._token}", **headers}.items():
                self._http.putheader(name, value)
            if is_chunked:
                self._http.putheader("Transfer-Encoding", "chunked")
            self._http.endheaders()
            try:
                for piece in body:
                    self._http.send(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
                    sent_bytes += len(piece)
                if is_chunked:
                    self._http.send(b"0\r\n\r\n")
            except ConnectionError:
                pass  # an answer may have come before the end of the body
            return self._read(self._http.getresponse())
        except (OSError, HTTPException) as error:
            self.close()
            raise Interrupted(sent_bytes) from error

    def _read(self, response: HTTPResponse) -> Answer:
        headers = {name.lower(): value for name, value in response.getheaders()}
        try:
            body = response.read()
        except (OSError, HTTPException):
            if response.status != 201:
                raise
            body = b""  # the head of a 201 is a receipt already
            self.close()
        if headers.get("connection") == "close":
            self.close()
        return Answer(response.status, headers, body)

    def close(self) -> None:
        """Hang up."""
        self._http.close()


class Client:
    """One client, in a thread of its own."""

    name: ClassVar[str]

    def __init__(self, contents: Contents, ledger: Ledger, crashed: threading.Event, rng: random.Random) -> None:
        self.contents = contents
        self.ledger = ledger
        self.rng = rng
        self._crashed = crashed

    def upload(self, connection: Connection) -> None:
        """Send one thing, and hand over what is answered.

        Raises:
            Interrupted: the server went away.
        """
        raise NotImplementedError

    def audit(self, connection: Connection) -> list[str]:
        """What the server had told this client before the crash and does not keep now. Nothing else runs meanwhile."""
        return []

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """`data` as it comes from a fast line, a slow line, or a client that falls silent for a while."""
        kind = self.rng.choices(("fast", "slow", "stalled"), (5, 3, 2))[0]
        most = len(data) if kind == "fast" else max(1, len(data) // self.rng.randrange(2, 20))
        stall_at = self.rng.randrange(len(data)) if kind == "stalled" else len(data)
        offset = 0
        while offset < len(data):
            piece = data[offset : offset + self.rng.randrange(1, min(most, 1 << 18) + 1)]
            yield piece
            offset += len(piece)
            if kind == "slow":
                self._crashed.wait(self.rng.uniform(0, 0.03))
            elif offset > stall_at:
                self._crashed.wait(self.rng.uniform(0.05, 1))
                stall_at = len(data)

    def take_receipt(self, answer: Answer, content: Content) -> None:
        """The answer to one whole file."""
        if answer.status != 201:
            self.ledger.refuse(self.name, answer)
            return
        track_id = answer.headers["location"].removeprefix("/tracks/")
        self.ledger.acknowledge(self.name, track_id, content, answer.json() if answer.body else None)


class Put(Client):
    """``PUT /spool/{filename}`` with Content-Length, as curl -T does."""

    name = "put"

    def upload(self, connection: Connection) -> None:
        content = self.contents.next(self.rng)
        path = f"/spool/{content.name.replace(' ', '%20')}"
        headers = {"Content-Length": str(content.size)}
        self.take_receipt(connection.request("PUT", path, headers, self.pieces(content.data)), content)


class ChunkedPut(Client):
    """The same, of unknown length."""

    name = "chunked put"

    def upload(self, connection: Connection) -> None:
        content = self.contents.next(self.rng)
        path = f"/spool/{content.name.replace(' ', '%20')}"
        self.take_receipt(connection.request("PUT", path, {}, self.pieces(content.data)), content)


class RawPost(Client):
    """``POST /tracks`` of audio/mpeg, with a digest."""

    name = "raw post"

    def upload(self, connection: Connection) -> None:
        content = self.contents.next(self.rng)
        headers = {"Content-Type": "audio/mpeg", "Content-Length": str(content.size)}
        self.take_receipt(connection.request("POST", "/tracks", headers, self.pieces(content.data)), content)


class Form(Client):
    """``POST /tracks`` of a form with one file."""

    name = "form"
    files = 1

    def upload(self, connection: Connection) -> None:
        contents = [self.contents.next(self.rng) for _ in range(self.files)]
        body = b"".join(_part(each) for each in contents) + f"--{BOUNDARY}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        if self.rng.random() < 0.5:
            headers["Content-Length"] = str(len(body))
        self.take_answer(connection.request("POST", "/tracks", headers, self.pieces(body)), contents)

    def take_answer(self, answer: Answer, contents: list[Content]) -> None:
        """One receipt, or 207 with one a file."""
        if len(contents) == 1:
            self.take_receipt(answer, contents[0])
            return
        if answer.status != 207:
            self.ledger.refuse(self.name, answer)
            return
        receipt = answer.json()
        for item, content in zip(receipt["items"], contents, strict=receipt["complete"]):
            if item["status"] == 201:
                self.ledger.acknowledge(self.name, item["track"]["id"], content, item["track"])
            else:
                self.ledger.refuse(self.name, Answer(item["status"], {}, json.dumps(item).encode()))


class TwoFiles(Form):
    """``POST /tracks`` of a form with two files."""

    name = "form of two"
    files = 2


class Tus(Client):
    """tus 1.0.0: creates, appends in several pieces, goes on after a crash, and notes every offset it was told."""

    name = "tus"
    creation_path = "/uploads"
    content_type = "application/offset+octet-stream"
    fields: ClassVar[dict[str, str]] = {"Tus-Resumable": "1.0.0"}

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._content: Content | None = None
        self._url = ""
        self._told = 0

    def upload(self, connection: Connection) -> None:
        if self._content is None:
            self._create(connection)
        else:
            self._ask(connection)
        while self._content is not None:
            self._append(connection)

    def audit(self, connection: Connection) -> list[str]:
        if self._content is None:
            return []
        answer = connection.request("HEAD", self._url, self.fields)
        offset = int(answer.headers.get("upload-offset", -1))
        if offset >= self._told:
            self._told = offset
            return []
        return [f"{self.name}: {self._url} was told {self._told} and is {answer.status} at {offset}"]

    def creation_fields(self, content: Content) -> dict[str, str]:
        return {**self.fields, "Upload-Length": str(content.size)}

    def append_fields(self, content: Content, end: int) -> dict[str, str]:
        return {**self.fields, "Upload-Offset": str(self._told), "Content-Type": self.content_type}

    def _create(self, connection: Connection) -> None:
        content = self.contents.next(self.rng)
        fields = {**self.creation_fields(content), "Content-Length": "0"}
        answer = connection.request("POST", self.creation_path, fields)
        if answer.status != 201:
            self.ledger.refuse(self.name, answer)
            return
        self._content, self._url, self._told = content, answer.headers["location"], 0

    def _ask(self, connection: Connection) -> None:
        """Where to go on after something broke off."""
        answer = connection.request("HEAD", self._url, self.fields)
        offset = int(answer.headers.get("upload-offset", -1))
        if offset < self._told:
            self.ledger.wrong.append(f"{self.name}: {self._url} went back from {self._told} to {offset}")
            self._content = None
        elif "content-location" in answer.headers:
            self._finish(answer)
        else:
            self._told = offset

    def _append(self, connection: Connection) -> None:
        content = self._content
        assert content is not None
        end = min(content.size, self._told + self.rng.randrange(1, content.size + 1))
        piece = content.data[self._told : end]
        fields = {**self.append_fields(content, end), "Content-Length": str(len(piece))}
        answer = connection.request("PATCH", self._url, fields, self.pieces(piece) if piece else ())
        if answer.status not in (201, 204):
            self.ledger.refuse(self.name, answer)
            self._content = None if answer.status in (404, 409, 410) else content
        elif end == content.size:
            self._finish(answer)
        else:
            self._told = int(answer.headers["upload-offset"])

    def _finish(self, answer: Answer) -> None:
        assert self._content is not None
        location = answer.headers.get("content-location") or answer.headers["location"]
        self.ledger.acknowledge(self.name, location.removeprefix("/tracks/"), self._content, None)
        self._content = None


class Draft(Tus):
    """The IETF draft, interop version 6, whose answers to appends tell offsets."""

    name = "draft"
    creation_path = "/tracks"
    content_type = "application/partial-upload"
    fields: ClassVar[dict[str, str]] = {"Upload-Draft-Interop-Version": "6"}

    def creation_fields(self, content: Content) -> dict[str, str]:
        length = {"Upload-Length": str(content.size)}
        return {**self.fields, **length, "Upload-Complete": "?0", "Content-Type": "audio/mpeg"}

    def append_fields(self, content: Content, end: int) -> dict[str, str]:
        return {**super().append_fields(content, end), "Upload-Complete": "?1" if end == content.size else "?0"}


def _part(content: Content) -> bytes:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="mp3"; filename="{content.name}"\r\n\r\n'
    return head.encode() + content.data + b"\r\n"


KINDS: tuple[type[Client], ...] = (Put, ChunkedPut, RawPost, Form, TwoFiles, Tus, Draft, Tus)
"""The eight clients that run at once."""


class Crowd:
    """Runs the clients: all of them while the gate is open, none when `close_gate` has returned."""

    def __init__(self, kinds: Iterable[type[Client]], contents: Contents, ledger: Ledger, seed: str) -> None:
        self._ledger = ledger
        self._crashed = threading.Event()
        self._gate = threading.Event()
        self._ended = False
        self._active = 0
        self._turn = threading.Condition()
        self._failures: list[BaseException] = []
        self.clients = [
            kind(contents, ledger, self._crashed, random.Random(f"{seed}/{number}"))
            for number, kind in enumerate(kinds)
        ]
        self._threads: list[threading.Thread] = []

    def start(self, port: int, token: str) -> None:
        """Start the threads; they wait at the gate."""
        for client in self.clients:
            thread = threading.Thread(target=self._work, args=(client, Connection(port, token)), daemon=True)
            thread.start()
            self._threads.append(thread)

    def open_gate(self) -> None:
        """Let them upload."""
        self._crashed.clear()
        self._gate.set()

    def close_gate(self) -> None:
        """No new uploads; the server is gone, so those that run are soon over."""
        self._gate.clear()
        self._crashed.set()
        with self._turn:
            if not self._turn.wait_for(lambda: not self._active, TIMEOUT_S * 2):
                raise TimeoutError("a client does not end")
        if self._failures:
            raise self._failures[0]

    def end(self) -> None:
        """Let the threads end."""
        self._ended = True
        self._crashed.set()
        self._gate.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def _work(self, client: Client, connection: Connection) -> None:
        while not self._ended:
            self._gate.wait()
            with self._turn:
                self._active += 1
            try:
                while self._gate.is_set() and not self._ended:
                    self._upload(client, connection)
            except BaseException as error:  # told by the next close_gate
                self._failures.append(error)
                return
            finally:
                connection.close()
                with self._turn:
                    self._active -= 1
                    self._turn.notify_all()

    def _upload(self, client: Client, connection: Connection) -> None:
        try:
            client.upload(connection)
        except Interrupted as error:
            self._ledger.interrupt(error)
            self._crashed.wait(0.005)
