"""The music of a file apart from its tags: where it lies, and a digest that stays the same when only tags change.

Taggers change what stands before and after the frames, and the frame in front that describes the others. So the digest
is one of all other frames, in order. A last frame that is cut is left out, too: some programs drop it, others keep it.
"""

import hashlib
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from service.audio import tagblocks
from service.audio.survey import BLOCK_BYTES, survey
from service.audio.walker import TAIL


@dataclass(frozen=True, slots=True)
class Frames:
    """The digest of all whole frames of music; offsets in the file of the first frame and of the end of the music.

    ``start`` is that of the describing frame, where there is one. What lies between the frames and is none, a cut
    frame at the end and junk behind it are before ``end``; tags at the end are not.
    """

    sha256: bytes
    start: int
    end: int


def scan(path: Path) -> Frames:
    """Walk through the file once, and read its frames a second time. Takes about as long as the digest of the file.

    Raises:
        NotAnMp3: no chain of frames is found.
        OSError: the file cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        found = survey(file)
        assert found.start is not None
        chains = list(found.whole_chains())
        end = _end_of_music(file, found.seen, chains[-1][1], found.tags)
        return Frames(_digest(file, chains), found.start, end)


def _end_of_music(file: FileIO, size: int, frames_end: int, tags: list[tuple[int, int]]) -> int:
    """Go back from the end of the file over tags, known by their ends, or by their beginnings as the walker saw them.

    A tag that claims to begin before the end of the frames lies.
    """
    beginnings = {min(end, size): start for start, end in tags}
    end = size
    while end > frames_end:
        file.seek(max(0, end - TAIL))
        length = tagblocks.length_of_last(file.read(min(end, TAIL)))
        start = end - length if length and end - length >= frames_end else beginnings.get(end, end)
        if start == end:
            break
        end = start
    return end


def _digest(file: FileIO, spans: list[tuple[int, int]]) -> bytes:
    sha256, block = hashlib.sha256(), memoryview(bytearray(BLOCK_BYTES))
    for start, end in spans:
        file.seek(start)
        while start < end:
            count = file.readinto(block[: end - start])
            if not count:
                raise OSError("the file became shorter")
            sha256.update(block[:count])
            start += count
    return sha256.digest()
