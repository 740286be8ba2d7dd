"""HTTP byte by byte: for tests of what no well-behaved client sends."""

import socket
import struct
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Response:
    """One response; names of fields are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


class Wire:
    """One connection to a server. `send` and `read` are as many as a test likes, in any order."""

    def __init__(self, port: int, *, timeout_s: float = 15) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def request(self, method: str, path: str, headers: dict[str, str], body: bytes = b"", version: str = "1.1") -> None:
        """Send a head and, with it, as much of the body as is given."""
        lines = [
            f"{method} {path} HTTP/{version}",
            "Host: test",
            *(f"{name}: {text}" for name, text in headers.items()),
        ]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked body; an empty one is the last."""
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def read(self, *, to_head: bool = False) -> Response:
        """The next response, an interim one too."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        status = int(status_line.split()[1])
        headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
        has_body = not to_head and status >= 200 and status not in (204, 304)
        size = int(headers.get("content-length", 0)) if has_body else 0
        while len(self._rest) < size:
            self._more()
        body, self._rest = self._rest[:size], self._rest[size:]
        return Response(status, headers, body)

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError(f"the server closed the connection after {self._rest!r}")
        self._rest += data

    def is_quiet(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes for a while, and the connection stays open."""
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self._rest += self.socket.recv(1, socket.MSG_PEEK)[:0]
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(before)
        return False

    def is_closed(self, timeout_s: float = 10) -> bool:
        """Whether the server ends the connection, whatever it says before."""
        self.socket.settimeout(timeout_s)
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    def finish(self) -> None:
        """Say that no more comes, and go on listening: half a close."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """An orderly end."""
        self.socket.close()

    def reset(self) -> None:
        """An end with RST, as when a network goes away."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
