"""What the inspector says of every file of the corpus, beside what four other programs say of it.

ffmpeg decodes, mutagen and ffprobe read, mp3val looks for damage. Where one of them differs, the reason stands here.
"""

import re
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import miniaudio
import pytest
from mutagen.mp3 import MP3

from service.audio.decode import measure
from service.audio.inspector import AudioReport
from tests import matrix
from tests.audio import oddities
from tests.audio.oddities import DAMAGED, ODDITIES, WHOLE

DECODABLE = [family for family in matrix.FAMILIES if family != "free format"]

# ffmpeg gives up on these; another decoder does not.
NOT_BY_FFMPEG = {
    "one frame": "it wants several frames to believe in an mp3",
    "one frame and ID3v1": "the same",
    "one frame between tags": "the same",
    "two frames of MPEG-2.5": "the same",
    "free format behind ID3v2": "it knows no free format",
    "cut free format": "the same",
    "joined with free format": "the same; it plays the first file only",
}

# Nor does any other.
NOT_BY_ANY = {"one frame between tags": "nothing confirms the frame", "joined with free format": "they play one part"}

# ffmpeg's duration is off by more than a frame.
WRONG_BY_FFMPEG = {
    "APEv2 in front": "the tag is junk to it, so it plays the describing frame, and the encoder's delay and padding",
    "noise between frames": "it takes false headers in the noise for frames, and loses true ones after them",
    "noise at five places": "the same",
}

# Our own decoder makes less of these than there is, and says so.
LOST_IN_DECODING = {"frames in any order": "most need bits of the frame that was before them"}

# What mp3val finds, by the member of the report that must say so.
FINDINGS: dict[str, Callable[[AudioReport], bool]] = {
    "Garbage at the beginning of the file": lambda audio: audio.junk_bytes > 0,
    "Garbage at the end of the file": lambda audio: audio.junk_bytes > 0,
    "MPEG stream error, resynchronized successfully": lambda audio: audio.gaps > 0 or audio.junk_bytes > 0,
    "It seems that file is truncated or there is garbage": lambda audio: audio.truncated or audio.junk_bytes > 0,
    "VBR detected, but no VBR header is present": lambda audio: audio.mode == "vbr" and audio.info is None,
    "Different MPEG versions or layers in one file": lambda audio: audio.gaps > 0,
    "Wrong number of MPEG frames specified": lambda audio: audio.promised_frames != audio.frames,
}
NOT_A_FINDING = ("No supported tags in the file", "Too few MPEG frames", "Wrong number of MPEG data bytes")

# What mp3val finds where nothing is wrong.
WRONG_BY_MP3VAL = {
    "ID3v2.4 appended": ("Garbage at the end of the file", "it knows no tags with a footer"),
    "ID3v2.4 appended before ID3v1": ("Garbage at the end of the file", "the same"),
    "ID3v1 with enhanced tag": ("Garbage at the end of the file", "it does not know that extension"),
    "APEv1": ("Garbage at the end of the file", "it does not know that version"),
    "Lyrics3v1": ("Garbage at the end of the file", "it knows no Lyrics3"),
    "Lyrics3v2": ("Garbage at the end of the file", "the same"),
    "all tags there are": ("Garbage at the end of the file", "the same"),
    "ID3v2.3 three times": ("MPEG stream error, resynchronized successfully", "it expects one"),
    "VBRI": ("Wrong number of MPEG frames specified", "it counts the describing frame, Fraunhofer does not"),
    "VBRI behind ID3v2": ("Wrong number of MPEG frames specified", "the same"),
    "VBRI in MPEG-2": ("Wrong number of MPEG frames specified", "the same"),
    "free format behind ID3v2": ("Garbage at the end of the file", "it knows no free format"),
    "joined with free format": ("Garbage at the end of the file", "the same"),
}

# Damage that mp3val does not find.
UNSEEN_BY_MP3VAL = {
    "cut by one whole frame": "it counts the describing frame, so that one less is right to it",
    "a promise of one too many": "the same",
    "cut free format": "it knows no free format",
    "joined with free format": "the same",
}


def family_paths(directory: Path, family: str) -> list[Path]:
    return [matrix.encode(directory, command) for command in matrix.FAMILIES[family]]


def decoded_seconds(paths: list[Path]) -> list[float]:
    """How long ffmpeg plays each; one process for all of them."""
    with tempfile.TemporaryDirectory() as scratch:
        command = ["ffmpeg", "-v", "quiet", *(word for path in paths for word in ("-i", path))]
        outputs = [Path(scratch) / str(number) for number in range(len(paths))]
        for number, output in enumerate(outputs):
            command += ["-map", f"{number}:a:0", "-f", "s16le", "-ac", "1", "-ar", "48000", output]
        subprocess.run(command, check=False)
        return [output.stat().st_size / 2 / 48000 for output in outputs]


