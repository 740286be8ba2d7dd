"""What real encoders can be told: every bitrate, quality and mean bitrate of LAME, ffmpeg and Shine, in all versions.

    for name in FAMILIES["lame cbr 1"]:
        path = encode(directory, name)     # made once, then found in the directory

Each file is named after the command that made it, so a failure says how to get the file.
"""

import os
import subprocess
from pathlib import Path

from service.audio.mpeg import BITRATES_1, BITRATES_2
from tests.corpus import source

SECONDS = 2
_RATES = {"1": (44100, 48000, 32000), "2": (22050, 24000, 16000), "2.5": (11025, 12000, 8000)}
_BITRATES = {"1": BITRATES_1[1:], "2": BITRATES_2[1:], "2.5": BITRATES_2[1:9]}  # LAME gives 2.5 no more than 64
_MODES = ("m", "s", "j", "d")  # mono, stereo, joint, two channels of their own


def _each(version: str, index: int) -> int:
    return _RATES[version][index % 3]


def _lame_cbr(version: str) -> list[str]:
    return [
        f"lame --resample {_each(version, n) / 1000} -m {mode} -b {bitrate}"
        for n, bitrate in enumerate(_BITRATES[version])
        for mode in ("m", ("s", "j", "d")[n % 3])
    ]


def _lame_vbr(version: str) -> list[str]:
    return [
        f"lame --resample {_each(version, n) / 1000} -m {_MODES[n % 3]} {switch} {quality}"
        for n, quality in enumerate(range(10))
        for switch in ("-V", "--vbr-old -V")[: 1 + (n % 4 == 0)]
    ]


def _lame_abr(version: str) -> list[str]:
    return [
        f"lame --resample {_each(version, n) / 1000} -m {_MODES[n % 4]} --abr {mean}"
        for n, mean in enumerate({"1": (32, 77, 128, 199, 310), "2": (8, 33, 90, 155), "2.5": (8, 31, 60)}[version])
    ]


def _ffmpeg(version: str) -> list[str]:
    bitrates = _BITRATES[version]
    options = [
        *(f"-ac {1 + n % 2} -b:a {bitrate}k" for n, bitrate in enumerate(bitrates[:: 2 if version == "1" else 3])),
        *(f"-ac {2 - n % 2} -q:a {quality}" for n, quality in enumerate((0, 3, 6, 9))),
        f"-ac 2 -abr 1 -b:a {bitrates[6]}k",
        f"-ac 2 -joint_stereo 0 -reservoir 0 -b:a {bitrates[5]}k",
        "-ac 1 -write_xing 0 -id3v2_version 0 -q:a 4",
        f"-ac 2 -write_id3v1 1 -id3v2_version 4 -b:a {bitrates[4]}k",
    ]
    return [f"ffmpeg -c:a libmp3lame -ar {_each(version, n)} {option}" for n, option in enumerate(options)]


FAMILIES: dict[str, list[str]] = {
    **{f"lame cbr {version}": _lame_cbr(version) for version in _RATES},
    **{f"lame vbr {version}": _lame_vbr(version) for version in _RATES},
    **{f"lame abr {version}": _lame_abr(version) for version in _RATES},
    **{f"ffmpeg {version}": _ffmpeg(version) for version in _RATES},
    "lame crc": [
        f"lame --resample {rate / 1000} -p -m {mode} {option}"
        for rate, mode, option in (
            (44100, "m", "-b 96"),
            (48000, "s", "-b 320"),
            (32000, "j", "-V 1"),
            (22050, "j", "-b 64"),
            (16000, "m", "-V 5"),
            (24000, "s", "--abr 50"),
            (11025, "m", "-b 16"),
            (8000, "j", "-b 64"),
        )
    ],
    "lame bare": [
        f"lame --resample {rate / 1000} -t {option}"
        for rate, option in ((44100, "-V 4"), (48000, "-b 112"), (24000, "--abr 70"), (8000, "-V 6"), (12000, "-b 56"))
    ],
    "lame without reservoir": [
        f"lame --resample {rate / 1000} {option}"
        for rate, option in ((44100, "--nores -b 160"), (44100, "-F -V 3 -b 96"), (22050, "--nores -V 5"))
    ],
    "shine": [
        f"ffmpeg -c:a libshine -ar {rate} -ac {channels} -b:a {bitrate}k"
        for rate, channels, bitrate in (
            (44100, 2, 128),
            (48000, 2, 320),
            (32000, 1, 64),
            (44100, 1, 32),
            (48000, 2, 192),
        )
    ],
    "free format": [
        f"lame --resample {rate / 1000} --freeformat -b {bitrate} {option}"
        for rate, bitrate, option in (
            (44100, 8, "-m m"),
            (44100, 141, "-m j"),
            (48000, 640, "-m s"),
            (32000, 330, "-t"),
            (22050, 17, "-m m"),
            (24000, 320, "-p"),
            (16000, 100, "-t -m m"),
            (11025, 9, "-m m"),
            (8000, 40, ""),
        )
    ],
}


def encode(directory: Path, command: str) -> Path:
    """The file that this command makes of two seconds of sound."""
    path = directory / f"{command.replace(' ', '_')}.mp3"
    if not path.exists():
        part = path.with_name(f"{os.getpid()}-{path.name}")
        program, *options = command.split()
        sound = source(directory, SECONDS, 44100)
        quiet = ["-v", "error", "-bitexact", "-f", "mp3"] if program == "ffmpeg" else ["--quiet"]
        given = ["-i", sound, *options, *quiet] if program == "ffmpeg" else [*quiet, *options, sound]
        subprocess.run([program, *given, part], capture_output=True, check=True)
        part.rename(path)
    return path
