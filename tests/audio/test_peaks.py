"""Peaks: coarser ones of fine ones, and the two forms on the wire."""

import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.audio.peaks import downsample, to_dat, to_json

PEAKS = array("b", [-3, 4, -128, 127, 0, 0, -1, 90, -5, 6]).tobytes()


def pairs(peaks: bytes) -> list[tuple[int, int]]:
    values = array("b", peaks).tolist()
    return list(zip(values[::2], values[1::2], strict=True))


def test_a_coarser_point_has_the_extremes_of_what_it_spans():
    assert downsample(PEAKS, 3) == (array("b", [-128, 127, -1, 90, -5, 6]).tobytes(), 2)
    assert downsample(PEAKS, 1) == (array("b", [-128, 127]).tobytes(), 5)


def test_there_are_never_more_points_than_there_were():
    assert downsample(PEAKS, 5) == downsample(PEAKS, 32768) == (PEAKS, 1)


@given(
    st.lists(st.tuples(st.integers(-128, 0), st.integers(0, 127)), min_size=1, max_size=300),
    st.integers(1, 400),
)
def test_at_most_as_many_points_as_asked_for_and_all_but_the_last_span_the_same(fine, points):
    coarse, group = downsample(array("b", [value for pair in fine for value in pair]).tobytes(), points)
    found = pairs(coarse)
    assert len(found) <= points
    expected = [fine[at : at + group] for at in range(0, len(fine), group)]
    assert found == [(min(low for low, _ in part), max(high for _, high in part)) for part in expected]
    assert group == 1 or -(-len(fine) // (group - 1)) > points  # no coarser than need be


def test_json_is_what_audiowaveform_writes():
    assert to_json(PEAKS, 4096, 44100) == {
        "version": 2,
        "channels": 1,
        "sample_rate": 44100,
        "samples_per_pixel": 4096,
        "bits": 8,
        "length": 5,
        "data": [-3, 4, -128, 127, 0, 0, -1, 90, -5, 6],
    }


def test_dat_is_what_audiowaveform_writes():
    data = to_dat(PEAKS, 4096, 48000)
    assert struct.unpack_from("<iIiiIi", data) == (2, 1, 48000, 4096, 5, 1)
    assert data[24:] == PEAKS


@pytest.mark.parametrize("points", [1, 2, 1000, 32767])
def test_a_whole_track_is_made_coarser_at_once(points):
    coarse, _ = downsample(bytes([200, 50]) * 32768, points)
    assert set(pairs(coarse)) == {(-56, 50)}
