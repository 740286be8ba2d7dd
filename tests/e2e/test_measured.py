"""A file is uploaded to the real process, which decodes it: its waveform and what its report says."""

import sqlite3
import struct
import time
from contextlib import closing

import pytest

from service.audio.chromaprint import find_library
from tests.audio.oddities import make


def upload(server, path):
    """The track, when all is known of it."""
    answer = server.curl("/spool/", "-T", path)
    assert answer.status == 201, answer
    track, deadline = answer.json(), time.monotonic() + 60
    while track["state"] == "analysing":
        assert time.monotonic() < deadline
        time.sleep(0.05)
        track = server.get_json(f"/tracks/{track['id']}")
    return track


def test_the_waveform_and_the_report_of_a_track(server, path_of):
    track = upload(server, path_of("vbr"))
    decoded = server.get_json(f"/tracks/{track['id']}/report")["decoded"]
    assert decoded["duration"] == pytest.approx(track["duration"], abs=1e-5) == 12
    assert decoded["loudness_lufs"] == pytest.approx(-11.4, abs=0.1)
    assert decoded["true_peak_dbtp"] == pytest.approx(-7.8, abs=0.3)
    assert decoded["silence_start_s"] == pytest.approx(0.7, abs=0.02)

    peaks = server.get_json(f"/tracks/{track['id']}/peaks?points=100")
    assert peaks["length"] == len(peaks["data"]) / 2 <= 100
    assert peaks["length"] * peaks["samples_per_pixel"] == pytest.approx(12 * 44100, abs=peaks["samples_per_pixel"])
    assert peaks["data"][: 2 * 5] == [0] * 10  # it begins with silence
    assert max(peaks["data"]) > 30
    answer = server.curl(f"/tracks/{track['id']}/peaks?points=100", "-H", "Accept: application/octet-stream")
    assert struct.unpack_from("<iIiiIi", answer.body)[4] == peaks["length"] == (len(answer.body) - 24) / 2


@pytest.mark.parametrize("name", ["joined with free format", "frames in any order", "cut free format"])
def test_odd_files_have_a_waveform(server, tmp_path, name):
    track = upload(server, make(tmp_path, name))
    assert server.get_json(f"/tracks/{track['id']}/peaks?points=50")["length"] > 10


@pytest.mark.skipif(find_library() is None, reason="libchromaprint is not installed")
def test_the_process_that_decodes_finds_the_fingerprint_library_within_its_limits(server, path_of):
    """It loads a hundred others, and memory is short there."""
    one, other = upload(server, path_of("cbr128")), upload(server, path_of("cbr320"))
    with closing(sqlite3.connect(server.database_path)) as connection:
        rows = connection.execute("SELECT track_id, fingerprint, sound_id FROM tracks JOIN analyses USING (track_id)")
        found = {row[0]: row[1:] for row in rows}
    fingerprints, sounds = zip(found[one["id"]], found[other["id"]], strict=True)
    assert all(fingerprints)
    assert sounds[0] == sounds[1] is not None
