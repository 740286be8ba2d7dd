"""The digest of the music: the same whatever taggers do, another for other music."""

import random
import subprocess
from hashlib import sha256

import mutagen.apev2
import mutagen.id3
import pytest
from hypothesis import HealthCheck, given, settings

from service.audio import frames, survey
from service.audio.frames import Frames, scan
from service.audio.inspector import Inspector
from service.errors import NotAnMp3
from tests import corpus
from tests.audio.test_inspector import BODIES, body_of

UNTAGGED = (
    "cbr320",
    "vbr",
    "abr",
    "mono",
    "no_xing_cbr",
    "free_format",
    "crc",
    "crc_vbr",
    "rate_22050_vbr",
    "rate_8000",
)


@pytest.fixture
def scanned(tmp_path):
    """A function that scans bytes."""

    def scanned(content: bytes) -> Frames:
        path = tmp_path / "scanned.mp3"
        path.write_bytes(content)
        return scan(path)

    return scanned


def length_of_info(content: bytes) -> int:
    """Bytes of the frame in front that describes the others."""
    inspector = Inspector()
    inspector.feed(content)
    inspector.finish()
    return inspector._walker.info_bytes


def id3v24(text: str = "A title", *, padding: int = 0, has_footer: bool = False) -> bytes:
    body = b"TIT2" + _syncsafe(len(text) + 1) + b"\0\0\3" + text.encode("ascii") + bytes(padding)
    head = b"\4\0" + (b"\x10" if has_footer else b"\0") + _syncsafe(len(body))
    return b"ID3" + head + body + (b"3DI" + head if has_footer else b"")


def _syncsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def lyrics3v1(text: str = "la la la") -> bytes:
    return b"LYRICSBEGIN" + text.encode("ascii") + b"LYRICSEND"


HEADS = (
    b"",
    corpus.id3(),
    corpus.id3(b"TPE1\0\0\0\5\0\0\0Who", padding=5000),
    corpus.id3(b"TT2\0\0\5\0What", version=2),
    corpus.id3() + id3v24(),
    id3v24(padding=3000),
    id3v24(has_footer=True),
    corpus.ape(),
    corpus.id3() + bytes(4000),
)
TAILS = (
    b"",
    corpus.id3v1(),
    corpus.ape(),
    corpus.ape(version=1000),
    corpus.ape() + corpus.id3v1(),
    corpus.lyrics3() + corpus.id3v1(),
    corpus.ape() + corpus.lyrics3() + corpus.id3v1(),
    lyrics3v1() + corpus.id3v1(),
    b"TAG+" + bytes(223) + corpus.id3v1(),
    id3v24("x" * 20_000, has_footer=True),
    id3v24(has_footer=True) + corpus.id3v1(),
    corpus.id3(),
    corpus.id3v1() + corpus.ape(),
)


# What is hashed, and where it lies


def test_all_frames_but_the_describing_one_are_hashed(content_of, scanned):
    content = content_of("cbr128")
    assert scanned(content) == Frames(sha256(content[417:]).digest(), 0, len(content))
    content = content_of("no_xing_cbr")
    assert scanned(content) == Frames(sha256(content).digest(), 0, len(content))


@pytest.mark.parametrize("name", [*corpus.VALID, *corpus.DAMAGED])
def test_as_many_bytes_are_hashed_as_the_inspector_counts(name, path_of, monkeypatch):
    hashed = []
    monkeypatch.setattr(frames, "_digest", lambda file, chains: hashed.extend(chains) or b"")
    scan(path_of(name))
    inspector = Inspector()
    inspector.feed(path_of(name).read_bytes())
    inspector.finish()
    assert sum(end - start for start, end in hashed) == inspector._walker.frame_bytes


@given(parts=BODIES)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_bytes_are_no_more_is_hashed_than_there_is(parts, tmp_path):
    path = tmp_path / "any.mp3"
    path.write_bytes(body_of(parts))
    hashed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "_digest", lambda file, chains: hashed.extend(chains) or b"")
        try:
            found = scan(path)
        except NotAnMp3:
            return
    inspector = Inspector()
    inspector.feed(path.read_bytes())
    inspector.finish()
    assert sum(end - start for start, end in hashed) == inspector._walker.frame_bytes
    places = [found.start, *(place for span in hashed for place in span), found.end, path.stat().st_size]
    assert places == sorted(places)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("name", ["jingle", "no_xing_cbr"])
def test_the_music_lies_between_the_tags(head, tail, name, content_of, scanned):
    content = content_of(name)
    found = scanned(head + content + tail)
    assert found == Frames(scanned(content).sha256, len(head), len(head) + len(content))


def test_a_cut_frame_and_junk_at_the_end_are_music_still_but_tags_behind_are_not(content_of, scanned):
    content = content_of("cbr128")
    cut, tags = content[:-100], corpus.ape() + corpus.id3v1()
    assert scanned(cut + tags).end == len(cut)
    assert scanned(content + corpus.noise(3000) + tags).end == len(content) + 3000
    assert scanned(content + tags + corpus.noise(3000) + tags).end == len(content + tags) + 3000


def test_junk_before_the_first_frame_is_no_music(content_of, scanned):
    content = content_of("vbr")
    found = scanned(corpus.noise(3000) + content)
    assert found == Frames(scanned(content).sha256, 3000, 3000 + len(content))


