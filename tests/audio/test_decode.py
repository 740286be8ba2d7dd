"""What decoding measures, against ffmpeg and what is known of the sound."""

import math
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyebur128
import pytest
from pyebur128 import MeasurementMode, R128State

from service.audio import decoder, meters, peaks
from service.audio.chromaprint import find_library
from service.audio.decode import Measured, Undecodable, measure
from service.audio.fingerprint import SILENT, similarity
from tests import corpus
from tests.audio import oddities
from tests.audio.oddities import ODDITIES

RATE = 44100
PLAYED_BY_FFMPEG = [
    *("cbr128", "vbr", "vbr_low", "rate_32000", "mono", "jingle", "no_xing", "crc_vbr"),
    *("ffmpeg_vbr", "ffmpeg_no_xing", "id3v24_id3v1", "ape_id3v1", "lyrics3"),
    *("half_vbr", "half_id3v1", "junk_last", "junk_first", "id3_too_short", "id3_padding_outside"),
    *(
        "rate_8000",
        "rate_11025_vbr",
        "rate_16000_mono",
        "rate_22050",
        "rate_24000_mono",
        "rate_32000",
        "rate_48000_vbr",
    ),
]
needs_chromaprint = pytest.mark.skipif(find_library() is None, reason="libchromaprint is not installed")


@pytest.fixture
def encoded(tmp_path):
    """A function that makes an mp3 of samples: rows of channels, 1 is full scale."""

    def encoded(samples, *options: str, rate: int = RATE, name: str = "sound") -> Path:
        source, path = tmp_path / f"{name}.wav", tmp_path / f"{name}.mp3"
        samples = np.asarray(samples, np.float32).reshape(len(samples), -1)
        data = samples.astype("<f4").tobytes()
        channels = samples.shape[1]
        head = struct.pack("<HHIIHH", 3, channels, rate, rate * channels * 4, channels * 4, 32)
        body = b"WAVEfmt " + struct.pack("<I", len(head)) + head + b"data" + struct.pack("<I", len(data)) + data
        source.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
        encoder = options or ("-b:a", "192k")
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", source, "-c:a", "libmp3lame", *encoder, path], check=True)
        return path

    return encoded


def ebur128(path: Path) -> tuple[float, float]:
    """Integrated loudness and true peak as ffmpeg measures them."""
    command = ["ffmpeg", "-hide_banner", "-nostats", "-i", path, "-vn", "-af", "ebur128=peak=true:framelog=verbose"]
    done = subprocess.run([*command, "-f", "null", "-"], capture_output=True, text=True, check=True)
    summary = done.stderr.split("Summary:")[-1]
    (loudness,) = re.findall(r"I: +(\S+) LUFS", summary)
    (peak,) = re.findall(r"Peak: +(\S+) dBFS", summary)
    return float(loudness), float(peak)


def tone(seconds: float, level: float = 0.5, hertz: float = 440, rate: int = RATE) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def points(found) -> np.ndarray:
    return np.frombuffer(found.peaks, np.int8).reshape(-1, 2)


# Against other readers


@pytest.mark.parametrize("name", PLAYED_BY_FFMPEG)
def test_loudness_true_peak_and_duration_are_those_of_ffmpeg(path_of, name):
    path = path_of(name)
    found = measure(path)
    loudness, true_peak = ebur128(path)
    assert found.loudness_lufs == pytest.approx(loudness, abs=0.1)
    assert found.true_peak_dbtp == pytest.approx(true_peak, abs=0.3)
    assert found.duration == pytest.approx(corpus.decoded_seconds(path), abs=0.5 / found.sample_rate)
    assert found.lost_samples == 0


@pytest.mark.parametrize("name", [*corpus.VALID, *corpus.DAMAGED])
def test_the_duration_is_the_one_counted_frame_by_frame(path_of, content_of, inspect, name):
    found = measure(path_of(name))
    audio = inspect(content_of(name)).audio
    assert found.duration == pytest.approx(audio.duration, abs=0.5 / found.sample_rate)
    assert (found.sample_rate, found.channels) == (audio.sample_rate, audio.channels)
    assert found.samples == round(audio.duration * audio.sample_rate)
    assert len(found.peaks) == 2 * math.ceil(found.samples / found.samples_per_point)


@pytest.mark.parametrize("name", sorted(ODDITIES))
def test_an_odd_file_is_decoded_as_long_as_its_frames_last(corpus_dir, inspect, name):
    path = oddities.make(corpus_dir, name)
    found = measure(path)
    assert (found.lost_samples > 0) == (name == "frames in any order")
    played = found.duration + found.lost_samples / found.sample_rate
    assert played == pytest.approx(inspect(path.read_bytes()).audio.duration, abs=0.5 / found.sample_rate)


