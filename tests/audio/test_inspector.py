"""The verdict on real files of real encoders, on damaged ones, and on what is no mp3."""

import hashlib
import random
import re
import subprocess
import time
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.audio import chain, walker
from service.audio.inspector import Inspector, Verdict
from service.errors import NotAnMp3
from tests import corpus

FREE_FORMAT = ("free_format", "free_format_low", "free_format_bare")  # which ffmpeg does not decode

# The files of `corpus.DAMAGED` whose damage ffmpeg conceals by dropping whole frames that are there.
NOT_AS_FFMPEG = ("junk_inside",)


def refusal(content: bytes, step: int = 256 * 1024) -> NotAnMp3:
    result = outcome(content, list(range(step, len(content), step)))
    assert isinstance(result, NotAnMp3), result
    return result


def outcome(content: bytes, cuts: Sequence[int] = ()) -> Verdict | NotAnMp3:
    """The verdict, or the refusal as a value, of content fed in pieces."""
    inspector, start = Inspector(), 0
    try:
        for end in [*cuts, len(content)]:
            inspector.feed(content[start:end])
            start = end
        return inspector.finish()
    except NotAnMp3 as error:
        return error


def same(one: Verdict | NotAnMp3, other: Verdict | NotAnMp3) -> bool:
    if isinstance(one, NotAnMp3) and isinstance(other, NotAnMp3):
        return (one.detail, one.facts) == (other.detail, other.facts)
    return one == other


# What real encoders make


@pytest.mark.parametrize("name", [name for name in corpus.VALID if name not in FREE_FORMAT])
def test_the_duration_is_the_decoded_one(name, path_of, inspect):
    path = path_of(name)
    audio = inspect(path.read_bytes()).audio
    assert audio.duration == pytest.approx(corpus.decoded_seconds(path), abs=1.5 / audio.sample_rate)


@pytest.mark.parametrize("name", [name for name in corpus.VALID if name != "id3_padding_outside"])
def test_a_valid_file_is_whole(name, content_of, inspect):
    content = content_of(name)
    verdict = inspect(content)
    assert verdict.size == len(content)
    assert verdict.sha256 == hashlib.sha256(content).digest()
    assert (verdict.audio.junk_bytes, verdict.audio.gaps, verdict.audio.truncated) == (0, 0, False)


@pytest.mark.parametrize("name", ["cbr128", "cbr320", "vbr", "vbr_low", "abr", "mono", "jingle", "free_format", "crc"])
def test_the_frames_counted_are_those_the_encoder_promised(name, content_of, inspect):
    audio = inspect(content_of(name)).audio
    assert audio.frames == audio.promised_frames
    assert audio.encoder == "LAME3.100"


@pytest.mark.parametrize(
    ("name", "mode", "bitrate"),
    [
        ("cbr128", "cbr", 128_000),
        ("cbr320", "cbr", 320_000),
        ("no_xing_cbr", "cbr", 128_000),
        ("mono", "cbr", 64_000),
        ("free_format_bare", "cbr", 370_000),
        ("crc", "cbr", 128_000),
        ("vbr", "vbr", None),
        ("no_xing", "vbr", None),
        ("crc_vbr", "vbr", None),
        ("ffmpeg_vbr", "vbr", None),
        ("abr", "abr", None),
    ],
)
def test_mode_and_bitrate(name, mode, bitrate, content_of, inspect):
    content = content_of(name)
    audio = inspect(content).audio
    assert audio.mode == mode
    seconds_of_frames = audio.frames * 1152 / audio.sample_rate
    assert (
        audio.bitrate == bitrate
        if bitrate
        else audio.bitrate == pytest.approx((len(content) - audio.tag_bytes) * 8 / seconds_of_frames, rel=0.01)
    )


@pytest.mark.parametrize("rate", corpus.SAMPLE_RATES)
@pytest.mark.parametrize(("variant", "channels"), [("", 2), ("_vbr", 2), ("_mono", 1)])
def test_every_sample_rate_is_told(rate, variant, channels, content_of, inspect):
    audio = inspect(content_of(f"rate_{rate}{variant}")).audio
    assert (audio.sample_rate, audio.channels) == (rate, channels)
    assert audio.version == ("1" if rate >= 32000 else "2" if rate >= 16000 else "2.5")


