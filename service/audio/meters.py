"""What is measured of the samples of a file while they pass: loudness, peaks, silence, clipping, a fingerprint."""

import math
from dataclasses import dataclass

import numpy as np
import pyebur128  # type: ignore[import-untyped]
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pyebur128 import MeasurementMode, R128State

from service.audio.chromaprint import Fingerprinter, find_library
from service.audio.decoder import HEADROOM
from service.audio.inspector import DECODER_DELAY
from service.audio.peaks import FINEST, MOST
from service.audio.survey import Survey

SILENCE_DBFS = -60.0  # what stays below this on all channels is silent
CLIPPED_RUN = 3  # so many samples in a row of one channel at full scale or above it, and they count as clipped
FULL_SCALE = 32768 // HEADROOM

# Above this, loudness is counted in steps of a tenth of a decibel and not in a list, which would grow with the file.
EXACT_SECONDS = 12 * 3600


@dataclass(frozen=True, slots=True)
class Measured:
    """What decoding found.

    Where a file changes its sample rate, ``sample_rate`` and ``channels`` are those of its beginning, and everything
    else is as if all of it had that rate.
    """

    duration: float  # seconds that are played: without the encoder's delay and padding, where the file tells them
    sample_rate: int  # Hz
    channels: int
    samples: int  # of one channel
    loudness_lufs: float | None  # EBU R128, integrated; None where all is below the gate or shorter than 0.4 s
    true_peak_dbtp: float | None  # None: all samples are 0
    sample_peak: float  # 1 is full scale, and may be exceeded
    silence_start_s: float
    silence_end_s: float  # both are the duration when all is silent
    clipped_samples: int  # of all channels
    peaks: bytes  # see service.audio.peaks
    samples_per_point: int
    fingerprint: bytes | None  # see service.audio.fingerprint
    lost_samples: int  # of one channel, in frames that the decoder could make nothing of


