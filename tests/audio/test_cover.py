"""Pictures that people put into their files are shown as they meant them; what else comes in those frames is not."""

import contextlib
import hashlib
import io
import struct
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageDraw

from service.audio import tags
from service.audio.cover import MAX_BYTES, MAX_PIXELS, SIZES, Unreadable, render

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(width: int = 400, height: int = 200, mode: str = "RGB") -> Image.Image:
    """Red, green / blue, white."""
    image = Image.new("RGB", (width, height), RED)
    draw = ImageDraw.Draw(image)
    draw.rectangle((width // 2, 0, width, height // 2), GREEN)
    draw.rectangle((0, height // 2, width // 2, height), BLUE)
    draw.rectangle((width // 2, height // 2, width, height), WHITE)
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """The colours of the quarters, as near as JPEG keeps them."""
    places = [(x, y) for y in (0.25, 0.75) for x in (0.25, 0.75)]
    found = [image.getpixel((int(image.width * x), int(image.height * y))) for x, y in places]
    return [tuple(255 * (value > 127) for value in pixel) for pixel in found]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_every_size_is_a_new_jpeg_of_the_same_picture(kind):
    picture = saved(quarters(2000, 1000), kind)
    cover = render(picture)
    assert (cover.digest, cover.width, cover.height) == (hashlib.sha256(picture).digest(), 2000, 1000)
    assert tuple(cover.images) == SIZES == (64, 128, 256, 512, 1024)
    for size, content in cover.images.items():
        image = opened(content)
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (size, size // 2))
        assert corners(image) == [RED, GREEN, BLUE, WHITE]


def test_a_small_picture_is_not_enlarged():
    images = render(saved(quarters(100, 200), "PNG")).images
    assert {size: opened(content).size for size, content in images.items()} == {
        64: (32, 64),
        128: (64, 128),
        **dict.fromkeys((256, 512, 1024), (100, 200)),
    }


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (20_000, 1), (1025, 1), (64, 64), (1024, 1024), (3073, 2049)])
def test_odd_sizes_fit(size):
    cover = render(saved(Image.new("RGB", size, BLUE), "PNG"))
    assert (cover.width, cover.height) == size
    for limit, content in cover.images.items():
        image = opened(content)
        assert max(image.size) == min(limit, max(size))
        assert image.getpixel((image.width - 1, image.height - 1))[2] > 250


def test_nothing_of_the_old_file_is_in_the_new_ones():
    exif = Image.Exif()
    exif[0x010E] = "secret words"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = saved(quarters(), "JPEG", exif=exif, icc_profile=profile, comment=b"secret words")
    for content in render(picture + b"<script>secret words</script>").images.values():
        image = opened(content)
        assert b"secret" not in content
        assert not {"exif", "icc_profile", "comment"} & set(image.info)
        assert content.endswith(b"\xff\xd9")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "seen"),
    [
        (1, [RED, GREEN, BLUE, WHITE]),
        (2, [GREEN, RED, WHITE, BLUE]),
        (3, [WHITE, BLUE, GREEN, RED]),
        (4, [BLUE, WHITE, RED, GREEN]),
        (5, [RED, BLUE, GREEN, WHITE]),
        (6, [BLUE, RED, WHITE, GREEN]),
        (7, [WHITE, GREEN, BLUE, RED]),
        (8, [GREEN, WHITE, RED, BLUE]),
        (99, [RED, GREEN, BLUE, WHITE]),
    ],
)
def test_pictures_stand_upright(kind, orientation, seen):
    exif = Image.Exif()
    exif[0x0112] = orientation
    cover = render(saved(quarters(), kind, exif=exif))
    is_turned = 5 <= orientation <= 8
    assert (cover.width, cover.height) == ((200, 400) if is_turned else (400, 200))
    for content in cover.images.values():
        assert corners(opened(content)) == seen
        assert (opened(content).height > opened(content).width) == is_turned


def test_broken_exif_data_do_not_matter():
    picture = saved(quarters(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03" * 9)
    assert corners(opened(render(picture).images[256])) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
@pytest.mark.parametrize("side", [50, 3100])
def test_what_is_transparent_is_white(mode, side):
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, side // 2, side // 2))
    kind = "WEBP" if mode == "PA" else "PNG"
    picture = saved(image if mode == "PA" else image.convert(mode), kind)
    black, white = (0, 0, 0), WHITE
    assert corners(opened(render(picture).images[64])) == [black, white, white, white]


def test_half_transparent_is_half_white():
    pixel = opened(render(saved(Image.new("RGBA", (3200, 3200), (0, 0, 0, 128)), "PNG")).images[64]).getpixel((30, 30))
    assert all(abs(value - 127) < 4 for value in pixel)


def test_one_colour_that_stands_for_nothing_is_white():
    picture = saved(quarters(), "PNG", transparency=RED)
    assert corners(opened(render(picture).images[64])) == [WHITE, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr"])
def test_pictures_of_other_modes_keep_their_colours(mode):
    picture = saved(quarters(mode=mode), "PNG" if mode == "P" else "JPEG")
    assert corners(opened(render(picture).images[256])) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize(("mode", "dark"), [("1", 0), ("L", 0x40), ("I;16", 0x40)])
def test_grey_pictures_keep_their_brightness(mode, dark):
    pixels = bytes((dark,)) * 100 + b"\xff" * 100
    if mode == "I;16":  # little endian; the low byte is noise
        image = Image.frombytes(mode, (200, 100), b"".join(bytes((7, value)) for value in pixels) * 100)
    else:
        image = Image.frombytes("L", (200, 100), pixels * 100).convert(mode)
    shown = opened(render(saved(image, "PNG")).images[256])
    assert abs(shown.getpixel((40, 50))[0] - dark) < 4
    assert shown.getpixel((160, 50))[0] > 250


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_picture_is_shown(kind):
    others = [Image.new("RGB", (400, 200), BLUE)] * 3
    picture = saved(quarters(), kind, save_all=True, append_images=others, duration=100)
    assert opened(picture).n_frames > 1
    assert corners(opened(render(picture).images[256])) == [RED, GREEN, BLUE, WHITE]


def test_progressive_pictures_are_shown():
    picture = saved(quarters(3000, 1500), "JPEG", progressive=True)
    assert corners(opened(render(picture).images[1024])) == [RED, GREEN, BLUE, WHITE]


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "picture",
    [
        b"",
        b"\xff\xd8",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.4",
        b"http://example.com/cover.png",
        saved(quarters(), "BMP"),
        saved(quarters(), "TIFF"),
        saved(quarters(), "ICO"),
        saved(quarters(), "PPM"),
        saved(quarters(), "EPS"),
        b" " + saved(quarters(), "PNG"),
    ],
    ids=lambda picture: repr(picture[:12]),
)
def test_only_four_formats_are_read(picture):
    with pytest.raises(Unreadable, match="neither"):
        render(picture)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_cut_picture_is_refused(kind, share):
    noise = Image.effect_noise((300, 300), 90).convert("RGB")
    picture = saved(noise, kind)
    with pytest.raises(Unreadable, match="broken"):
        render(picture[: int(len(picture) * share)])


@pytest.mark.parametrize("magic", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF\x99\0\0\0WEBPVP8 "])
def test_a_magic_word_alone_is_no_picture(magic):
    with pytest.raises(Unreadable, match="broken"):
        render(magic + bytes(500))


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """One bit a pixel, without any."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def webp(width: int, height: int) -> bytes:
    """The beginning of an extended WebP."""
    canvas = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif(width: int, height: int) -> bytes:
    """A GIF of one pixel on a large screen."""
    content = saved(Image.new("P", (1, 1)), "GIF")
    return content[:6] + struct.pack("<HH", width, height) + content[10:]


def jpeg(width: int, height: int) -> bytes:
    """A JPEG whose header tells another size than its data have."""
    content = saved(Image.new("L", (8, 8)), "JPEG")
    at = content.index(b"\xff\xc0")
    return content[: at + 5] + struct.pack(">HH", height, width) + content[at + 9 :]


@pytest.mark.parametrize("make", [png, webp, gif, jpeg])
@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (65_535, 65_535), (10_000, 4_001)])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(make, width, height):
    width, height = (min(side, 16_383) if make is webp else side for side in (width, height))
    picture = make(width, height)
    start = time.process_time()
    tracemalloc.start()
    with pytest.raises(Unreadable, match="40 million pixels"):
        render(picture)
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()
    assert time.process_time() - start < 0.2


def test_a_picture_just_within_the_limit_is_shown():
    width, height = 8000, MAX_PIXELS // 8000
    row = b"\0" + b"\xff" * (width // 8)
    cover = render(png(width, height, row * height))
    assert (cover.width, cover.height) == (width, height)
    assert opened(cover.images[1024]).getpixel((5, 5)) == WHITE


def test_a_picture_of_too_many_bytes_is_refused():
    picture = saved(quarters(), "JPEG")
    assert render(picture + bytes(MAX_BYTES - len(picture))).width == 400
    with pytest.raises(Unreadable, match="10 MiB"):
        render(picture + bytes(MAX_BYTES - len(picture) + 1))


def test_a_picture_of_endless_scans_is_refused():
    picture = saved(Image.new("L", (5000, 5000)), "JPEG", progressive=True)
    scan = b"\xff\xda\0\x08\x01\x01\x00\x01\x3f\x00" + bytes(10)
    start = time.process_time()
    with pytest.raises(Unreadable, match="scans"):
        render(picture[:-2] + scan * 100_000 + picture[-2:])
    assert time.process_time() - start < 0.5


def test_text_that_unpacks_to_gigabytes_is_refused_or_passed_over():
    packed = zlib.compress(bytes(100 << 20), 9)
    content = b"Comment\0\0" + packed
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content + struct.pack(">I", zlib.crc32(b"zTXt" + content))
    picture = saved(quarters(), "PNG")
    start = time.process_time()
    with contextlib.suppress(Unreadable):
        render(picture[:33] + chunk * 50 + picture[33:])
    assert time.process_time() - start < 1


def test_one_error_stands_for_tags_and_pictures():
    assert tags.Unreadable is Unreadable
    assert issubclass(Unreadable, ValueError)


ORIGINALS = [
    saved(quarters(40, 20), "JPEG"),
    saved(quarters(40, 20), "JPEG", progressive=True),
    saved(quarters(40, 20, "CMYK"), "JPEG"),
    saved(quarters(40, 20, "RGBA"), "PNG"),
    saved(quarters(40, 20, "P"), "PNG"),
    saved(quarters(40, 20), "WEBP"),
    saved(quarters(40, 20, "P"), "GIF"),
]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_makes_no_other_error(data):
    content = bytearray(data.draw(st.sampled_from(ORIGINALS)))
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[at] = data.draw(st.integers(0, 255))
    first = data.draw(st.integers(0, len(content)))
    del content[first : first + data.draw(st.sampled_from([0, 0, 1, 1000]))]
    try:
        cover = render(bytes(content))
    except Unreadable:
        return
    assert opened(cover.images[64]).format == "JPEG"