@pytest.mark.parametrize(
    ("name", "seconds"), [("free_format", 12.0), ("free_format_low", 12.0), ("free_format_bare", 12.0)]
)
def test_free_format_is_an_mp3(name, seconds, content_of, inspect):
    audio = inspect(content_of(name)).audio
    delay = 0 if audio.encoder else 3 * 1152  # without a LAME tag nobody knows the encoder's delay and padding
    assert seconds <= audio.duration <= seconds + delay / audio.sample_rate


@pytest.mark.parametrize(
    ("name", "tag_bytes"),
    [
        ("id3v24_id3v1", 39 + 128),
        ("id3_twice", 39 + 39),
        ("ape", len(corpus.ape())),
        ("ape_id3v1", len(corpus.ape()) + 128),
        ("ape1_id3v1", len(corpus.ape(version=1000)) + 128),
        ("lyrics3", len(corpus.lyrics3()) + 128),
    ],
)
def test_tags_are_known_and_not_junk(name, tag_bytes, content_of, inspect):
    audio = inspect(content_of(name)).audio
    assert (audio.tag_bytes, audio.junk_bytes) == (tag_bytes, 0)


def test_a_cover_of_12_mb_is_skipped(content_of, inspect):
    audio = inspect(content_of("cover")).audio
    assert audio.tag_bytes > 12_000_000
    assert audio.junk_bytes == 0


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("trailer", [b"", corpus.id3v1(), corpus.ape(), corpus.ape(version=1000)])
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_a_few_frames_that_fill_the_body_are_an_mp3(count, trailer, step, content_of, inspect):
    frames = content_of("rate_48000_mono")[: count * 144]
    audio = inspect(corpus.id3() + frames + trailer, step).audio
    assert (audio.frames, audio.junk_bytes, audio.tag_bytes) == (count, 0, 20 + len(trailer))


def test_a_big_file_has_exactly_its_size_and_is_whole(corpus_dir, inspect):
    for size in (300_000, 1_000_000, 163_840 * 3, 163_840 * 3 + 5):
        content = corpus.big(corpus_dir, size).read_bytes()
        assert len(content) == size
        audio = inspect(content).audio
        assert (audio.mode, audio.junk_bytes, audio.gaps, audio.truncated) == ("cbr", 0, 0, False)


# Damage is told truly


def test_half_a_file_is_truncated(content_of, path_of, inspect):
    for name in ("half", "half_vbr", "half_id3v1"):
        audio = inspect(content_of(name)).audio
        assert audio.truncated
        assert (audio.junk_bytes, audio.gaps) == (0, 0)
        assert audio.promised_frames == 461
        assert audio.duration == pytest.approx(corpus.decoded_seconds(path_of(name)), abs=2 / 44100)


def test_a_file_cut_between_frames_is_truncated_because_its_header_promises_more(content_of, inspect):
    content = content_of("cbr128")
    audio = inspect(content[: 417 + 49 * 418 - 25]).audio
    assert audio.truncated
    content = content_of("no_xing_cbr")
    assert not inspect(content[:20480]).audio.truncated  # nothing is known to be missing


@pytest.mark.parametrize("missing", range(1, 417, 13))
def test_every_cut_in_the_last_frame_is_told(missing, content_of, inspect):
    content = content_of("no_xing_cbr")
    whole = inspect(content).audio
    audio = inspect(content[:-missing]).audio
    assert audio.truncated
    assert (audio.frames, audio.junk_bytes) == (whole.frames - 1, 0)


def test_junk_inside_is_counted_to_the_byte(content_of, inspect):
    audio = inspect(content_of("junk_inside")).audio
    assert (audio.frames, audio.junk_bytes, audio.gaps, audio.truncated) == (461, 1000, 1, False)


@pytest.mark.parametrize("name", ["junk_first", "junk_last"])
def test_junk_around_is_counted_to_the_byte_and_is_no_gap(name, content_of, inspect):
    audio = inspect(content_of(name)).audio
    assert (audio.frames, audio.junk_bytes, audio.gaps, audio.truncated) == (461, 3000, 0, False)