class Meters:
    """Everything that is measured, fed with the samples of all decoders in order."""

    def __init__(self, sample_rate: int, channels: int, survey: Survey) -> None:
        self.sample_rate, self.channels = sample_rate, channels
        self._cuts = _cuts(survey)
        self._position = 0  # in the first run, before anything is cut
        self._played: dict[int, int] = {}  # samples by sample rate
        self._loudness = _Loudness(is_long=survey.seconds > EXACT_SECONDS)
        self._true_peak = _TruePeak()
        self._peaks = _Peaks()
        self._clipping = _Clipping()
        self._peak = 0
        self._first_loud: float | None = None
        self._last_loud = 0.0
        library = find_library()
        self._fingerprinter = Fingerprinter(library, sample_rate, channels) if library else None

    @property
    def has_sound(self) -> bool:
        return bool(self._played)

    def take(self, samples: NDArray[np.int16], sample_rate: int) -> None:
        if self._cuts:
            samples = self._cut(samples)
        if not len(samples):
            return
        begin = self._seconds()
        self._played[sample_rate] = self._played.get(sample_rate, 0) + len(samples)
        floats = samples * np.float32(1 / FULL_SCALE)
        self._loudness.take(floats, sample_rate)
        self._true_peak.take(floats)
        self._peaks.take(self._at_rate(samples[:, 0].astype(np.int32) + samples[:, -1], sample_rate))
        self._find_silence(samples, begin, sample_rate)
        self._clipping.take(samples)
        if (sample_rate, samples.shape[1]) == (self.sample_rate, self.channels):
            self._take_fingerprint(samples)

    def result(self, lost: int) -> Measured:
        duration = self._seconds()
        peaks, samples_per_point = self._peaks.finish()
        true_peak = self._true_peak.finish()
        return Measured(
            duration=duration,
            sample_rate=self.sample_rate,
            channels=self.channels,
            samples=round(duration * self.sample_rate),
            loudness_lufs=self._loudness.integrated(),
            true_peak_dbtp=20 * math.log10(true_peak) if true_peak else None,
            sample_peak=self._peak / FULL_SCALE,
            silence_start_s=duration if self._first_loud is None else self._first_loud,
            silence_end_s=duration if self._first_loud is None else max(0.0, duration - self._last_loud),
            clipped_samples=self._clipping.finish(),
            peaks=peaks,
            samples_per_point=samples_per_point,
            fingerprint=self._fingerprinter.finish() if self._fingerprinter else None,
            lost_samples=max(0, lost),
        )

    def _take_fingerprint(self, samples: NDArray[np.int16]) -> None:
        if self._fingerprinter and not self._fingerprinter.is_full:
            loud = np.clip(samples.astype(np.int32) * HEADROOM, -32768, 32767).astype(np.int16)
            self._fingerprinter.feed(loud.tobytes())

    def _seconds(self) -> float:
        return sum(count / rate for rate, count in self._played.items())

    def _cut(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Take away what an encoder put before and after the music."""
        here, self._position = self._position, self._position + len(samples)
        for start, end in reversed(self._cuts):
            low, high = max(0, start - here), min(len(samples), end - here)
            if low < high:
                samples = np.concatenate((samples[:low], samples[high:]))
        return samples

    def _at_rate(self, mono: NDArray[np.int32], sample_rate: int) -> NDArray[np.int32]:
        """The same at the rate of the beginning, by leaving samples out or repeating them."""
        if sample_rate == self.sample_rate:
            return mono
        count = max(1, len(mono) * self.sample_rate // sample_rate)
        return mono[np.arange(count) * len(mono) // count]

    def _find_silence(self, samples: NDArray[np.int16], begin: float, sample_rate: int) -> None:
        low, high = int(samples.min()), int(samples.max())
        self._peak = max(self._peak, high, -low)
        threshold = int(FULL_SCALE * 10 ** (SILENCE_DBFS / 20))
        if max(high, -low) <= threshold:
            return
        is_loud = np.logical_or(samples > threshold, samples < -threshold).ravel()
        channels = samples.shape[1]
        if self._first_loud is None:
            self._first_loud = begin + int(is_loud.argmax()) // channels / sample_rate
        behind = int(is_loud[::-1].argmax()) // channels
        self._last_loud = begin + (len(samples) - behind) / sample_rate


def _cuts(survey: Survey) -> list[tuple[int, int]]:
    """Which samples are not played: the encoder's delay, and its padding if the frames it belongs to are all there."""
    info = survey.info
    if info is None or info.delay is None or info.padding is None or not info.frames or survey.is_info_displaced:
        return []
    assert survey.first is not None
    played = survey.frames.total() + (survey.cut_frame is not None)
    end = info.frames * survey.first.stream.samples
    back = max(0, info.padding - DECODER_DELAY) if info.frames <= played else 0
    front = min(info.delay + DECODER_DELAY, end - back)
    return [(0, front), (end - back, end)]


class _Loudness:
    """EBU R128: a meter for each kind of run, and one result."""

    def __init__(self, *, is_long: bool) -> None:
        self._mode = MeasurementMode.MODE_I
        if is_long:
            self._mode |= MeasurementMode.MODE_HISTOGRAM
        self._states: dict[tuple[int, int], R128State] = {}

    def take(self, samples: NDArray[np.float32], sample_rate: int) -> None:
        kind = sample_rate, samples.shape[1]
        if kind not in self._states:
            self._states[kind] = R128State(samples.shape[1], sample_rate, self._mode)
        self._states[kind].add_frames(samples.ravel(), len(samples))

    def integrated(self) -> float | None:
        loudness = float(pyebur128.get_loudness_global_multiple(list(self._states.values())))
        return loudness if math.isfinite(loudness) else None


class _TruePeak:
    """The highest level of the curve through the samples (ITU-R BS.1770-4, annex 2): four times as many samples.

    The three between two samples are a product of matrices for many stretches at once, and only of those stretches that
    can exceed what was found before: the curve cannot leave the samples by more than `_REACH`. That makes it exact and
    six times as fast as filtering everything.
    """

    def __init__(self) -> None:
        self.value = 0.0
        self._tails: list[NDArray[np.float32]] = []  # what the next stretch begins with, by channel

    def take(self, samples: NDArray[np.float32]) -> None:
        channels = samples.shape[1]
        if len(self._tails) != channels:
            self.finish()
            self._tails = [np.zeros(_TAPS - 1, np.float32)] * channels
        for channel, tail in enumerate(self._tails):
            column = np.concatenate((tail, samples[:, channel]))
            count = (len(column) - _TAPS + 1) // _STRETCH
            self._look(column, count)
            self._tails[channel] = column[count * _STRETCH :]

    def finish(self) -> float:
        """Look at what is left over, as if silence followed."""
        for tail in self._tails:
            column = np.concatenate((tail, np.zeros(2 * _STRETCH, np.float32)))
            self._look(column, (len(column) - _TAPS + 1) // _STRETCH)
        self._tails = []
        return self.value

    def _look(self, column: NDArray[np.float32], count: int) -> None:
        sizes = np.abs(column)
        highest = float(sizes.max())
        self.value = max(self.value, highest)
        if highest * _REACH <= self.value or not count:
            return
        padded = np.zeros((count + 1) * _STRETCH, np.float32)
        padded[: min(len(sizes), len(padded))] = sizes[: len(padded)]
        rows = padded.reshape(-1, _STRETCH).max(axis=1)
        may_exceed = np.maximum(rows[:-1], rows[1:]) * _REACH > self.value
        if may_exceed.any():
            stretches = sliding_window_view(column, _STRETCH + _TAPS - 1)[: count * _STRETCH : _STRETCH]
            between = stretches[may_exceed] @ _INTERPOLATE
            self.value = max(self.value, float(between.max()), -float(between.min()))


def _interpolation() -> tuple[NDArray[np.float32], float]:
    """A matrix from the samples of a stretch to those between them, and how far these can be from them, as a factor.

    The filter is a sine cardinal under a Hann window, 12 samples wide.
    """
    width = 4 * _TAPS
    place = np.arange(width + 1) - width / 2
    taps = np.sinc(place / 4) * (0.5 + 0.5 * np.cos(2 * np.pi * place / width))
    matrix = np.zeros((_STRETCH + _TAPS - 1, 3 * _STRETCH), np.float32)
    for phase in (1, 2, 3):
        for at in range(_STRETCH):
            matrix[at : at + _TAPS, (phase - 1) * _STRETCH + at] = taps[phase::4][::-1]
    return matrix, max(float(np.abs(taps[phase::4]).sum()) for phase in (1, 2, 3))


_TAPS = 12
_STRETCH = 32  # samples; longer ones are multiplied faster, shorter ones are skipped oftener
_INTERPOLATE, _REACH = _interpolation()


class _Clipping:
    """Counts samples at full scale in runs of at least `CLIPPED_RUN`, channel by channel."""

    def __init__(self) -> None:
        self._count = 0
        self._open: dict[int, int] = {}  # by channel, the run at the end of what was taken

    def take(self, samples: NDArray[np.int16]) -> None:
        is_full: NDArray[np.bool_] = np.logical_or(samples >= FULL_SCALE, samples <= -FULL_SCALE)
        if not self._open and not is_full.any():
            return
        for channel in range(samples.shape[1]):
            edges = np.flatnonzero(np.diff(is_full[:, channel].astype(np.int8), prepend=0, append=0))
            lengths = (edges[1:] - edges[:-1])[::2]
            before = self._open.pop(channel, 0)
            if before and is_full[0, channel]:
                lengths[0] += before
            elif before >= CLIPPED_RUN:
                self._count += before
            if is_full[-1, channel]:
                self._open[channel] = int(lengths[-1])
                lengths = lengths[:-1]
            self._count += int(lengths[lengths >= CLIPPED_RUN].sum())

    def finish(self) -> int:
        return self._count + sum(run for run in self._open.values() if run >= CLIPPED_RUN)


class _Peaks:
    """Minimum and maximum of every stretch; whenever there are too many of them, neighbours become one."""

    def __init__(self) -> None:
        self._group = 1  # of stretches of `FINEST` samples in one point
        self._points = np.empty((0, 2), np.int32)
        self._stretches = np.empty((0, 2), np.int32)  # not yet a point
        self._samples = np.empty(0, np.int32)  # not yet a stretch

    def take(self, mono: NDArray[np.int32]) -> None:
        """Take the sums of two channels."""
        samples = np.concatenate((self._samples, mono))
        whole = len(samples) // FINEST * FINEST
        self._samples = samples[whole:]
        self._stretches = np.concatenate((self._stretches, _extremes(samples[:whole].reshape(-1, FINEST, 1))))
        self._gather()

    def finish(self) -> tuple[bytes, int]:
        if len(self._samples):
            self._stretches = np.concatenate((self._stretches, _extremes(self._samples.reshape(1, -1, 1))))
            self._gather()
        points = self._points
        if len(self._stretches):
            if len(points) == MOST:
                self._halve()
            points = np.concatenate((self._points, _extremes(self._stretches[None])))
        scaled = np.rint(points * (64 / FULL_SCALE)).clip(-128, 127).astype(np.int8)
        return scaled.tobytes(), FINEST * self._group

    def _gather(self) -> None:
        while len(self._stretches) >= self._group:
            whole = len(self._stretches) // self._group * self._group
            whole = min(whole, (MOST - len(self._points)) * self._group)
            groups = self._stretches[:whole].reshape(-1, self._group, 2)
            self._stretches = self._stretches[whole:]
            self._points = np.concatenate((self._points, _extremes(groups)))
            if len(self._points) == MOST and len(self._stretches):
                self._halve()

    def _halve(self) -> None:
        self._points = _extremes(self._points.reshape(-1, 2, 2))
        self._group *= 2


def _extremes(groups: NDArray[np.int32]) -> NDArray[np.int32]:
    """Of groups of pairs, or of single samples, the minimum of all first and the maximum of all last ones."""
    return np.stack((groups[:, :, 0].min(axis=1), groups[:, :, -1].max(axis=1)), axis=1)