def test_a_tag_that_claims_frames_for_itself_lies(content_of, scanned):
    content = content_of("cbr128")
    lie = b"APETAGEX" + (2000).to_bytes(4, "little") + (9000).to_bytes(4, "little") + bytes(16)
    assert scanned(content + lie).sha256 == scanned(content).sha256
    assert scanned(content + lie).end >= len(content)


def test_a_tag_that_is_cut_is_no_music(content_of, scanned):
    content = content_of("cbr128")
    assert scanned(content + corpus.id3(claim=5000)).end == len(content)


def test_what_is_no_mp3_is_refused(path_of):
    with pytest.raises(NotAnMp3):
        scan(path_of("png"))


# What does not change it


@pytest.mark.parametrize("size", [1, 977, 4096, 65_537])
@pytest.mark.parametrize(
    "name", ["junk_inside", "joined_tagged", "half_id3v1", "lyrics3", "id3_too_long", "three_frames"]
)
def test_it_does_not_hang_on_the_size_of_blocks(size, name, path_of, monkeypatch):
    whole = scan(path_of(name))
    monkeypatch.setattr(survey, "BLOCK_BYTES", size)
    monkeypatch.setattr(frames, "BLOCK_BYTES", size)
    assert scan(path_of(name)) == whole


@pytest.mark.parametrize("missing", [1, 100, 400, 413, 414, 415, 416])
@pytest.mark.parametrize("tail", [tail for tail in TAILS if tail != corpus.id3()])  # which has no ending
def test_a_last_frame_that_is_cut_does_not_matter(missing, tail, content_of, scanned):
    content = content_of("no_xing_cbr")
    frame = 418 if content[-418:-416] == b"\xff\xfb" else 417
    without = scanned(content[:-frame])
    assert scanned(content[: -min(missing, frame - 1)] + tail).sha256 == without.sha256


def test_a_thousand_tagged_copies_are_recognised_and_nothing_else(content_of, scanned):
    seed, digests = random.Random(1), {}
    for name in UNTAGGED:
        content = content_of(name)
        info = length_of_info(content)
        digests[name] = scanned(content).sha256
        for _ in range(100):
            described = content[:info] if seed.random() < 0.7 else b""  # some taggers drop it
            copy = seed.choice(HEADS) + described + content[info:] + seed.choice(TAILS)
            assert scanned(copy).sha256 == digests[name]
    assert len(set(digests.values())) == len(UNTAGGED)


@pytest.mark.parametrize(
    "name", [*UNTAGGED, "half", "junk_inside", "joined_rates", "id3_twice", "ape_id3v1", "lyrics3"]
)
def test_a_real_tagger_does_not_change_it(name, content_of, tmp_path):
    path = tmp_path / "tagged.mp3"
    path.write_bytes(content_of(name))
    before = scan(path)
    for version, v1 in ((4, 2), (3, 0), (4, 1)):
        tags = mutagen.id3.ID3()
        tags.add(mutagen.id3.TIT2(encoding=3, text=f"Title {version}"))
        tags.add(mutagen.id3.APIC(encoding=3, mime="image/png", type=3, data=corpus.noise(100_000, version)))
        tags.save(path, v2_version=version, v1=v1)
        assert scan(path).sha256 == before.sha256
    ape = mutagen.apev2.APEv2()
    ape["Title"] = "Title"
    ape.save(path)
    assert scan(path).sha256 == before.sha256
    mutagen.apev2.delete(path)
    mutagen.id3.delete(path)
    assert scan(path).sha256 == before.sha256


@pytest.mark.parametrize(
    "name", ["cbr128", "vbr", "abr", "mono", "crc", "no_xing_cbr", "rate_22050_vbr", "rate_8000", "id3v23"]
)
def test_ffmpeg_that_copies_the_music_does_not_change_it(name, path_of, tmp_path):
    copy = tmp_path / "copy.mp3"
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        path_of(name),
        "-c",
        "copy",
        "-metadata",
        "title=Other",
        "-write_id3v1",
        "1",
    ]
    subprocess.run([*command, copy], check=True)
    assert copy.read_bytes() != path_of(name).read_bytes()
    assert scan(copy).sha256 == scan(path_of(name)).sha256


# What does


@pytest.mark.parametrize("name", UNTAGGED)
def test_every_byte_of_the_music_counts(name, content_of, scanned):
    content = content_of(name)
    info, whole = length_of_info(content), scanned(content).sha256
    for share in (0.1, 0.5, 0.999):
        changed = bytearray(content)
        at = info + int((len(content) - info) * share)
        while at % 417 < 40:  # not into a header, for then it would be another walk
            at -= 1
        changed[at] ^= 1
        assert scanned(bytes(changed)).sha256 != whole


def test_other_music_has_another_digest(path_of):
    digests = {name: scan(path_of(name)).sha256 for name in (*corpus.VALID, *corpus.DAMAGED)}
    same_music = {"cbr128", "no_xing_cbr", "id3v24_id3v1", "ape", "ape_id3v1", "ape1_id3v1", "junk_last"}
    assert {name for name, digest in digests.items() if digest == digests["cbr128"]} == same_music