def test_frames_lost_to_junk_are_not_called_a_truncation(content_of, inspect):
    content = content_of("cbr128")
    middle = len(content) // 2
    audio = inspect(content[:middle] + corpus.noise(10_000) + content[middle + 10_000 :]).audio
    assert audio.frames == pytest.approx(461 - 24, abs=1)
    assert audio.gaps == 1
    assert audio.junk_bytes == pytest.approx(10_000, abs=500)
    assert not audio.truncated


def test_joined_files_of_other_sample_rates_keep_their_exact_durations(content_of, inspect):
    audio = inspect(content_of("joined_rates")).audio
    parts = [inspect(content_of(name)).audio for name in ("cbr128", "rate_22050", "rate_48000_vbr")]
    assert audio.frames == sum(part.frames for part in parts) + 2  # the inner Info frames are played, silently
    assert audio.gaps == 2
    assert audio.junk_bytes == 0
    assert audio.sample_rate == 44100
    inner = sum(
        (part.frames + 1) * samples / part.sample_rate for part, samples in zip(parts[1:], (576, 1152), strict=True)
    )
    assert audio.duration == pytest.approx(parts[0].duration + inner)


def test_tags_between_joined_files_are_no_junk_but_a_gap(content_of, inspect):
    audio = inspect(content_of("joined_tagged")).audio
    assert (audio.gaps, audio.junk_bytes, audio.truncated) == (1, 0, False)
    assert audio.tag_bytes == 39 + 128 + 39 + 128


def test_files_joined_without_a_seam_are_one_chain(content_of, path_of, inspect):
    audio = inspect(content_of("joined")).audio
    assert (audio.gaps, audio.junk_bytes, audio.truncated) == (0, 0, False)
    assert audio.duration == pytest.approx(corpus.decoded_seconds(path_of("joined")), abs=1152 / 44100)


@pytest.mark.parametrize(
    "name", ["id3_padding_outside", "id3_too_short", "id3_too_long", "junk_first", "joined_tagged"]
)
def test_wrong_tags_do_not_spoil_the_duration(name, path_of, inspect):
    audio = inspect(path_of(name).read_bytes()).audio
    assert audio.duration == pytest.approx(corpus.decoded_seconds(path_of(name)), abs=1152 / 44100)


def test_a_promise_of_the_uploader_never_makes_the_duration(content_of, inspect):
    honest = content_of("vbr")
    at = honest.index(b"Xing") + 8
    for promise in (1, 10**6, 2**32 - 1):
        audio = inspect(honest[:at] + promise.to_bytes(4, "big") + honest[at + 4 :]).audio
        assert audio.frames == 461
        assert audio.duration == pytest.approx(12.0, abs=1152 / 44100)
        assert audio.truncated == (promise > 461)


def test_a_lying_delay_cannot_make_a_duration_negative(content_of, inspect):
    content = content_of("one_frame")
    info = bytearray(content_of("vbr")[:417])
    at = info.index(b"LAME") + 21
    info[at : at + 3] = b"\xff\xff\xff"
    audio = inspect(bytes(info) + content).audio
    assert audio.encoder_delay == 4095
    assert audio.duration >= 0


@pytest.mark.parametrize("name", ["cbr128", "vbr", "half", "junk_inside", "junk_first", "id3_too_short"])
def test_an_independent_tool_sees_the_same_frames(name, path_of, inspect):
    """mp3val counts frames of its own; with junk it reports a problem where we count some."""
    said = subprocess.run(["mp3val", path_of(name)], capture_output=True, text=True, check=False).stdout
    audio = inspect(path_of(name).read_bytes()).audio
    counted = re.search(r"(\d+) MPEG frames \(", said)
    assert counted
    frames = int(counted[1])
    assert frames == pytest.approx(audio.frames + 1, abs=1)  # with the Info frame, and a cut one


