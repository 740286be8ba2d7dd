"""Learns from the bytes of an upload while they pass: their digest, and whether and what kind of mp3 they are.

The walk through the frames is `walker`'s; here its counts become a report. Durations and modes come from the frames;
what a Xing or LAME header says is a claim of whoever made the file, and is believed only where the frames bear it out.
"""

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass

from service.audio.mpeg import Info, Stream
from service.audio.walker import Walker
from service.errors import NotAnMp3

# A decoder of layer III is this many samples late by itself; the delay and padding in a LAME tag do not count it.
DECODER_DELAY = 529

# A Xing header may count itself, or be off by the frames an encoder flushes; more than that is notable. Encoders that
# sign in it (LAME and those after it) count exactly.
NOTABLE_FRAMES = 2


@dataclass(frozen=True, slots=True)
class AudioReport:
    """What the frames say, counted one by one, and what the file claims about itself."""

    frames: int  # whole ones of audio; the Xing, Info or VBRI frame in front does not count
    duration: float  # seconds, of what a decoder plays, a cut last frame included
    bitrate: int  # bits per second, average over frames
    mode: str  # "cbr" | "vbr" | "abr"
    channels: int
    sample_rate: int  # Hz, of the first frame
    junk_bytes: int  # neither frames nor known tags
    gaps: int  # places where the chain broke and was found again: junk, or files that were joined
    truncated: bool  # the last frame or tag is cut, or the describing frame promises more than there is
    version: str  # of MPEG: "1" | "2" | "2.5"
    tag_bytes: int
    info: str | None = None  # "Xing" | "Info" | "VBRI": the describing frame in front
    promised_frames: int | None = None
    encoder: str | None = None
    encoder_delay: int | None = None  # samples
    encoder_padding: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The size and digest of all bytes, and the report on their audio."""

    size: int
    sha256: bytes
    audio: AudioReport


class Inspector:
    """Feed it every byte once and in order, then `finish`; either may raise `NotAnMp3`, and then that is the last word.

    Chunks may have any size and never change the verdict; none is kept. ``bytes`` spare a copy.
    """

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._walker = Walker()
        self._refusal: NotAnMp3 | None = None

    @property
    def seen(self) -> int:
        """How many bytes were fed."""
        return self._walker.seen

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes; raise `NotAnMp3` as soon as that is certain."""
        if self._refusal:
            raise self._refusal
        self._sha256.update(data)
        try:
            self._walker.take(bytes(data))
        except NotAnMp3 as refusal:
            self._refusal = refusal
            raise

    def finish(self) -> Verdict:
        """Say what the body was; raise `NotAnMp3` if it was no mp3."""
        if self._refusal:
            raise self._refusal
        try:
            self._walker.end()
        except NotAnMp3 as refusal:
            self._refusal = refusal
            raise
        return Verdict(self._walker.seen, self._sha256.digest(), _report(self._walker))


def _report(walker: Walker) -> AudioReport:
    first, info = walker.first, walker.info or Info("")
    assert first is not None
    frames = walker.frames.total()
    junk = walker.seen - walker.frame_bytes - walker.info_bytes - walker.tag_bytes - walker.cut_bytes
    lost = walker.gaps - (-junk * frames // walker.frame_bytes)  # so many frames may have been where now is junk
    notable = 0 if info.encoder else NOTABLE_FRAMES
    seconds = _seconds_by_bitrate(walker)
    return AudioReport(
        frames=frames,
        duration=_duration(walker, first.stream, info),
        bitrate=round(sum(bitrate * share for bitrate, share in seconds.items()) / sum(seconds.values())),
        mode="cbr" if len(seconds) == 1 else "abr" if info.is_abr else "vbr",
        channels=first.channels,
        sample_rate=first.stream.sample_rate,
        junk_bytes=junk,
        gaps=walker.gaps,
        truncated=walker.is_cut or (info.frames or 0) > frames + lost + notable,
        version=first.stream.version,
        tag_bytes=walker.tag_bytes,
        info=info.kind or None,
        promised_frames=info.frames,
        encoder=info.encoder,
        encoder_delay=info.delay,
        encoder_padding=info.padding,
    )


def _seconds_by_bitrate(walker: Walker) -> dict[int, float]:
    seconds: defaultdict[int, float] = defaultdict(float)
    for (stream, third), count in walker.frames.items():
        seconds[stream.bitrate(third)] += count * stream.samples / stream.sample_rate
    return seconds


def _duration(walker: Walker, first: Stream, info: Info) -> float:
    """Seconds that a decoder plays.

    Decoders look for a describing frame where the audio should begin: behind junk they play it, as silence, and do not
    know of delay and padding. A cut last frame they conceal.
    """
    samples: Counter[int] = Counter()  # by sample rate
    for (stream, _), count in walker.frames.items():
        samples[stream.sample_rate] += count * stream.samples
    if walker.cut_frame:
        stream, _ = walker.cut_frame
        samples[stream.sample_rate] += stream.samples
    if walker.is_info_displaced:
        samples[first.sample_rate] += first.samples
    else:
        played = walker.frames.total() + (walker.cut_frame is not None)
        samples[first.sample_rate] -= _dropped(info, played, first.samples)
    return sum(count / rate for rate, count in samples.items())


def _dropped(info: Info, frames: int, samples: int) -> int:
    """Samples not played: the encoder's delay in front; its padding, if the frames promised are all there.

    Of what is shorter than both, nothing is played.
    """
    if info.delay is None or info.padding is None or not info.frames:
        return 0
    front = info.delay + DECODER_DELAY
    back = max(0, info.padding - DECODER_DELAY) if info.frames <= frames else 0
    return min(front + back, frames * samples)
