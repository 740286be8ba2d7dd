"""A second walk through a whole file: where its chains of frames lie, and its tags behind them."""

from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO

from service.audio.chain import Chain
from service.audio.mpeg import Stream, frame_lengths
from service.audio.walker import Walker

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets in the file of the first frame of a chain and of its end; a frame that is cut reaches beyond the file."""

    start: int
    end: int
    stream: Stream


class Survey(Walker):
    """Notes where the chains and the tags behind the last one lie.

    ``start`` is where the first frame is, be it the describing one, which belongs to no chain. If it is displaced,
    ``displaced`` is where it is: decoders play it then.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start: int | None = None
        self.displaced: int | None = None
        self.chains: list[Span] = []
        self.tags: list[tuple[int, int]] = []
        self._chain_start = 0

    @property
    def seconds(self) -> float:
        """About how long all frames play."""
        return sum(count * stream.samples / stream.sample_rate for (stream, _), count in self.frames.items())

    def whole_chains(self) -> Iterator[tuple[int, int]]:
        """From where to where all chains reach without a last frame that is cut."""
        cut = frame_lengths(self.cut_frame[0])[self.cut_frame[1]] if self.cut_frame else 0
        for span in self.chains:
            yield span.start, span.end - (cut if span is self.chains[-1] else 0)

    def _enter(self, buffer: bytes, at: int, stream: Stream) -> int:
        if self.start is None:
            self.start = self._base_at + at
        after = super()._enter(buffer, at, stream)
        if self.start == self._base_at + at and self.is_info_displaced:
            self.displaced = self.start
        self._chain_start = self._base_at + after
        return after

    def _leave(self, chain: Chain, chain_end: int) -> None:
        super()._leave(chain, chain_end)
        self.chains.append(Span(self._chain_start, chain_end, chain.stream))
        self.tags = []

    def _skip_tag(self, at: int, length: int) -> int:
        self.tags.append((self._base_at + at, self._base_at + at + length))
        return super()._skip_tag(at, length)


def survey(file: FileIO) -> Survey:
    """Walk through an open file from where it stands.

    Raises:
        NotAnMp3: no chain of frames is found.
        OSError: it cannot be read.
    """
    found = Survey()
    while block := file.read(BLOCK_BYTES):
        found.take(block)
    found.end()
    return found