# What is no mp3


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("wav", "a WAV file"),
        ("wav_mp3", "a WAV file"),
        ("flac", "a FLAC file"),
        ("ogg", "an Ogg file"),
        ("m4a", "an M4A file"),
        ("aac", "an AAC file"),
        ("mp2", "MPEG audio of layer II"),
        ("pdf", "a PDF"),
        ("text", "text"),
        ("short_text", "text"),
        ("html", "an HTML page"),
        ("id3_html", "an HTML page"),
        ("id3_only", "a tag without audio"),
        ("id3_claims_all", "a tag without audio"),
        ("png", "a PNG image"),
        ("gzip", "a gzip file"),
        ("zip", "a zip archive"),
        ("zeros", "zeros"),
        ("empty", "nothing"),
        ("random_0", "unknown data"),
    ],
)
def test_what_is_no_mp3_is_refused_by_name(name, found, content_of):
    error = refusal(content_of(name))
    assert error.facts["found"] == found
    assert error.detail
    assert 0 <= error.facts["bytes_examined"] <= len(content_of(name))


@pytest.mark.parametrize(
    "name", [name for name in corpus.NOT_MP3 if name.startswith(("wav", "png", "zip", "pdf", "html"))]
)
def test_evident_magic_is_refused_with_the_first_bytes(name, content_of):
    with pytest.raises(NotAnMp3):
        Inspector().feed(content_of(name)[:64])


def test_noise_is_refused_within_its_first_64_kib():
    with pytest.raises(NotAnMp3) as caught:
        Inspector().feed(corpus.noise(100_000))
    assert caught.value.facts["bytes_examined"] == 65536


def test_noise_is_never_an_mp3():
    for seed in range(300):
        with pytest.raises(NotAnMp3):
            Inspector().feed(random.Random(seed).randbytes(128 * 1024))


def test_short_noise_is_never_an_mp3():
    for seed in range(1000):
        noise = random.Random(seed)
        refusal(noise.randbytes(noise.randrange(60_000)))


def test_the_refusal_is_the_last_word(content_of):
    inspector = Inspector()
    with pytest.raises(NotAnMp3):
        inspector.feed(content_of("png"))
    with pytest.raises(NotAnMp3):
        inspector.feed(content_of("cbr128"))
    with pytest.raises(NotAnMp3):
        inspector.finish()


@pytest.mark.parametrize("zeros", [70_000, 3_000_000])
def test_zeros_after_the_tag_are_padding(zeros, content_of, inspect):
    audio = inspect(corpus.id3() + bytes(zeros) + content_of("cbr128")).audio
    assert (audio.frames, audio.junk_bytes) == (461, zeros)


def test_zeros_without_end_are_refused():
    assert refusal(bytes(5_000_000)).facts == {"bytes_examined": 4 * 1024 * 1024, "found": "zeros"}


def test_junk_before_the_first_frame_is_tolerated_within_the_bound(content_of, inspect):
    assert inspect(corpus.noise(65_000) + content_of("cbr128")).audio.junk_bytes == 65_000
    refusal(corpus.noise(66_000) + content_of("cbr128"))


# The cut of the chunks


@pytest.mark.parametrize(
    "name", [*corpus.DAMAGED, "free_format", "lyrics3", "id3_twice", "rate_8000_vbr", "aac", "random_1"]
)
@pytest.mark.parametrize("step", [1, 7, 4093])
def test_the_verdict_does_not_hang_on_the_size_of_chunks(name, step, content_of):
    content = content_of(name)[-130_000:]
    assert same(outcome(content, range(step, len(content), step)), outcome(content))


PIECES = {
    **{word: bytes.fromhex(word) for word in ("fffb9064", "fffb9264", "fff380c4", "ffe318c4", "fffb0064", "fffb0264")},
    "id3": corpus.id3(),
    "id3 too long": corpus.id3(claim=700),
    "id3v1": corpus.id3v1(),
    "ape": corpus.ape(),
    "ape1": corpus.ape(version=1000),
    "lyrics3": corpus.lyrics3(),
    "ID3": b"ID3",
    "TAG": b"TAG",
    "ff": b"\xff",
    "fffb": b"\xff\xfb",
    "zeros": bytes(1000),
}

# What means something to the inspector: pieces filled up to a length, so many times; and anything else.
BODIES = st.lists(
    st.tuples(st.sampled_from(list(PIECES)), st.sampled_from([0, 1, 72, 208, 300, 417, 418]), st.integers(1, 40))
    | st.binary(max_size=200),
    max_size=12,
)


