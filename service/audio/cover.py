"""Makes the pictures that are shown of the one in a file: small, new JPEGs without a byte of the old one.

A picture is an attack until its size is known: what it says of its width and height is looked at before it is decoded.
"""

import hashlib
import re
import warnings
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from service.audio.unreadable import Unreadable

__all__ = ["SIZES", "Cover", "Unreadable", "render"]

SIZES = (64, 128, 256, 512, 1024)
MAX_BYTES = 10 << 20
MAX_PIXELS = 40_000_000
MAX_SCANS = 100
QUALITY = 85
STRIPE = 64  # rows, after they were made coarse

# Pillow refuses what has more than twice as many before it decodes, too.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2

_FORMATS = (
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WEBP"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
)
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Cover:
    """A picture in all its sizes. ``width`` and ``height`` are those of the original as it is shown, turned upright."""

    digest: bytes  # SHA-256 of the original
    width: int
    height: int
    images: dict[int, bytes]  # longest side at most -> JPEG, in RGB on white; a small original is not enlarged


def render(picture: bytes) -> Cover:
    """Decode a JPEG, PNG, WebP or GIF and encode it anew in all `SIZES`; of an animation, the first picture.

    Raises:
        Unreadable: it is none of these, broken, or too large.
    """
    kind = next((name for magic, name in _FORMATS if magic.match(picture)), None)
    if kind is None:
        raise Unreadable("The cover is neither JPEG, PNG, WebP nor GIF.")
    if len(picture) > MAX_BYTES:
        raise Unreadable(f"The cover has more than {MAX_BYTES >> 20} MiB.")
    if kind == "JPEG" and picture.count(b"\xff\xda") > MAX_SCANS:
        raise Unreadable(f"The cover is built up in more than {MAX_SCANS} scans.")
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(BytesIO(picture), formats=[kind]) as image:
            return _rendered(image, hashlib.sha256(picture).digest())
    except Unreadable:
        raise
    except Image.DecompressionBombError:
        raise _too_large() from None
    except MemoryError:
        raise Unreadable("The cover needs too much memory.") from None
    except Exception as error:  # decoders raise nearly everything over broken pictures
        raise Unreadable("The cover is broken.") from error


def _too_large() -> Unreadable:
    return Unreadable(f"The cover has more than {MAX_PIXELS // 1_000_000} million pixels.")


def _rendered(image: Image.Image, digest: bytes) -> Cover:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large()
    turn = _TURNS.get(_orientation(image))
    largest = _shrunk(image, SIZES[-1])
    if turn is not None:
        largest = largest.transpose(turn)
        if turn not in (_TURNS[2], _TURNS[3], _TURNS[4]):
            width, height = height, width
    images: dict[int, bytes] = {}
    for size in sorted(SIZES, reverse=True):
        if size < max(largest.size):
            largest = _fitted(largest, size)
            images[size] = _encoded(largest)
        else:
            images[size] = next(reversed(images.values())) if images else _encoded(largest)
    return Cover(digest, width, height, dict(sorted(images.items())))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # EXIF is a format of its own, often broken; the picture is none the worse
        return 1


def _shrunk(image: Image.Image, size: int) -> Image.Image:
    """The picture in RGB on white with this longest side.

    It is flattened and made coarse in stripes, since a picture may take most of the memory there is just by itself.
    """
    image.draft("RGB", (2 * size, 2 * size))
    image.load()
    width, height = image.size
    factor = max(1, max(width, height) // (3 * size))
    coarse = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    for top in range(0, height, STRIPE * factor):
        stripe = image.crop((0, top, width, min(height, top + STRIPE * factor)))
        coarse.paste(_flat(stripe).reduce(factor), (0, top // factor))
    return _fitted(coarse, size)


def _flat(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _fitted(image: Image.Image, size: int) -> Image.Image:
    scale = size / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)


def _encoded(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()