@cache
def findings(path: Path) -> SimpleNamespace:
    """What mp3val says of a file: how many frames it counts, and what it finds wrong."""
    said = subprocess.run(["mp3val", path], capture_output=True, text=True, check=False).stdout
    counted = re.search(r"(\d+) MPEG frames", said)
    warnings = re.findall(r'^WARNING: "[^"]*"(?: \(offset \w+\))?: (.*)$', said, re.MULTILINE)
    found = {warning for warning in warnings if not warning.startswith(NOT_A_FINDING)}
    return SimpleNamespace(frames=int(counted[1]) if counted else None, found=found)


def frame_seconds(audio: AudioReport) -> float:
    return (1152 if audio.version == "1" else 576) / audio.sample_rate


def kinds_of(found: set[str]) -> set[str]:
    return {kind for kind in FINDINGS for finding in found if finding.startswith(kind)}


# Everything that encoders make


@pytest.mark.parametrize("family", matrix.FAMILIES)
def test_what_encoders_make_is_whole_and_as_told(family, corpus_dir, inspect):
    for command, path in zip(matrix.FAMILIES[family], family_paths(corpus_dir, family), strict=True):
        audio = inspect(path.read_bytes()).audio
        assert (audio.junk_bytes, audio.gaps, audio.truncated) == (0, 0, False), command
        assert audio.promised_frames in (None, audio.frames), command
        told = re.search(r"-b(?::a)? (\d+)", command)
        if told and "abr" not in command and "-V" not in command:
            assert audio.mode == "cbr", command
            assert audio.bitrate == pytest.approx(int(told[1]) * 1000, rel=0.02), command  # free format is rounded
        rate = re.search(r"--resample ([\d.]+)|-ar (\d+)", command)
        assert rate
        assert audio.sample_rate == (float(rate[1]) * 1000 if rate[1] else int(rate[2])), command


@pytest.mark.parametrize("family", DECODABLE)
def test_the_duration_is_the_decoded_one_to_the_sample(family, corpus_dir, inspect):
    paths = family_paths(corpus_dir, family)
    for path, seconds in zip(paths, decoded_seconds(paths), strict=True):
        audio = inspect(path.read_bytes()).audio
        assert audio.duration == pytest.approx(seconds, abs=2 / min(audio.sample_rate, 24000)), path.name


def test_free_format_lasts_as_long_as_another_decoder_plays_it(corpus_dir, inspect):
    for path in family_paths(corpus_dir, "free format"):
        audio = inspect(path.read_bytes()).audio
        decoded = miniaudio.mp3_get_file_info(str(path))
        surplus = 0.0
        if "-p" in path.name:  # behind a CRC, this decoder does not find the describing frame, and plays all
            surplus = (576 + 576 + 1536 - 576) / audio.sample_rate
        assert (audio.sample_rate, audio.channels) == (decoded.sample_rate, decoded.nchannels), path.name
        assert audio.duration == pytest.approx(decoded.duration - surplus, abs=frame_seconds(audio)), path.name


@pytest.mark.parametrize("family", DECODABLE)
def test_mutagen_reads_the_same(family, corpus_dir, inspect):
    for path in family_paths(corpus_dir, family):
        audio, read = inspect(path.read_bytes()).audio, MP3(path).info
        version = {1: "1", 2: "2", 2.5: "2.5"}[read.version]
        assert (audio.version, audio.sample_rate, audio.channels) == (version, read.sample_rate, read.channels)
        if audio.mode == "vbr" and audio.info is None:
            continue  # it guesses by the bitrate of the first frame
        if audio.encoder and not audio.encoder.startswith("LAME"):  # it knows of delay and padding by LAME only
            assert audio.encoder_delay is not None
            assert audio.encoder_padding is not None
            unplayed = audio.encoder_delay + max(audio.encoder_padding, 529)
            assert audio.duration == pytest.approx(read.length - unplayed / audio.sample_rate, abs=1e-4), path.name
        else:  # without a describing frame it divides the size by the bitrate
            assert audio.duration == pytest.approx(read.length, abs=frame_seconds(audio) / 10), path.name


@pytest.mark.parametrize("family", DECODABLE)
def test_mp3val_finds_the_same_frames_and_nothing_wrong(family, corpus_dir, inspect):
    for path in family_paths(corpus_dir, family):
        audio = inspect(path.read_bytes()).audio
        assert findings(path).frames == audio.frames + (audio.info is not None), path.name
        for kind in kinds_of(findings(path).found):
            assert kind.startswith("VBR detected"), path.name
            assert FINDINGS[kind](audio), path.name


@pytest.mark.parametrize("family", DECODABLE)
def test_ffprobe_reads_the_same(family, corpus_dir, inspect):
    for path in family_paths(corpus_dir, family)[::4]:  # a process for each
        audio, fields = inspect(path.read_bytes()).audio, "sample_rate,channels,nb_read_packets"
        command = ["ffprobe", "-v", "quiet", "-count_packets", "-show_entries", f"stream={fields}", "-of", "csv=p=0"]
        said = subprocess.run([*command, path], capture_output=True, text=True, check=True).stdout
        numbers = [int(number) for number in re.findall(r"\d+", said)]
        assert numbers == [audio.sample_rate, audio.channels, audio.frames], path.name


# Oddities