def body_of(parts: list[tuple[str, int, int] | bytes]) -> bytes:
    return b"".join(
        part if isinstance(part, bytes) else PIECES[part[0]].ljust(part[1], b"\0") * part[2] for part in parts
    )


@given(parts=BODIES, cuts=st.lists(st.integers(0, 200_000), max_size=20))
@settings(max_examples=400, deadline=None)
def test_any_bytes_in_any_pieces_give_one_outcome(parts, cuts):
    content = body_of(parts)
    whole = outcome(content)
    assert same(outcome(content, sorted(min(cut, len(content)) for cut in cuts)), whole)
    if isinstance(whole, Verdict):
        audio = whole.audio
        assert audio.frames > 0
        assert audio.junk_bytes >= 0
        assert audio.tag_bytes >= 0
        assert audio.duration >= 0
        assert audio.bitrate > 0


@given(parts=BODIES)
@settings(max_examples=100, deadline=None)
def test_single_bytes_give_the_same_outcome(parts):
    content = body_of(parts)[:60_000]
    assert same(outcome(content, range(1, len(content))), outcome(content))


@given(content=st.binary(max_size=3000))
@settings(deadline=None)
def test_arbitrary_bytes_raise_nothing_but_a_refusal(content):
    outcome(content)


@given(
    bitrate=st.integers(1, 14),
    rate=st.sampled_from([0, 1, 2]),
    second=st.sampled_from([0xFB, 0xF3, 0xE3]),
    periods=st.integers(1, 30),
    damage=st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 255)), max_size=4),
    phase=st.integers(0, 48),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_leaping_and_walking_see_the_same(bitrate, rate, second, periods, damage, phase):
    """Constant bitrate with the padding of a real encoder, then a few bytes changed anywhere."""
    third, owed, body = bitrate << 4 | rate << 2, 0, bytearray()
    header = chain.parse_header(bytes((0xFF, second, third, 0)))
    assert header is not None
    mean = chain.mean_length(header.stream, third)
    for number in range(phase, phase + periods * mean.denominator):
        padding = int(mean * (number + 1)) - int(mean * number) - int(mean)
        body += bytes((0xFF, second, third | padding << 1, 0)) + bytes(int(mean) + padding - 4)
    for place, value in damage:
        body[place % len(body)] = value
    leaping, walking = chain.Chain(header.stream), chain.Chain(header.stream)
    walking._leap = lambda buffer, at: at  # type: ignore[method-assign]
    assert leaping.follow(bytes(body), owed) == walking.follow(bytes(body), owed)
    assert (leaping.tally, leaping.last, leaping.is_broken) == (walking.tally, walking.last, walking.is_broken)


# Time and memory


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfb\x90\x64" * 500_000,
        b"\xff\xfb\x00\x64" * 500_000,
        b"\xff\xfb\x00\x64" + b"\xff\xfb\x90\x64" * 500_000,
        b"ID3\x03" * 500_000,
        corpus.id3(padding=0) * 200_000,
        b"\xff" * 2_000_000,
        bytes.fromhex("ffe318c4") + bytes(68),
    ],
    ids=["headers", "free headers", "both", "ID3", "tags", "ones", "frame"],
)
def test_a_hostile_body_takes_no_more_time_than_its_share(body, content_of):
    start = time.process_time()
    outcome(content_of("cbr128") + body * (2_000_000 // len(body)))
    outcome(body * (2_000_000 // len(body)))
    assert time.process_time() - start < 3


def test_no_more_than_a_bounded_rest_is_kept(content_of):
    inspector = Inspector()
    for content in (content_of("cover"), corpus.noise(500_000), content_of("cbr128")):
        for at in range(0, len(content), 5000):
            inspector.feed(content[at : at + 5000])
            assert len(inspector._walker._rest) < 40_000
            assert len(inspector._walker._tail) <= walker.TAIL


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_kind_of_bytes_may_be_fed(kind, content_of):
    content, inspector = content_of("vbr"), Inspector()
    inspector.feed(kind(content))
    assert inspector.seen == len(content)
    assert inspector.finish().sha256 == hashlib.sha256(content).digest()
