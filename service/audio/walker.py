"""Walks through a body as it comes in chunks: skips tags, follows chains of frames, searches junk for the next one.

How the bytes were cut into chunks never changes what is found, and only a bounded rest of them is kept. To that end
every decision waits until all bytes it may depend on are there, or the body has ended.
"""

import re
from collections import Counter
from typing import Never

from service.audio import sniff, tagblocks
from service.audio.chain import Chain, Proof, prove
from service.audio.mpeg import SYNC, Header, Info, Stream, frame_lengths, parse_header, parse_info
from service.errors import NotAnMp3

# A body without a chain in so many bytes after its tag is no mp3; zeros, with which taggers pad, have their own bound.
MAX_LEADING_JUNK = 64 * 1024
MAX_LEADING_ZEROS = 4 * 1024 * 1024

# False starts cost time, so they are rationed: random bytes have one in 16 KiB, a body made to waste time has more.
FREE_STARTS = 10_000
BYTES_PER_START = 4096

# Tags at the end are told by their endings, the farthest of which is 5,100 bytes before its beginning (Lyrics3).
TAIL = 8192

# Where a chain or a tag may begin. Three searches for one literal each are several times faster than one for any of
# them; and a search holds the interpreter, so it is not let loose on the whole buffer.
_CLUES = tuple(re.compile(clue, re.DOTALL) for clue in (SYNC, tagblocks.ID3V2, tagblocks.APE))
WINDOW = 256 * 1024

_ZEROS = re.compile(rb"\x00*+")