@pytest.mark.parametrize("name", ["free_format", "free_format_bare"])
def test_free_format_sounds_like_the_same_at_a_listed_bitrate(path_of, name):
    found, listed = measure(path_of(name)), measure(path_of("cbr320"))
    assert found.loudness_lufs == pytest.approx(listed.loudness_lufs, abs=0.1)
    assert found.true_peak_dbtp == pytest.approx(listed.true_peak_dbtp, abs=0.3)


@pytest.mark.parametrize("name", ["free_format_low", "rate_8000_mono"])
def test_what_ffmpeg_cannot_read_or_hardly_says_is_measured(path_of, name):
    found = measure(path_of(name))
    assert found.channels == 1
    assert found.loudness_lufs == pytest.approx(-17.8, abs=0.2)


# Joined and damaged files


@pytest.mark.parametrize("name", ["joined", "joined_tagged", "joined_rates"])
def test_a_joined_file_is_measured_to_its_end(path_of, name):
    """The describing frame of the first part promises less, and decoders stop there."""
    found, parts = measure(path_of(name)), [measure(path_of("cbr128")), measure(path_of("vbr"))]
    assert found.duration == pytest.approx(24.1, abs=0.1)
    assert found.loudness_lufs == pytest.approx(-11.6, abs=0.2)
    assert found.true_peak_dbtp >= parts[0].true_peak_dbtp
    assert points(found)[-100:].max() > 10


def test_parts_of_two_sample_rates_and_channels_are_one_timeline(encoded, tmp_path):
    """Loudness of the whole is that of its parts; places are seconds, whatever the rate."""
    parts = [
        encoded(np.stack([tone(4), tone(4)], 1), name="a"),
        encoded(tone(4, rate=22050), "-b:a", "64k", rate=22050, name="b"),
        encoded(np.concatenate([tone(2, rate=48000), np.zeros(96000)]), rate=48000, name="c"),
    ]
    path = tmp_path / "joined.mp3"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    found = measure(path)
    assert (found.sample_rate, found.channels) == (RATE, 2)
    assert found.duration == pytest.approx(12.1, abs=0.15)
    assert found.silence_end_s == pytest.approx(2, abs=0.1)
    loud = np.flatnonzero(points(found)[:, 1] > 32) * found.samples_per_point / RATE
    assert loud.max() == pytest.approx(10.1, abs=0.15)
    # The stereo third of it is 3 LU louder than the two mono ones.
    stereo, mono = measure(parts[0]).loudness_lufs, measure(parts[1]).loudness_lufs
    powers = [10 ** (each / 10) for each in (stereo, mono)]
    assert found.loudness_lufs == pytest.approx(10 * math.log10((4 * powers[0] + 6 * powers[1]) / 10), abs=0.2)


def test_channels_that_change_within_a_chain_are_followed(encoded, tmp_path):
    """Nothing but the mode in the header tells: version, rate and even the bitrate are the same."""
    stereo = encoded(np.stack([tone(3, 0.8), tone(3, 0.8)], 1), "-b:a", "128k", "-write_xing", "0", name="stereo")
    mono = encoded(tone(3, 0.2), "-b:a", "128k", "-write_xing", "0", name="mono")
    path = tmp_path / "changing.mp3"
    path.write_bytes(b"".join(each.read_bytes().split(b"\xff", 1)[1].join([b"\xff", b""]) for each in (stereo, mono)))
    found = measure(path)
    assert found.lost_samples == 0
    middle = len(points(found)) // 2
    assert points(found)[5 : middle - 5, 1].min() > 95
    assert 20 < points(found)[middle + 5 : -5, 1].max() < 30


def test_frames_whose_beginning_is_cut_off_are_silent_and_not_lost(content_of, tmp_path):
    """Their bits begin in frames that are gone; what a decoder makes of the rest is noise, as loud as can be."""
    path = tmp_path / "cut.mp3"
    path.write_bytes(content_of("cbr320")[1044 * 100 + 300 :])
    found = measure(path)
    assert found.lost_samples == 0
    assert found.true_peak_dbtp == pytest.approx(measure_of(content_of("cbr320"), tmp_path).true_peak_dbtp, abs=0.3)


def measure_of(content: bytes, directory: Path) -> Measured:
    path = directory / "measured.mp3"
    path.write_bytes(content)
    return measure(path)


@pytest.mark.parametrize("name", ["wav", "text", "zeros", "empty", "id3_only", "random_3"])
def test_what_is_no_mp3_is_undecodable_and_says_why(path_of, name):
    with pytest.raises(Undecodable, match=r"\w+ .*\."):
        measure(path_of(name))


