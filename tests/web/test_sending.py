import asyncio
import os
import socket

from service.web.sending import FileResponse, is_in_memory


async def test_bytes_of_a_file_never_overtake_a_head_that_waits(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"body" * 100)
    ours, theirs = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        response = FileResponse(descriptor, 0, 400, status=200, headers={})
        transport.write(b"head" * 1_000_000)  # more than a socket holds
        while len(theirs.recv(1 << 20)) == 1 << 20:
            pass  # now there is room in the socket, but the rest of the head comes first
        assert transport.get_write_buffer_size() > 0
        assert response._send_now(transport, 400) == 0
    finally:
        transport.abort()
        theirs.close()
        os.close(descriptor)


def test_what_was_just_written_is_in_memory_and_what_is_not_there_is_not(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(100_000))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert is_in_memory(descriptor, 0, 100_000)
        assert not is_in_memory(descriptor, 0, 100_001)
        assert not is_in_memory(-1, 0, 1)
    finally:
        os.close(descriptor)
