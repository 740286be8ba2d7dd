"""Interim answers (1xx) while a request is being read. aiohttp has no public way to send them.

They go to the transport before the response is prepared; nothing of aiohttp looks at them, so the rules are kept here:
none to HTTP/1.0 (RFC 9110 section 15.2), none to a connection that is gone, none after the response has begun, and no
field that could end its line.
"""

import re
from collections.abc import Mapping

from aiohttp import HttpVersion11, web

from service.keys import STARTED

_NAME = re.compile(r"[A-Za-z0-9-]+\Z")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?\Z")


def send_interim(request: web.Request, status: int, reason: str, fields: Mapping[str, str]) -> bool:
    """Send an interim answer if the client can take one; whether it was sent.

    Raises:
        ValueError: a field is not visible ASCII on one line.
    """
    for name, value in fields.items():
        if not _NAME.match(name) or not _VALUE.match(value):
            raise ValueError(f"{name} cannot be sent")
    transport = request.transport
    if request.version < HttpVersion11 or transport is None or transport.is_closing() or request.get(STARTED):
        return False
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in fields.items())]
    transport.write("\r\n".join([*lines, "", ""]).encode("ascii"))
    return True