def test_noise_in_the_place_of_all_frames_is_no_crash(content_of, tmp_path):
    """Headers stay, so that every frame is tried."""
    content, random = bytearray(content_of("no_xing_cbr")), np.random.default_rng(4)
    at = 0
    while at + 417 < len(content):
        length = 417 + (content[at + 2] >> 1 & 1)
        content[at + 4 : at + length] = random.bytes(length - 4)
        at += length
    found = measure_of(bytes(content), tmp_path)
    assert found.duration + found.lost_samples / RATE == pytest.approx(12.04, abs=0.01)


def test_frames_too_short_for_what_a_frame_begins_with_are_no_crash(tmp_path):
    """Free format allows any length, 24 bytes of MPEG-1 in stereo too, whose side information alone takes 32."""
    content = (b"\xff\xfb\x00\x00" + b"\x55" * 20) * 100_000
    with pytest.raises(Undecodable):
        measure_of(content, tmp_path)


@pytest.mark.parametrize("healthy", [0, 3])
def test_a_disk_that_fails_is_not_the_files_fault(corpus_dir, monkeypatch, healthy):
    """Whether the decoder has begun or not."""
    read = decoder._prepare

    def fail(*arguments):
        nonlocal healthy
        healthy -= 1
        if healthy < 0:
            raise OSError("the disk")
        return read(*arguments)

    monkeypatch.setattr(decoder, "_prepare", fail)
    with pytest.raises(OSError, match="the disk"):
        measure(corpus.big(corpus_dir, 4 << 20))


# Levels


def test_sound_above_full_scale_is_measured_as_high_as_it_is(encoded):
    """Encoded music exceeds full scale, and the decoder's 16 bits do not."""
    path = encoded(np.stack([tone(3, 1.5), tone(3, 1.2)], 1))
    found = measure(path)
    loudness, true_peak = ebur128(path)
    assert found.true_peak_dbtp == pytest.approx(true_peak, abs=0.3)
    assert found.true_peak_dbtp > 3
    assert found.sample_peak == pytest.approx(1.5, abs=0.1)
    assert found.loudness_lufs == pytest.approx(loudness, abs=0.1)
    assert points(found).max() == 127
    assert points(found).min() == -128


def test_the_true_peak_lies_between_the_samples(encoded):
    """A quarter of the sample rate, an eighth of a turn late: the samples miss the tops by 3 dB."""
    samples = 0.5 * np.sin(np.pi / 2 * np.arange(RATE * 2) + np.pi / 4)
    found = measure(encoded(np.stack([samples, samples], 1), "-b:a", "320k"))
    assert 20 * math.log10(found.sample_peak) < -8.5
    assert found.true_peak_dbtp == pytest.approx(-6, abs=0.3)


@pytest.mark.parametrize("kind", ["noise", "bursts", "quiet then loud"])
def test_the_true_peak_is_exactly_that_of_filtering_everything(kind):
    """Most stretches are passed over."""
    random = np.random.default_rng(8)
    samples = random.standard_normal((200_000, 2)) * 0.1
    if kind == "bursts":
        samples *= np.abs(np.sin(np.arange(200_000) / 9000))[:, None] ** 8
    elif kind == "quiet then loud":
        samples *= np.linspace(0, 1, 200_000)[:, None]
    samples = samples.astype(np.float32)
    everything = R128State(2, RATE, MeasurementMode.MODE_TRUE_PEAK)
    everything.add_frames(np.concatenate((samples, np.zeros((64, 2), np.float32))).ravel(), len(samples) + 64)
    meter = meters._TruePeak()
    for at in range(0, len(samples), 30_001):
        meter.take(samples[at : at + 30_001])
    expected = max(pyebur128.get_true_peak(everything, channel) for channel in (0, 1))
    assert meter.finish() == pytest.approx(expected, rel=1e-5)


def test_silence_has_no_loudness(encoded):
    found = measure(encoded(np.zeros(RATE * 2)))
    assert (found.loudness_lufs, found.true_peak_dbtp, found.sample_peak) == (None, None, 0)
    assert found.silence_start_s == found.silence_end_s == found.duration == pytest.approx(2)
    assert set(found.peaks) == {0}


@pytest.mark.parametrize(("level", "is_silent"), [(0.0005, True), (0.003, False)])
def test_silent_is_what_stays_below_60_db(encoded, level, is_silent):
    found = measure(encoded(np.concatenate([tone(1, level), tone(1, 0.5), tone(1.5, level)])))
    assert found.silence_start_s == pytest.approx(1 if is_silent else 0, abs=0.03)
    assert found.silence_end_s == pytest.approx(1.5 if is_silent else 0, abs=0.03)


