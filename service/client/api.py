"""The service as its clients see it: tracks by digest, and uploads by tus 1.0.0. One method is one request."""

import asyncio
import json
import urllib.request
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from service.client.problems import Gone, Problem, Trouble

TUS = {"Tus-Resumable": "1.0.0"}
APPEND_TYPE = "application/offset+octet-stream"

CONNECT_TIMEOUT_S = 10
ANSWER_TIMEOUT_S = 60
FINISH_BYTES_PER_S = 10_000_000  # at the very least: what is buffered is sent, flushed and judged before the answer
MAX_ANSWER_BYTES = 1 << 20

PASSING = frozenset({408, 409, 423, 425, 429, 500, 502, 503, 504, 507})
"""Statuses that may be others the next time. A 409 is a wrong offset: the next look tells the right one."""

FOR_ALL = frozenset({401, 403, 407})
GONE = frozenset({404, 410})
MAX_RETRY_AFTER_S = 3600


@dataclass(frozen=True, slots=True)
class Stored:
    """A track of the service, with the digest of its bytes in hexadecimal digits."""

    track_id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How far an upload is; ``track`` is there when it is finished."""

    offset: int
    track: Stored | None = None


class Api:
    """Requests to one service as one user. Every method raises `Trouble` or `Problem`.

    The token goes to that service only: no redirect is followed, and of a ``Location`` only the upload's id is taken.
    """

    def __init__(self, server: str, token: str, *, jobs: int, stall_timeout_s: float) -> None:
        self._base = server.rstrip("/")
        self._stall_timeout_s = stall_timeout_s
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": "yarrr-upload"},
            connector=aiohttp.TCPConnector(limit=2 * jobs),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=_proxy_for(self._base),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def find_track(self, sha256: str) -> Stored | None:
        """An own track with this content, not in the trash."""
        page = await self._json(f"/tracks?sha256={sha256}&fields=id,sha256&limit=1")
        items = page.get("items")
        if not isinstance(items, list):
            raise _no_service()
        return _stored(items[0]) if items else None

    async def create(self, name: str, size: int, sha256: str) -> str:
        """Begin an upload of a file of that name, size in bytes and digest; its id."""
        fields = {
            **TUS,
            "Upload-Length": str(size),
            "Upload-Metadata": f"filename {_base64(name.encode())},filetype {_base64(b'audio/mpeg')}",
            "Repr-Digest": f"sha-256=:{_base64(bytes.fromhex(sha256))}:",
        }
        async with self._request("POST", "/uploads", headers=fields) as answer:
            await _check(answer)
            upload_id = urlsplit(answer.headers.get("Location", "")).path.rpartition("/")[2]
        if not upload_id.isalnum():
            raise _no_service()
        return upload_id

    async def look(self, upload_id: str) -> Standing:
        """How far the upload is. The service first ends whoever still writes to it.

        Raises:
            Gone: it is not there any more.
        """
        async with self._request("HEAD", f"/uploads/{upload_id}", headers=TUS) as answer:
            status = answer.status
            if status not in GONE:
                await _check(answer)
            offset, length = (_number(answer.headers.get(name)) for name in ("Upload-Offset", "Upload-Length"))
        if status in GONE:  # the answer to a HEAD has no words
            async with self._request("GET", f"/uploads/{upload_id}") as answer:
                raise await _gone(answer)
        if offset is None or length is None:
            raise _no_service()
        return Standing(offset, await self._track_of(upload_id) if offset == length else None)

    async def send(
        self, upload_id: str, offset: int, size: int, chunks: AsyncIterator[bytes], tell: Callable[[int], None]
    ) -> None:
        """Append all that is left, from `offset` up to the `size` of the file, in one request.

        `tell` is given the offset up to which bytes were handed to the network; they may not have arrived.

        Raises:
            Gone: the upload is not there any more.
        """
        headers = {
            **TUS,
            "Content-Type": APPEND_TYPE,
            "Content-Length": str(size - offset),
            "Upload-Offset": str(offset),
        }
        loop = asyncio.get_running_loop()
        async with _in_time(self._stall_timeout_s) as deadline:

            async def body() -> AsyncIterator[bytes]:
                position = offset
                async for chunk in chunks:
                    yield chunk
                    position += len(chunk)
                    tell(position)
                    finish_s = 0 if position < size else size / FINISH_BYTES_PER_S
                    deadline.reschedule(loop.time() + self._stall_timeout_s + finish_s)

            async with self._session.patch(
                self._url(f"/uploads/{upload_id}"),
                data=body() if offset < size else b"",
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
            ) as answer:
                if answer.status in GONE:
                    raise await _gone(answer)
                await _check(answer)

    async def terminate(self, upload_id: str) -> None:
        """End an upload, and have its bytes removed."""
        async with self._request("DELETE", f"/uploads/{upload_id}", headers=TUS) as answer:
            if answer.status not in GONE:
                await _check(answer)

    async def _track_of(self, upload_id: str) -> Stored | None:
        """The track the upload has become; None while the service still has to be told that this was all."""
        upload = await self._json(f"/uploads/{upload_id}")
        if upload.get("state") != "finished":
            return None
        track = upload.get("track")
        if isinstance(track, str):
            track = await self._json(f"/tracks/{track}")
        if track is None:
            raise Problem("track-deleted", "The track was deleted before its receipt could be read.")
        return _stored(track)

    async def _json(self, path: str) -> dict[str, Any]:
        async with self._request("GET", path) as answer:
            await _check(answer)
            document = await _document(answer)
        if not document:
            raise _no_service()
        return document

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
        async with (
            _in_time(ANSWER_TIMEOUT_S),
            self._session.request(
                method, self._url(path), headers=headers, allow_redirects=False, timeout=timeout
            ) as answer,
        ):
            yield answer

    def _url(self, path: str) -> URL:
        return URL(self._base + path, encoded=True)


@asynccontextmanager
async def _in_time(timeout_s: float) -> AsyncIterator[asyncio.Timeout]:
    """Translates what the network does to us."""
    try:
        async with asyncio.timeout(timeout_s) as deadline:
            yield deadline
    except TimeoutError:
        raise Trouble("The service does not answer in time") from None
    except aiohttp.ClientConnectorSSLError as error:
        raise Problem("tls", f"No secure connection: {error.os_error}", is_for_all=True) from None
    except aiohttp.ClientConnectorCertificateError as error:
        detail = f"The server's certificate is not valid: {error.certificate_error}"
        raise Problem("tls", detail, is_for_all=True) from None
    except aiohttp.ClientConnectorError as error:
        raise Trouble(f"No connection to {error.host}:{error.port}") from None
    except (aiohttp.ClientError, OSError) as error:
        if isinstance(error.__cause__, Problem):  # not the network: the file, while it was being sent
            raise error.__cause__ from None
        raise Trouble("The connection broke off") from None


async def _check(answer: aiohttp.ClientResponse) -> None:
    """Raise unless the answer says that it worked."""
    status = answer.status
    if status < 300:
        return
    if status < 400:
        detail = f"The server sends us to {answer.headers.get('Location', 'nowhere')}; name that with --server"
        raise Problem("redirected", detail, is_for_all=True)
    document = await _document(answer)
    if status in GONE and not document and answer.method != "HEAD":
        raise _no_service()
    code, detail = _code_and_detail(document, f"http-{status}")
    detail = detail or f"{status} {answer.reason}"
    if status in PASSING:
        is_queue = status == 429 or code == "overloaded"
        raise Trouble(detail, retry_after=_seconds(answer.headers.get("Retry-After")), is_queue=is_queue)
    raise Problem(code, detail, is_for_all=status in FOR_ALL)


async def _gone(answer: aiohttp.ClientResponse) -> Gone:
    """The upload is over; an answer that says why names the problem of the content."""
    document = await _document(answer)
    reason = document.get("reason") or document.get("problem")  # of a problem that was answered, or of the upload
    return Gone(Problem(*_code_and_detail(reason, "refused")) if isinstance(reason, dict) else None)


async def _document(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """The JSON object in the body; an empty one if there is none."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            return {}
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _code_and_detail(document: Mapping[str, Any], default: str) -> tuple[str, str]:
    code = document.get("code") or str(document.get("type", "")).rpartition("/")[2]
    return str(code or default), str(document.get("detail") or document.get("title") or "")


def _stored(track: Any) -> Stored:
    if isinstance(track, dict) and isinstance(track.get("id"), str) and isinstance(track.get("sha256"), str):
        return Stored(track["id"], track["sha256"])
    raise _no_service()


def _no_service() -> Problem:
    return Problem("no-service", "There is no yarrr service at this address", is_for_all=True)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else None


def _seconds(text: str | None) -> float | None:
    """``Retry-After`` (RFC 9110 section 10.2.3) in seconds from now."""
    if text is None:
        return None
    seconds: float | None = _number(text)
    if seconds is None:
        try:
            seconds = (parsedate_to_datetime(text).astimezone(UTC) - datetime.now(UTC)).total_seconds()
        except ValueError:
            return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER_S)


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _proxy_for(server: str) -> str | None:
    """The proxy that the environment names for that server, as curl would have it."""
    parts = urlsplit(server)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)
