"""multipart/form-data, part by part as it streams by (RFC 7578), whatever the order of the fields."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aiohttp import BodyPartReader, ClientPayloadError, MultipartReader, web

from service.errors import BodyTimeout, ClientGone, MalformedBody, TooLarge
from service.web.body import RECEIVE_BYTES, narrow, unread

CHUNK_BYTES = 256 << 10
NARROW_CHUNK_BYTES = 32 << 10
"""aiohttp buffers twice this, and the reader of a part holds it once more."""
MAX_FIELD_BYTES = 64 << 10
MAX_FIELDS = 50
MAX_FILES = 20


@dataclass(frozen=True, slots=True)
class Field:
    """A part without a file name."""

    name: str
    value: str


class FilePart:
    """A part with a file name: a body to be read. ``content_digest`` is its own field of that name, if it has one."""

    def __init__(
        self, part: BodyPartReader, request: web.Request, idle_timeout_s: float, limit: Callable[[], int]
    ) -> None:
        self.name = part.name or ""
        self.filename = part.filename
        self.headers = part.headers
        self._part = part
        self._request = request
        self._limit = limit
        self._idle_timeout_s = idle_timeout_s
        self._is_broken = False
        self._has_begun = False

    async def read(self) -> bytes:
        """The next bytes of the part; empty at its end.

        Raises:
            BodyTimeout, ClientGone: as `RequestBody.read` does.
            MalformedBody: the form ends without its last boundary.
        """
        if self._is_broken:
            raise ClientGone("The connection broke off.")
        if self._part.at_eof():
            return b""
        try:
            chunk = b""
            async with asyncio.timeout(self._idle_timeout_s):
                while not chunk and not self._part.at_eof():  # of a form that was cut off it may be empty in between
                    chunk = bytes(await self._part.read_chunk(self._chunk_bytes()))
                    self._has_begun = True
            return chunk
        except TimeoutError:
            raise BodyTimeout("No bytes came for too long.") from None
        except (ConnectionError, asyncio.IncompleteReadError, ClientPayloadError):
            self._is_broken = True
            if rest := self._delivered():
                return rest
            raise ClientGone("The connection broke off.") from None
        except (ValueError, AssertionError, RuntimeError, LookupError) as error:
            raise MalformedBody(f"Not multipart/form-data: {error}.") from None

    def _chunk_bytes(self) -> int:
        if self._limit() < RECEIVE_BYTES:
            narrow(self._request)
            return NARROW_CHUNK_BYTES
        # How many begin at once shows with the second piece; what aiohttp buffers grows by a large one for good.
        return CHUNK_BYTES if self._has_begun else NARROW_CHUNK_BYTES

    def _delivered(self) -> bytes:
        """What the reader holds back and what it has not seen, up to the boundary.

        Without a boundary the last bytes may be the beginning of one: nobody can tell, so they are left out.
        """
        rest = (self._part._prev_chunk or b"") + unread(self._request.content)
        boundary = b"\r\n" + self._part._boundary
        end = rest.find(boundary)
        rest = rest[:end] if end >= 0 else rest[: -len(boundary)]
        # In front of the first bytes the reader puts a line break, so that a boundary may follow the header at once.
        return rest if self._has_begun else rest[2:]

    async def skip(self, most: int) -> int:
        """Read the rest of the part and forget it, but stop once it is more than `most` bytes; how many were read.

        Raises as `read` does.
        """
        count = 0
        while count <= most and (chunk := await self.read()):
            count += len(chunk)
        return count

    def at_end(self) -> bool:
        """Whether the last byte of the part has been read."""
        return self._part.at_eof()


async def parts(
    request: web.Request, idle_timeout_s: float, limit: Callable[[], int] = lambda: RECEIVE_BYTES
) -> AsyncIterator[Field | FilePart]:
    """The parts in the order they come. A file part must be read before the next part is asked for.

    `limit` tells how many bytes one upload may hold at the moment: below `RECEIVE_BYTES` less is received.

    Raises:
        MalformedBody: not multipart/form-data, or broken.
        TooLarge: too many parts, or a field over 64 KiB.
        BodyTimeout, ClientGone: the network.
    """
    reader = _reader(request)
    fields = files = 0
    while (part := await _next(reader, idle_timeout_s)) is not None:
        if not isinstance(part, BodyPartReader):
            raise MalformedBody("A part of the form is itself multipart.")
        if part.headers.get("Content-Transfer-Encoding", "binary").lower() not in ("binary", "8bit", "7bit"):
            raise MalformedBody("A part has a Content-Transfer-Encoding (RFC 7578 section 4.7 has none).")
        if part.filename is None:
            fields += 1
            _limit(fields, MAX_FIELDS, "fields")
            yield Field(part.name or "", await _text(FilePart(part, request, idle_timeout_s, limit)))
        else:
            files += 1
            _limit(files, MAX_FILES, "files")
            yield FilePart(part, request, idle_timeout_s, limit)


def _reader(request: web.Request) -> MultipartReader:
    try:
        return MultipartReader(request.headers, request.content)
    except (ValueError, AssertionError, LookupError) as error:
        raise MalformedBody(f"Not multipart/form-data: {error}.") from None


async def _next(reader: MultipartReader, idle_timeout_s: float) -> MultipartReader | BodyPartReader | None:
    try:
        async with asyncio.timeout(idle_timeout_s):
            return await reader.next()
    except TimeoutError:
        raise BodyTimeout("No bytes came for too long.") from None
    except (ConnectionError, asyncio.IncompleteReadError, ClientPayloadError):
        raise ClientGone("The connection broke off.") from None
    except (web.HTTPException, ValueError, AssertionError, RuntimeError, LookupError) as error:
        raise MalformedBody(f"Not multipart/form-data: {error}.") from None
    except Exception as error:
        if type(error).__module__.startswith("aiohttp."):
            raise MalformedBody(f"Not multipart/form-data: {error}.") from None
        raise


async def _text(body: FilePart) -> str:
    text = bytearray()
    while chunk := await body.read():
        text += chunk
        if len(text) > MAX_FIELD_BYTES:
            raise TooLarge("A field of the form is too large.", limit_bytes=MAX_FIELD_BYTES)
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise MalformedBody("A field of the form is not UTF-8 text.") from None


def _limit(count: int, most: int, what: str) -> None:
    if count > most:
        raise TooLarge(f"The form has too many {what}.", limit=most)