@pytest.mark.parametrize("name", ODDITIES)
def test_the_report_of_an_oddity_is_true(name, corpus_dir, inspect):
    oddity, audio = ODDITIES[name], inspect(oddities.make(corpus_dir, name).read_bytes()).audio
    assert (audio.frames, audio.tag_bytes, audio.junk_bytes, audio.gaps, audio.truncated) == (
        oddity.frames,
        oddity.tags,
        oddity.junk,
        oddity.gaps,
        oddity.is_truncated,
    )
    assert {fact: getattr(audio, fact) for fact in oddity.facts} == oddity.facts


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_has_a_name_in_the_report(name, corpus_dir, inspect):
    audio = inspect(oddities.make(corpus_dir, name).read_bytes()).audio
    is_broken_promise = audio.promised_frames not in (None, audio.frames)
    joined_seamlessly = name == "joined"  # is a chain like any other
    assert audio.junk_bytes or audio.gaps or audio.truncated or is_broken_promise or joined_seamlessly


@pytest.mark.parametrize("name", [name for name in ODDITIES if name not in NOT_BY_FFMPEG | WRONG_BY_FFMPEG])
def test_the_duration_of_an_oddity_is_the_decoded_one_within_a_frame(name, corpus_dir, inspect):
    path = oddities.make(corpus_dir, name)
    audio = inspect(path.read_bytes()).audio
    one_frame = 576 / 8000 if "three versions" in name else frame_seconds(audio)
    assert audio.duration == pytest.approx(decoded_seconds([path])[0], abs=one_frame + 1 / audio.sample_rate)


@pytest.mark.parametrize("name", [name for name in NOT_BY_FFMPEG if name not in NOT_BY_ANY])
def test_the_duration_that_ffmpeg_does_not_know_is_that_of_another_decoder(name, corpus_dir, inspect):
    path = oddities.make(corpus_dir, name)
    audio = inspect(path.read_bytes()).audio
    decoded = miniaudio.mp3_get_file_info(str(path))
    assert audio.duration == pytest.approx(decoded.duration, abs=frame_seconds(audio) + 1 / audio.sample_rate)


@pytest.mark.parametrize("name", WRONG_BY_FFMPEG)
def test_the_duration_that_ffmpeg_gets_wrong_is_that_of_the_frames_mp3val_counts(name, corpus_dir, inspect):
    path = oddities.make(corpus_dir, name)
    audio = inspect(path.read_bytes()).audio
    assert abs(audio.duration - decoded_seconds([path])[0]) > frame_seconds(audio)  # or it need not stand here
    frames = findings(path).frames - (audio.info is not None)
    assert audio.duration == pytest.approx(frames * frame_seconds(audio), abs=1657 / 44100)  # of delay and padding


@pytest.mark.parametrize("name", [name for name in ODDITIES if name not in LOST_IN_DECODING])
def test_what_is_measured_lasts_as_long_as_the_report_says(name, corpus_dir, inspect):
    path = oddities.make(corpus_dir, name)
    measured = measure(path)
    assert measured.duration == pytest.approx(inspect(path.read_bytes()).audio.duration, abs=1e-4)
    assert measured.lost_samples == 0


@pytest.mark.parametrize("name", LOST_IN_DECODING)
def test_frames_that_our_decoder_cannot_play_are_told(name, corpus_dir, inspect):
    path = oddities.make(corpus_dir, name)
    measured = measure(path)
    missing = inspect(path.read_bytes()).audio.duration - measured.duration
    assert measured.lost_samples / measured.sample_rate == pytest.approx(missing, abs=1e-4)
    assert measured.lost_samples > 0


@pytest.mark.parametrize("name", ODDITIES)
def test_mp3val_finds_what_the_report_says(name, corpus_dir, inspect):
    path = oddities.make(corpus_dir, name)
    audio, seen = inspect(path.read_bytes()).audio, findings(path)
    found = kinds_of(seen.found)
    assert len(found) == len({re.split(r" in \w+ header| \(", finding)[0] for finding in seen.found}), seen.found
    if name in WRONG_BY_MP3VAL:
        kind, _ = WRONG_BY_MP3VAL[name]
        assert kind in found
        found -= {kind}
    for kind in found:
        assert FINDINGS[kind](audio), kind
    if name in UNSEEN_BY_MP3VAL:
        assert not found
    elif audio.truncated or audio.gaps or audio.junk_bytes:
        assert found - {"VBR detected, but no VBR header is present"}
    if "free format" not in name:
        own = audio.frames + (audio.info is not None)
        assert own <= seen.frames <= own + audio.truncated + audio.gaps  # it counts frames that are cut, too


def test_whatever_is_said_to_be_wrong_is_an_oddity_or_a_reader():
    assert NOT_BY_ANY.keys() <= NOT_BY_FFMPEG.keys()
    assert (
        WRONG_BY_FFMPEG.keys() | NOT_BY_FFMPEG.keys() | WRONG_BY_MP3VAL.keys() | LOST_IN_DECODING.keys()
    ) <= ODDITIES.keys()
    assert UNSEEN_BY_MP3VAL.keys() <= DAMAGED.keys()
    assert WHOLE.keys().isdisjoint(DAMAGED)
