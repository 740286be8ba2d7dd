"""The CRC-32 of a file, as zip archives want it (ISO 3309)."""

import os
import zlib

BLOCK_BYTES = 1 << 20


def crc32_of(descriptor: int, start: int, end: int, value: int = 0) -> int:
    """Go on from `value` with the bytes from `start` to `end` of an open file. Blocks: call it in a thread.

    Raises:
        OSError: the file cannot be read, or ends before.
    """
    while start < end:
        block = os.pread(descriptor, min(BLOCK_BYTES, end - start), start)
        if not block:
            raise OSError(f"the file ends at byte {start}")
        value = zlib.crc32(block, value)
        start += len(block)
    return value
