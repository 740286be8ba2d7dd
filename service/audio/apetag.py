"""Reads APE tags, version 1 and 2 (wiki.hydrogenaudio.org, APEv2 specification), within limits."""

from collections.abc import Iterator
from typing import BinaryIO

from service.audio.id3frames import MAX_FRAME, MAX_PICTURE, Allowance

FOOTER_SIZE = 32
MAX_KEY = 255


def read_items(file: BinaryIO, end: int, allowance: Allowance) -> Iterator[tuple[str, bytes]]:
    """Key, in lower case, and value of each item of the tag that ends here: text in UTF-8, or a name, NUL and picture.

    Raises:
        Unreadable: the tag is beyond the limits.
    """
    file.seek(end - FOOTER_SIZE)
    footer = file.read(FOOTER_SIZE)
    last = end - FOOTER_SIZE
    at = end - int.from_bytes(footer[12:16], "little")
    for _ in range(int.from_bytes(footer[16:20], "little")):
        file.seek(at)
        head = file.read(min(8 + MAX_KEY + 1, last - at)) if last > at else b""
        name, nul, _rest = head[8:].partition(b"\0")
        size, flags = int.from_bytes(head[:4], "little"), int.from_bytes(head[4:8], "little")
        at += 8 + len(name) + 1
        if not nul or at + size > last or not name.isascii():
            return
        allowance.count()
        key = name.decode("ascii").lower()
        is_picture = key.startswith("cover art")
        kind = flags >> 1 & 3  # 0 is text, 1 binary, 2 the address of something
        if (kind == 0 or (kind == 1 and is_picture)) and allowance.allows(
            "APE item", size, MAX_PICTURE if is_picture else MAX_FRAME
        ):
            file.seek(at)
            if not is_picture:
                allowance.spend(size)
            yield key, file.read(size)
        at += size
