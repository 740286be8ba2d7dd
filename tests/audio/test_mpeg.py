"""Frame headers by the tables of the standard, and the frames that describe others."""

import pytest

from service.audio.mpeg import (
    SAMPLE_RATES,
    Stream,
    frame_lengths,
    mean_length,
    parse_header,
    parse_info,
)


@pytest.mark.parametrize(
    ("word", "version", "sample_rate", "bitrate", "channels", "length"),
    [
        ("fffb9064", "1", 44100, 128000, 2, 417),
        ("fffb9264", "1", 44100, 128000, 2, 418),
        ("fffa9064", "1", 44100, 128000, 2, 417),
        ("fffbe064", "1", 44100, 320000, 2, 1044),
        ("fffb94c4", "1", 48000, 128000, 1, 384),
        ("fffb1864", "1", 32000, 32000, 2, 144),
        ("fff380c4", "2", 22050, 64000, 1, 208),
        ("fff3e4c4", "2", 24000, 160000, 1, 480),
        ("ffe318c4", "2.5", 8000, 8000, 1, 72),
        ("ffe310c4", "2.5", 11025, 8000, 1, 52),
        ("fffb0064", "1", 44100, 0, 2, 0),
    ],
)
def test_a_header_tells_the_length_of_its_frame(word, version, sample_rate, bitrate, channels, length):
    header = parse_header(bytes.fromhex(word))
    assert header is not None
    assert header.stream == Stream(version, sample_rate)
    assert (header.bitrate, header.channels, header.length) == (bitrate, channels, length)


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("fefb9064", "no sync"),
        ("ff7b9064", "no sync"),
        ("ffeb9064", "reserved version"),
        ("fff99064", "reserved layer, which is AAC"),
        ("fffd9064", "layer II"),
        ("ffff9064", "layer I"),
        ("fffbf064", "forbidden bitrate"),
        ("fffb9c64", "reserved sample rate"),
        ("fffb90", "three bytes"),
        ("", "nothing"),
    ],
)
def test_what_is_no_header_of_layer_iii_gives_none(word, why):
    assert parse_header(bytes.fromhex(word)) is None, why


@pytest.mark.parametrize(
    ("version", "rate"), [(version, rate) for version, rates in SAMPLE_RATES.items() for rate in rates]
)
def test_the_length_table_agrees_with_the_parsed_header(version, rate):
    lengths = frame_lengths(Stream(version, rate))
    second = Stream(version, rate).second_byte
    for third in range(256):
        header = parse_header(bytes((0xFF, second, third, 0)))
        expected = header.length if header and header.stream == Stream(version, rate) else 0
        assert lengths[third] == expected


def test_a_free_format_stream_has_one_length_and_its_padded_twin():
    lengths = frame_lengths(Stream("1", 44100, free_length=1305))
    assert {length for length in lengths if length} == {1305, 1306}
    assert [third for third, length in enumerate(lengths) if length] == [0, 1, 2, 3]
    assert Stream("1", 48000, free_length=1110).bitrate(0) == 370_000


def test_padding_repeats_after_49_frames_at_44100_and_never_matters_at_48000():
    assert mean_length(Stream("1", 44100), 0x90).as_integer_ratio() == (20480, 49)
    assert mean_length(Stream("1", 48000), 0x94).as_integer_ratio() == (384, 1)


def test_the_frame_of_an_encoder_tells_what_it_knows(content_of):
    content = content_of("abr")
    info = parse_info(content[:417])
    assert info is not None
    assert (info.kind, info.encoder, info.is_abr) == ("Xing", "LAME3.100", True)
    assert info.bytes == len(content)
    assert info.frames == 461
    assert (info.delay, info.padding) == (576, 1296)
    assert info.frames * 1152 - info.delay - info.padding == 12 * 44100


def test_a_frame_of_music_describes_nothing(content_of):
    assert parse_info(content_of("no_xing_cbr")[:417]) is None


@pytest.mark.parametrize("name", ["rate_8000", "rate_22050_vbr", "mono", "crc"])
def test_the_describing_frame_is_found_in_every_layout_of_side_information(name, content_of):
    content = content_of(name)
    header = parse_header(content[:4])
    assert header is not None
    info = parse_info(content[: header.length])
    assert info is not None
    assert info.encoder == "LAME3.100"


def test_fraunhofers_header_is_read():
    frame = (
        bytes.fromhex("fffb9064") + bytes(32) + b"VBRI\x00\x01\x0d\xb1\x00\x64" + b"\x00\x07\xa1\x20\x00\x00\x04\xd2"
    )
    info = parse_info(frame.ljust(417, b"\x00"))
    assert info is not None
    assert (info.kind, info.bytes, info.frames, info.delay) == ("VBRI", 500_000, 1234, None)


@pytest.mark.parametrize("length", [4, 36, 40, 44, 50, 60, 150])
def test_a_describing_frame_that_ends_early_raises_nothing(length, content_of):
    parse_info(content_of("vbr")[:length])
    parse_info((bytes.fromhex("fffb9064") + bytes(32) + b"VBRI")[:length])