def test_clipped_are_three_samples_in_a_row_at_full_scale(encoded):
    square = np.sign(tone(1, 1, 50)) * 1.3
    assert measure(encoded(np.stack([square, square * 0], 1), "-b:a", "320k")).clipped_samples > RATE * 0.8
    assert measure(encoded(np.stack([square, square], 1) * 0.5, "-b:a", "320k")).clipped_samples == 0


def test_runs_of_full_scale_are_counted_across_blocks_and_by_channel():
    full = meters.FULL_SCALE
    column = np.array([full, full, 0, -full, full, full, 0, full, full, full, full, 0], np.int16)
    for cut in range(len(column) + 1):
        meter = meters._Clipping()
        both = np.stack([column, np.roll(column, 1) * 0 + full * (np.arange(12) % 3 > 0)], 1).astype(np.int16)
        for part in (both[:cut], both[cut:]):
            if len(part):
                meter.take(part)
        assert meter.finish() == 7, cut


# Peaks


def test_peaks_are_the_extremes_of_the_mixed_channels(encoded):
    left = np.concatenate([tone(1, 0.8), np.zeros(RATE)])
    found = measure(encoded(np.stack([left, left * 0], 1), "-b:a", "320k"))
    shape = points(found)
    assert found.samples_per_point == peaks.FINEST
    assert len(shape) == math.ceil(2 * RATE / 2048)
    assert shape[2:18, 1].tolist() == pytest.approx([51] * 16, abs=2)  # 0.8 on one of two channels
    assert shape[2:18, 0].tolist() == pytest.approx([-51] * 16, abs=2)
    assert np.abs(shape[25:]).max() <= 1


@pytest.mark.parametrize("length", [1, 2047, 2048, 2049, 81920, 81921, 131072, 131073, 2**19])
@pytest.mark.parametrize("step", [999, 2048, 70_000])
def test_peaks_become_coarser_while_they_come(monkeypatch, length, step):
    """However the samples were cut: never more points than allowed, and each has the extremes of its samples."""
    monkeypatch.setattr(meters, "MOST", 16)
    mono = np.random.default_rng(length).integers(-16384, 16384, length).astype(np.int32)
    meter = meters._Peaks()
    for at in range(0, length, step):
        meter.take(mono[at : at + step])
    found, samples_per_point = meter.finish()
    shape = np.frombuffer(found, np.int8).reshape(-1, 2)
    assert len(shape) == math.ceil(length / samples_per_point) <= 16
    assert samples_per_point == 2048 or math.ceil(length / (samples_per_point / 2)) > 16
    for point, at in zip(shape, range(0, length, samples_per_point), strict=True):
        part = mono[at : at + samples_per_point] * (64 / meters.FULL_SCALE)
        assert point.tolist() == np.clip(np.rint([part.min(), part.max()]), -128, 127).tolist()


# Resources


def test_memory_does_not_grow_with_the_file(corpus_dir, tmp_path):
    """Ten times as long, within the limit of the process that decodes, and hardly more of it is used."""
    script = (
        "import resource, sys; from pathlib import Path; from service.audio.decode import measure\n"
        "resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))\n"
        "found = measure(Path(sys.argv[1])); print(found.duration)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    used = []
    for size in (4 << 20, 40 << 20):
        path = corpus.big(corpus_dir, size)
        environment = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        command = [sys.executable, "-c", script, path]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        duration, memory = map(float, done.stdout.split())
        assert duration == pytest.approx(size / 16000, rel=0.05)
        used.append(memory)
    assert used[1] - used[0] < 8 << 10


# Fingerprints


@needs_chromaprint
@pytest.mark.parametrize("name", ["cbr128", "cbr320", "vbr_low", "abr", "mono", "no_xing_cbr"])
def test_another_encoding_of_a_sound_has_a_similar_fingerprint(path_of, name):
    one, other = measure(path_of("no_xing")).fingerprint, measure(path_of(name)).fingerprint
    assert one is not None
    assert other is not None
    assert len(one) % 4 == 0
    assert similarity(one, other) > 0.7


@needs_chromaprint
def test_only_the_first_two_minutes_are_in_a_fingerprint(corpus_dir):
    long, longer = (measure(corpus.big(corpus_dir, size)).fingerprint for size in (2 << 20, 4 << 20))
    assert long == longer
    assert 110 * 7.8 < len(long) // 4 < 121 * 8.2


@needs_chromaprint
def test_silence_has_a_word_of_its_own(encoded):
    fingerprint = measure(encoded(np.zeros(10 * RATE))).fingerprint
    assert fingerprint == SILENT * (len(fingerprint) // 4)
    assert similarity(fingerprint, fingerprint) == 0


def test_without_the_library_there_is_no_fingerprint(path_of, monkeypatch):
    monkeypatch.setattr("service.audio.chromaprint.LIBRARY", "libno-such-library.so.1")
    assert measure(path_of("jingle")).fingerprint is None
