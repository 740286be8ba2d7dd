"""What is written into a tag is what other programs read out of it."""

import io
import json
import subprocess

import mutagen.id3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tinytag import TinyTag

from service.audio import id3, tagblocks
from service.audio.frames import scan
from service.audio.tags import read_tags

WORDS = {
    "title": "Früher war mehr Lametta",
    "artist": "Sigur Rós",
    "album": "( )",
    "album_artist": "シガー・ロス",
    "genre": "Post-Rock",
    "composer": "Jón Þór 🎻",
    "comment": "First line\nsecond line",
    "isrc": "GBAAA0200123",
    "year": 2002,
    "track_number": 3,
    "track_total": 8,
    "disc_number": 1,
    "disc_total": 2,
    "bpm": 127.6,
    "musicbrainz": {
        "recording": "b9ad642e-b012-41c7-b72a-42cf4911f9ff",
        "release": "0da580f2-6768-498f-af9d-2becaddf15e0",
    },
    "replaygain": {"track_gain": -6.5, "track_peak": 0.98776},
}
LABELS = {"mood": "calm", "for-radio": "ja, nächste Woche"}


@pytest.fixture(scope="module")
def cover(tmp_path_factory):
    """A JPEG of a real encoder, with bytes that look like headers of frames."""
    path = tmp_path_factory.mktemp("cover") / "cover.jpg"
    source = "testsrc2=s=1024x1024,noise=alls=20:all_seed=1"
    command = f"ffmpeg -v error -f lavfi -i {source} -frames:v 1 -q:v 2".split()
    subprocess.run([*command, path], check=True)
    content = path.read_bytes()
    assert len(content) > 100_000
    return content


@pytest.fixture
def tagged(tmp_path, content_of):
    """A function that puts a tag before music; the path of the file."""

    def tagged(tag, name="cbr128"):
        path = tmp_path / "tagged.mp3"
        path.write_bytes(tag + content_of(name))
        return path

    return tagged


def test_mutagen_reads_every_word(tagged, cover):
    tags = mutagen.id3.ID3(tagged(id3.build(WORDS, labels=LABELS, cover=cover)))
    assert tags.version == (2, 4, 0)
    assert not tags.unknown_frames
    texts = {key: str(frame) for key, frame in tags.items() if key[0] == "T"}
    assert texts == {
        "TIT2": WORDS["title"],
        "TPE1": WORDS["artist"],
        "TALB": "( )",
        "TPE2": WORDS["album_artist"],
        "TCON": "Post-Rock",
        "TCOM": WORDS["composer"],
        "TSRC": "GBAAA0200123",
        "TDRC": "2002",
        "TRCK": "3/8",
        "TPOS": "1/2",
        "TBPM": "127.6",
        "TXXX:MusicBrainz Album Id": "0da580f2-6768-498f-af9d-2becaddf15e0",
        "TXXX:REPLAYGAIN_TRACK_GAIN": "-6.50 dB",
        "TXXX:REPLAYGAIN_TRACK_PEAK": "0.987760",
        "TXXX:label:mood": "calm",
        "TXXX:label:for-radio": "ja, nächste Woche",
    }
    assert tags.getall("COMM")[0].text == ["First line\nsecond line"]
    assert tags["UFID:http://musicbrainz.org"].data == WORDS["musicbrainz"]["recording"].encode()
    picture = tags.getall("APIC")[0]
    assert (picture.type, picture.mime, picture.desc, picture.data) == (3, "image/jpeg", "", cover)


def test_tinytag_reads_every_word(tagged, cover):
    tags = TinyTag.get(tagged(id3.build(WORDS, labels=LABELS, cover=cover)), image=True)
    read = (tags.title, tags.artist, tags.album, tags.albumartist, tags.genre, tags.composer, tags.comment)
    assert read == tuple(
        WORDS[name] for name in ("title", "artist", "album", "album_artist", "genre", "composer", "comment")
    )
    assert (tags.year, tags.track, tags.track_total, tags.disc, tags.disc_total) == ("2002", 3, 8, 1, 2)
    assert tags.images.front_cover.data == cover
    assert tags.duration == pytest.approx(12.0, abs=0.1)


