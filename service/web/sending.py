"""Sends a long piece of a file: by the kernel where the transport allows it, else block by block."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any, cast

from aiohttp import web

BLOCK_BYTES = 256 << 10

# One call of the kernel's sendfile goes on as long as the client keeps up, and the event loop waits for it.
PIECE_BYTES = 4 << 20


class _Borrowed:
    """An open descriptor in the form `loop.sendfile` wants; whoever opened it closes it."""

    mode = "rb"

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor


class FileResponse(web.StreamResponse):
    """`count` bytes of an open file from `start` on.

    A client that goes away ends it without a word. A file that ends too early ends the connection: the client sees a
    short body, never other bytes.
    """

    def __init__(self, descriptor: int, start: int, count: int, *, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status=status, headers=headers)
        self.content_length = count
        self._descriptor = descriptor
        self._start_at = start
        self._count = count

    async def send(self, request: web.Request) -> None:
        """Send the head and the bytes; the descriptor must stay open until then."""
        writer = await self.prepare(request)
        assert writer is not None
        sent = 0
        try:
            writer.send_headers()
            while sent < self._count:
                size = await self._send_piece(request, self._start_at + sent, self._count - sent)
                if not size:
                    break
                sent += size
                writer.output_size += size  # for the access log; aiohttp counts only what it writes itself
        except (ConnectionError, TimeoutError):
            pass
        if sent != self._count and request.transport is not None:
            request.transport.abort()

    async def _send_piece(self, request: web.Request, offset: int, left: int) -> int:
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError
        loop = asyncio.get_running_loop()
        if transport.get_extra_info("sslcontext") is None:
            try:
                file = cast(Any, _Borrowed(self._descriptor))
                return await loop.sendfile(transport, file, offset, min(left, PIECE_BYTES), fallback=False)
            except (NotImplementedError, RuntimeError):
                if transport.is_closing():
                    raise ConnectionResetError from None
        size = min(left, BLOCK_BYTES)
        block = await loop.run_in_executor(None, os.pread, self._descriptor, size, offset)
        assert self._payload_writer is not None
        await self._payload_writer.write(block)
        self._payload_writer.output_size -= len(block)  # counted by the caller
        return len(block)
