"""Bodies as they come from the network. Every way a network can fail becomes an error of ours here, and only here."""

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import ClientPayloadError, web
from aiohttp.streams import StreamReader

from service.errors import BodyTimeout, ClientGone, UnsupportedMediaType


def refuse_content_encoding(request: web.Request) -> None:
    """Raise unless the body is sent as it is: offsets, lengths and digests count the bytes of the mp3 itself."""
    coding = ", ".join(request.headers.getall("Content-Encoding", [])).strip().lower()
    if coding not in ("", "identity"):
        raise UnsupportedMediaType("Send the file as it is, without Content-Encoding.", content_encoding=coding)


def break_off(request: web.Request) -> None:
    """Make the body of a request end now, as if its client had gone; what it delivered can still be read.

    A body of which everything has come ends by itself, and its client waits for the answer.
    """
    if request.transport is not None and not request.content.is_eof():
        request.transport.abort()


RECEIVE_BYTES = 256 << 10
"""What asyncio takes from a socket in one call."""
NARROW_BYTES = 64 << 10
BUFFER_BYTES = 64 << 10
"""aiohttp buffers up to twice this, and what one call brings, for one of few uploads; a connection begins with less."""


def narrow(request: web.Request) -> None:
    """Receive less at once from now on: with hundreds of uploads it is these buffers that fill the memory."""
    transport: Any = request.transport
    if hasattr(transport, "max_size"):  # asyncio's own; there is no public way
        transport.max_size = NARROW_BYTES


class EmptyBody:
    """The body of a request whose body does not count, or that has none."""

    async def read(self) -> bytes:
        return b""

    def at_end(self) -> bool:
        return True


class RequestBody:
    """The whole body of a request."""

    def __init__(
        self, request: web.Request, idle_timeout_s: float, limit: Callable[[], int] = lambda: RECEIVE_BYTES
    ) -> None:
        """`limit` tells how many bytes one upload may hold at the moment: below `RECEIVE_BYTES` less is received."""
        self._request = request
        self._limit = limit
        self._content: StreamReader = request.content
        self._idle_timeout_s = idle_timeout_s
        self._is_broken = False
        self._has_begun = False

    async def read(self) -> bytes:
        """The next bytes, whatever has arrived; empty at the end.

        Raises:
            BodyTimeout: nothing came for the idle time.
            ClientGone: the connection is lost, and all it delivered has been read.
        """
        if self._is_broken:
            raise ClientGone("The connection broke off.")
        try:
            async with asyncio.timeout(self._idle_timeout_s):
                if self._limit() < RECEIVE_BYTES:
                    narrow(self._request)
                elif self._has_begun:  # only now it shows how many begin at once
                    self._content.set_read_chunk_size(BUFFER_BYTES)
                chunk = await self._content.readany()
                self._has_begun = True
                return chunk
        except TimeoutError:
            raise BodyTimeout("No bytes came for too long.") from None
        except (ConnectionError, asyncio.IncompleteReadError, ClientPayloadError):
            self._is_broken = True
            if rest := unread(self._content):
                return rest
            raise ClientGone("The connection broke off.") from None

    def at_end(self) -> bool:
        """Whether the last byte has been read and the body is known to be over."""
        return self._content.at_eof()


def unread(content: StreamReader) -> bytes:
    """What was delivered before a connection was lost, and not yet read.

    Once a connection is lost every public read raises, although bytes may still be buffered: up to half a megabyte that
    the client counts as sent. aiohttp has no public way to them; tests/web/test_body.py pins this one.
    """
    return content._read_nowait(-1) if content._buffer else b""
