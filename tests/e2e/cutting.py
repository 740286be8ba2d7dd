"""A network that breaks: a TCP proxy that resets a connection in the middle of what it carries, so many times."""

import asyncio
import socket
import struct
import threading
from contextlib import suppress


class CuttingProxy:
    """Passes everything on to a port; the first `cuts` connections on which `after` bytes went up are reset.

    Some of these bytes are always lost on the way: those that were sent last are not passed on.
    """

    def __init__(self, port: int, *, cuts: int, after: int) -> None:
        self.cuts_left = cuts
        self.done = 0
        self._after = after
        self._target = port
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        start = asyncio.start_server(self._carry, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    def __enter__(self) -> "CuttingProxy":
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        for end in self._open:
            end.transport.abort()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
            ends = (writer, up_writer)
            self._open.update(ends)
            down = asyncio.create_task(self._down(up_reader, writer))
            try:
                await self._up(reader, up_writer, ends)
            finally:
                self._open.difference_update(ends)
                for end in ends:
                    end.close()
                await down

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ends: tuple[asyncio.StreamWriter, ...]
    ) -> None:
        passed = 0
        while data := await reader.read(16384):
            passed += len(data)
            if self.cuts_left and passed >= self._after:
                self.cuts_left -= 1
                self.done += 1
                for end in ends:
                    _reset(end)
                return
            writer.write(data)
            await writer.drain()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