def test_ffmpeg_reads_the_words_and_plays_the_music(tagged, cover):
    path = tagged(id3.build(WORDS, labels=LABELS, cover=cover))
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_format", "-show_streams", path]
    probed = subprocess.run(command, capture_output=True, check=True)
    assert probed.stderr == b""
    answer = json.loads(probed.stdout)
    told = {name.lower(): text for name, text in answer["format"]["tags"].items()}
    assert (told["title"], told["composer"], told["track"], told["date"]) == (
        WORDS["title"],
        WORDS["composer"],
        "3/8",
        "2002",
    )
    assert (told["comment"], told["label:mood"]) == (WORDS["comment"], "calm")
    audio, picture = answer["streams"]
    assert (audio["codec_name"], picture["codec_name"], picture["width"]) == ("mp3", "mjpeg", 1024)
    assert float(audio["duration"]) == pytest.approx(12.0, abs=0.1)
    played = subprocess.run(
        ["ffmpeg", "-v", "warning", "-i", path, "-map", "0:a", "-f", "null", "-"], capture_output=True
    )
    assert (played.returncode, played.stderr) == (0, b"")


def test_our_own_reader_reads_every_word(tagged, cover):
    tags = read_tags(tagged(id3.build(WORDS, labels=LABELS, cover=cover)))
    assert {name: getattr(tags, name) for name in WORDS} == WORDS
    assert (tags.picture, tags.sources) == (cover, ("id3v2.4",))


def test_mp3val_finds_nothing_wrong(tagged, cover):
    path = tagged(id3.build(WORDS, labels=LABELS, cover=cover))
    said = subprocess.run(["mp3val", path], capture_output=True, text=True, check=True).stdout
    assert "WARNING" not in said
    assert "461 MPEG frames" in said or "462 MPEG frames" in said


def test_the_tag_ends_where_it_says(content_of, tagged, cover):
    tag = id3.build(WORDS, labels=LABELS, cover=cover)
    assert tagblocks.length_at(tag, 0) == len(tag)
    path = tagged(tag)
    assert scan(path).start == len(tag)
    path.write_bytes(content_of("cbr128"))
    assert scan(path).sha256 == scan(tagged(tag)).sha256


def test_what_is_missing_makes_no_frame():
    tag = id3.build({"title": "T", "artist": "", "album": None, "year": None, "musicbrainz": {}, "track_total": 9})
    assert list(mutagen.id3.ID3(io.BytesIO(tag))) == ["TIT2"]
    assert id3.build({}) == b""
    assert str(mutagen.id3.ID3(io.BytesIO(id3.build({"track_number": 0})))["TRCK"]) == "0"


def test_equal_words_make_equal_bytes(cover):
    assert id3.build(WORDS, labels=LABELS, cover=cover) == id3.build(dict(WORDS), labels=dict(LABELS), cover=cover)


def test_a_tag_that_cannot_be_so_long_is_refused():
    with pytest.raises(ValueError, match="that long"):
        id3.build({"title": "T"}, cover=bytes(1 << 28))


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=300)


@given(title=texts, artist=texts, comment=texts, label=texts, year=st.integers(0, 9999), number=st.integers(0, 65_535))
@settings(deadline=None)
def test_any_text_comes_back(title, artist, comment, label, year, number):
    words = {"title": title, "artist": artist, "comment": comment, "year": year, "track_number": number}
    tags = mutagen.id3.ID3(io.BytesIO(id3.build(words, labels={"a": label})))
    assert tags["TIT2"].text == [title]
    assert tags["TPE1"].text == [artist]
    assert tags.getall("COMM")[0].text == [comment]
    assert tags["TXXX:label:a"].text == [label]
    assert int(str(tags["TDRC"])) == year
    assert str(tags["TRCK"]) == str(number)


def test_text_that_no_file_can_hold_does_no_harm():
    tags = mutagen.id3.ID3(io.BytesIO(id3.build({"title": "a\0b\ud800", "artist": "A"})))
    assert (tags["TIT2"].text, tags["TPE1"].text) == (["a b?"], ["A"])
