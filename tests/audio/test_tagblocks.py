"""Where tags begin and end."""

import pytest

from service.audio.tagblocks import length_at, length_of_trailers, starts_at
from tests import corpus


@pytest.mark.parametrize(
    "tag",
    [
        corpus.id3(b"", padding=0),
        corpus.id3(b"TIT2", version=4),
        corpus.id3(b"", padding=1_000_000),
        corpus.ape(),
        corpus.id3v1(),
    ],
)
def test_a_tag_tells_its_length_at_its_beginning(tag):
    assert length_at(b"..." + tag + b"...", 3) == len(tag)
    assert starts_at(b"..." + tag, 3)


def test_an_id3_footer_counts():
    tag = bytearray(corpus.id3(b"TIT2", version=4))
    tag[5] |= 0x10
    footer = b"3DI" + tag[3:10]
    assert length_at(bytes(tag + footer), 0) == len(tag) + 10
    assert length_of_trailers(b"music" + bytes(tag + footer)) == len(tag) + 10


@pytest.mark.parametrize(
    "word", [b"ID3", b"ID3\x03\x00\x00\xff\x00\x00\x00", b"ID3\x09" + bytes(6), b"APETAGEX" + bytes(24)]
)
def test_the_name_of_a_tag_alone_is_no_tag(word):
    assert length_at(word, 0) == 0


@pytest.mark.parametrize(
    "tags",
    [
        [],
        [corpus.id3v1()],
        [corpus.ape()],
        [corpus.ape(version=1000)],
        [corpus.ape(), corpus.id3v1()],
        [corpus.lyrics3(), corpus.id3v1()],
        [corpus.ape(version=1000), corpus.lyrics3(), corpus.id3v1()],
        [b"LYRICSBEGIN La la LYRICSEND", corpus.id3v1()],
        [b"TAG+" + bytes(223), corpus.id3v1()],
    ],
)
def test_trailing_tags_are_found_by_their_endings(tags):
    assert length_of_trailers(b"music" * 100 + b"".join(tags)) == sum(map(len, tags))
