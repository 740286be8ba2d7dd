"""Sends a piece of a file: the kernel moves the bytes where the transport allows it, else they go block by block.

The event loop must not wait for a disk. So what is not in memory is read in a thread first, and is in memory then.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, cast

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

logger = logging.getLogger(__name__)

# One call of the kernel's sendfile goes on as long as the client keeps up, and the event loop waits for it.
PIECE_BYTES = 2 << 20
BLOCK_BYTES = 256 << 10

_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)  # Linux: read what is in memory, or nothing


class _Borrowed:
    """An open descriptor in the form `loop.sendfile` wants; whoever opened it closes it."""

    mode = "rb"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor


class FileResponse(web.StreamResponse):
    """`count` bytes of an open file from `start` on, and before them a `prefix`, which is in no file.

    A client that goes away ends it without a word. A file that ends too early, or cannot be read, ends the connection:
    the client sees a short body. What the disk says then is logged.
    """

    def __init__(
        self,
        descriptor: int,
        start: int,
        count: int,
        *,
        status: int,
        headers: Mapping[str, str],
        prefix: bytes = b"",
    ) -> None:
        super().__init__(status=status, headers=headers)
        self.headers["Content-Length"] = str(len(prefix) + count)
        self._prefix = prefix
        self._descriptor = descriptor
        self._at = start
        self._end = start + count

    async def send(self, request: web.Request) -> None:
        """Send the head and the bytes; the descriptor must stay open until then."""
        try:
            writer = await self.prepare(request)
            assert writer is not None
            if await self._send_body(request, writer):
                return
        except (ConnectionError, TimeoutError):
            pass  # the client has gone, or reads no more
        except OSError as error:  # of the disk: there is nothing left to say in this answer
            logger.error("%s: the file cannot be sent from byte %d on: %s", request.path, self._at, error)
        if request.transport is not None:
            request.transport.abort()

    async def _send_body(self, request: web.Request, writer: AbstractStreamWriter) -> bool:
        """Send the bytes; whether all of them were there."""
        if self._prefix:
            await writer.write(self._prefix)
            self._prefix = b""
        while self._at < self._end:
            sent = await self._send_piece(request)
            if not sent:
                return False
            self._at += sent
            writer.output_size += sent  # for the access log; aiohttp counts only what it writes itself
        return True

    async def _send_piece(self, request: web.Request) -> int:
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        size = min(self._end - self._at, PIECE_BYTES)
        if not is_in_memory(self._descriptor, self._at, size):
            await asyncio.to_thread(os.pread, self._descriptor, size, self._at)
        if transport.get_extra_info("sslcontext") is None:
            try:
                return self._send_now(transport, size) or await self._send_when_ready(transport, size)
            except (NotImplementedError, RuntimeError):  # not this loop, not this transport
                if transport.is_closing():
                    raise ConnectionResetError from None
        return await self._write_block()

    def _send_now(self, transport: asyncio.Transport, size: int) -> int:
        """What the socket takes at once: all of a short range, without a turn of the loop."""
        if transport.get_write_buffer_size():
            return 0
        try:
            return os.sendfile(transport.get_extra_info("socket").fileno(), self._descriptor, self._at, size)
        except (BlockingIOError, InterruptedError):
            return 0

    async def _send_when_ready(self, transport: asyncio.Transport, size: int) -> int:
        file = cast(Any, _Borrowed(self._descriptor))
        return await asyncio.get_running_loop().sendfile(transport, file, self._at, size, fallback=False)

    async def _write_block(self) -> int:
        assert self._payload_writer is not None
        size = min(self._end - self._at, BLOCK_BYTES)
        block = os.pread(self._descriptor, size, self._at)
        await self._payload_writer.write(block)
        self._payload_writer.output_size -= len(block)  # the caller counts it
        return len(block)


@dataclass(frozen=True, slots=True)
class FilePiece:
    """``count`` bytes of an open file from ``start`` on."""

    descriptor: int
    start: int
    count: int


class PiecesResponse(FileResponse):
    """`count` bytes that are made while they are sent, each piece when the one before it has gone.

    A file must stay open until the next piece is asked for. An exception of `pieces` ends the connection.
    """

    def __init__(
        self, pieces: AsyncGenerator[bytes | FilePiece, None], count: int, *, status: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(-1, 0, 0, status=status, headers=headers)
        self.headers["Content-Length"] = str(count)
        self._pieces = pieces

    async def _send_body(self, request: web.Request, writer: AbstractStreamWriter) -> bool:
        async with aclosing(self._pieces) as pieces:
            async for piece in pieces:
                if isinstance(piece, bytes):
                    await writer.write(piece)
                    continue
                self._descriptor, self._at, self._end = piece.descriptor, piece.start, piece.start + piece.count
                if not await super()._send_body(request, writer):
                    return False
        return True


def is_in_memory(descriptor: int, start: int, count: int) -> bool:
    """Whether the first and the last of these bytes can be read without waiting; those between mostly can, then."""
    if not _NOWAIT:
        return False
    byte = [bytearray(1)]
    try:
        return all(os.preadv(descriptor, byte, offset, _NOWAIT) == 1 for offset in (start, start + count - 1))
    except OSError:  # not in memory, or a file system that cannot tell
        return False