class Walker:
    """Offsets in the body end in ``_at`` or ``_end``; a plain ``at`` is an index into the buffer."""

    def __init__(self) -> None:
        self.seen = 0
        self.frames: Counter[tuple[Stream, int]] = Counter()  # by stream and third byte of the header
        self.first: Header | None = None  # of the first frame
        self.info: Info | None = None
        self.info_bytes = 0
        self.is_info_displaced = False  # there is junk before it
        self.tag_bytes = 0
        self.cut_bytes = 0
        self.gaps = 0
        self.is_cut = False
        self.cut_frame: tuple[Stream, int] | None = None

        self._rest = b""  # seen, and not understood yet
        self._tail = b""  # the last bytes seen
        self._base_at = 0  # of the buffer's first byte
        self._next_at = 0  # what to look at next; beyond `seen` while a frame or a tag is skipped
        self._chain: Chain | None = None
        self._last_chain: Chain | None = None
        self._chain_end = 0
        self._trailing_tag_bytes = 0  # since then
        self._landed_at = 0  # where a tag or chain ended, so that another may begin

        self._origin_at: int | None = None  # where the leading tags end
        self._head = b""  # the first bytes from there
        self._junk_end = 0  # where leading junk becomes too much
        self._zeros = 0
        self._starts = 0

    @property
    def frame_bytes(self) -> int:
        """The bytes of all frames but the describing one and a cut one."""
        return sum(count * frame_lengths(stream)[third] for (stream, third), count in self.frames.items())

    def take(self, data: bytes) -> None:
        """Go on with the next bytes of the body."""
        self.seen += len(data)
        self._tail = (self._tail + data[-TAIL:])[-TAIL:]
        self._walk(self._rest + data if self._rest else data, is_last=False)

    def end(self) -> None:
        """Decide what waited for more bytes, and give the end of the body its account."""
        self._walk(self._rest, is_last=True)
        if self._chain:
            self._leave(self._chain, self._next_at)
        self._settle_end()
        if not self.frames.total():
            self._refuse_silent()

    def _walk(self, buffer: bytes, *, is_last: bool) -> None:
        self._base_at = self.seen - len(buffer)
        at = self._next_at - self._base_at
        while at < len(buffer):
            before = at, self._chain
            at = self._follow(self._chain, buffer, at) if self._chain else self._search(buffer, at, is_last)
            if before == (at, self._chain):
                break  # more bytes are needed
        self._next_at = self._base_at + at
        self._rest = buffer[at:]

    # In a chain

    def _follow(self, chain: Chain, buffer: bytes, at: int) -> int:
        at = chain.follow(buffer, at)
        if chain.is_broken:
            self._leave(chain, self._base_at + at)
        return at

    def _leave(self, chain: Chain, chain_end: int) -> None:
        self.frames.update({(chain.stream, third): count for third, count in enumerate(chain.tally) if count})
        self._chain, self._last_chain = None, chain
        self._chain_end = self._landed_at = chain_end
        self._trailing_tag_bytes = 0

    def _enter(self, buffer: bytes, at: int, stream: Stream) -> int:
        self._chain = Chain(stream)
        if self.first:
            self.gaps += 1
            return at
        self.first = parse_header(buffer[at : at + 4])
        length = frame_lengths(stream)[buffer[at + 2]]
        self.info = parse_info(buffer[at : at + length])
        self.info_bytes = length if self.info else 0
        self.is_info_displaced = self.info is not None and self._base_at + at != self._origin_at
        return at + self.info_bytes

    # Between chains

    def _search(self, buffer: bytes, at: int, is_last: bool) -> int:
        """Skip a tag, enter a chain or pass by junk; return where to go on, the same place when bytes are missing."""
        known = len(buffer) if is_last else len(buffer) - tagblocks.NEEDED
        if at >= known:
            return at
        if self._base_at + at == self._landed_at and (length := tagblocks.length_at(buffer, at)):
            return self._skip_tag(at, length)
        if self.first is None:
            if self._origin_at is None and not self._begin(buffer, at, is_last):
                return at
            if self._base_at + at == self._landed_at and (zeros := self._skip_zeros(buffer, at, known)):
                return at + zeros
        known = min(known, at + WINDOW)
        at = _find_clue(buffer, at, known)
        if self.first is None and self._base_at + at >= self._junk_end:
            self._refuse("No chain of frames where the audio should begin.", self._junk_end)
        return self._try(buffer, at, is_last) if at < known else at

    def _begin(self, buffer: bytes, at: int, is_last: bool) -> bool:
        """Look at the first bytes after the leading tags: refuse what is evidently something else."""
        self._head = buffer[at : at + sniff.HEAD_SIZE]
        if name := sniff.signature(self._head[: sniff.NEEDED]):
            self._refuse(f"This is {name}.", self._base_at + at + min(len(self._head), sniff.NEEDED), name)
        if len(self._head) < sniff.HEAD_SIZE and not is_last:
            return False
        if sniff.is_text(self._head):
            self._refuse("This is text.", self._base_at + at + len(self._head), "text")
        self._origin_at = self._base_at + at
        self._junk_end = self._origin_at + MAX_LEADING_JUNK
        return True

    def _skip_zeros(self, buffer: bytes, at: int, end: int) -> int:
        match = _ZEROS.match(buffer, at, end)
        assert match is not None
        zeros = match.end() - at
        self._zeros += zeros
        if self._zeros > MAX_LEADING_ZEROS:
            self._refuse("Nothing but zeros.", MAX_LEADING_ZEROS, "zeros")
        self._junk_end += zeros
        self._landed_at += zeros
        return zeros

    def _skip_tag(self, at: int, length: int) -> int:
        self._count_starts(at, 1)
        self.tag_bytes += length
        self._trailing_tag_bytes += length
        self._junk_end += length
        self._landed_at = self._base_at + at + length
        return at + length

    def _try(self, buffer: bytes, at: int, is_last: bool) -> int:
        if length := tagblocks.length_at(buffer, at):
            return self._skip_tag(at, length)
        header = parse_header(buffer[at : at + 4])
        is_expected = self._base_at + at == self._landed_at or (
            self._last_chain is not None and header is not None and header.stream.is_like(self._last_chain.stream)
        )
        body_end = len(buffer) - tagblocks.length_of_trailers(self._tail) if is_last else None
        found, starts = prove(buffer, at, is_expected=is_expected, body_end=body_end)
        if found is Proof.OPEN:
            return at
        self._count_starts(at, starts)
        return self._enter(buffer, at, found) if isinstance(found, Stream) else at + 1

    def _count_starts(self, at: int, count: int) -> None:
        here = self._base_at + at
        self._starts += count
        if self._starts > FREE_STARTS + here // BYTES_PER_START:
            self._refuse("More false starts than audio.", here)

    # At the end

    def _settle_end(self) -> None:
        """Tell apart, after the last chain: trailing tags, a last frame that is cut, and junk."""
        overrun = max(0, self._next_at - self.seen)
        if overrun and self._landed_at == self._next_at and self._chain_end < self._next_at:  # a tag is cut
            self.is_cut = True
            self.tag_bytes -= overrun
            self._trailing_tag_bytes -= overrun
        if self._last_chain is None:
            return
        last = self._last_chain.stream, self._last_chain.last
        last_at = self._chain_end - self._last_chain.last_length
        trailers = tagblocks.length_of_trailers(self._tail)
        if trailers > self.seen - last_at:
            trailers = 0  # a lie: there are frames
        audio_end = self.seen - max(trailers, self._trailing_tag_bytes)
        self.tag_bytes += max(0, trailers - self._trailing_tag_bytes)
        if audio_end < self._chain_end:
            self.is_cut = True
            self.cut_bytes = audio_end - last_at
            self.cut_frame = last
            self.frames -= Counter({last: 1})
        elif self._is_start_of_header(self._last_chain):
            self.is_cut = True
            self.cut_bytes = len(self._rest)

    def _is_start_of_header(self, chain: Chain) -> bool:
        rest = self._rest
        return 0 < len(rest) < 3 and self._chain_end + len(rest) == self.seen and chain.starts_with(rest)

    def _refuse_silent(self) -> Never:
        if self.first:
            self._refuse("There is no whole frame of audio.", self.seen, "an mp3 without audio")
        if self._origin_at is not None:
            self._refuse("There is no chain of frames.", self.seen)
        if self._next_at > self.seen:
            self._refuse("The tag claims to be longer than all there is.", self.seen, "a tag without audio")
        if self.seen:
            self._refuse("There is nothing after the tag.", self.seen, "a tag without audio")
        self._refuse("There is nothing at all.", 0)

    def _refuse(self, detail: str, bytes_examined: int, found: str | None = None) -> Never:
        raise NotAnMp3(detail, bytes_examined=bytes_examined, found=found or sniff.describe(self._head))


def _find_clue(buffer: bytes, at: int, end: int) -> int:
    """The next place before ``end`` where a chain or a tag may begin, or ``end``."""
    for clue in _CLUES:
        if match := clue.search(buffer, at, end + tagblocks.NEEDED):
            end = min(end, match.start())
    return end
