"""Decodes a file from its first frame to its last, and measures what comes out. Runs in the child process only.

The survey finds the frames; where sample rate or channels change, another decoder takes over. All is one stream: memory
stays the same for a file of any length.
"""

from io import FileIO
from itertools import groupby
from pathlib import Path

from service.audio.decoder import Source, decoded, frames_of
from service.audio.meters import Measured, Meters
from service.audio.survey import Survey, survey
from service.errors import NotAnMp3

__all__ = ["Measured", "Undecodable", "measure"]


class Undecodable(ValueError):
    """No sound comes out of the file; the text says why."""


def measure(path: Path) -> Measured:
    """Decode the file once.

    Raises:
        Undecodable: nothing in it can be decoded.
        OSError: it cannot be read.
    """
    with path.open("rb", buffering=0) as file:
        found = _survey(file)
        meters: Meters | None = None
        lost = 0
        for (sample_rate, channels, _), run in groupby(frames_of(file, found), key=lambda block: block.kind):
            if meters is None:
                meters = Meters(sample_rate, channels, found)
            source = Source(run)
            count = 0
            for samples in decoded(source, sample_rate, channels):
                count += len(samples)
                meters.take(samples, sample_rate)
            lost += source.samples - count
    if meters is None or not meters.has_sound:
        raise Undecodable("There is no sound in the frames of this file.")
    return meters.result(lost)


def _survey(file: FileIO) -> Survey:
    try:
        return survey(file)
    except NotAnMp3 as error:
        raise Undecodable(str(error)) from error
