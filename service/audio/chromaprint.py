"""Takes the fingerprint of decoded sound with the system's Chromaprint library, where there is one.

The library is found at run time (Debian: ``libchromaprint1``); without it there are no fingerprints. Not for the
service process: it loads a hundred other libraries.
"""

import ctypes
import struct

LIBRARY = "libchromaprint.so.1"
SECONDS = 120  # of a recording that count; what its own tool takes
_DEFAULT = 1  # CHROMAPRINT_ALGORITHM_DEFAULT: "test 2"

_Words = ctypes.POINTER(ctypes.c_uint32)


def find_library() -> ctypes.CDLL | None:
    """The library with its functions declared, or ``None`` where it is not installed."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    library.chromaprint_new.restype = ctypes.c_void_p
    library.chromaprint_new.argtypes = [ctypes.c_int]
    library.chromaprint_free.argtypes = [ctypes.c_void_p]
    library.chromaprint_start.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    library.chromaprint_feed.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    library.chromaprint_finish.argtypes = [ctypes.c_void_p]
    library.chromaprint_get_raw_fingerprint.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(_Words),
        ctypes.POINTER(ctypes.c_int),
    ]
    library.chromaprint_dealloc.argtypes = [ctypes.c_void_p]
    return library


class Fingerprinter:
    """Feed it interleaved 16-bit samples until it `is_full`, then `finish`."""

    def __init__(self, library: ctypes.CDLL, sample_rate: int, channels: int) -> None:
        self._library = library
        self._channels = channels
        self._left = SECONDS * sample_rate
        self._context = library.chromaprint_new(_DEFAULT)
        if not library.chromaprint_start(self._context, sample_rate, channels):
            self._left = 0

    @property
    def is_full(self) -> bool:
        """Whether more samples would change nothing."""
        return self._left <= 0

    def feed(self, samples: bytes) -> None:
        """Take the next samples of all channels."""
        frames = min(self._left, len(samples) // 2 // self._channels)
        if frames > 0:
            self._library.chromaprint_feed(self._context, samples, frames * self._channels)
            self._left -= frames

    def finish(self) -> bytes | None:
        """The words, packed little-endian; ``None`` when there was too little to hear. Frees everything."""
        words, count = _Words(), ctypes.c_int()
        try:
            self._library.chromaprint_finish(self._context)
            if not self._library.chromaprint_get_raw_fingerprint(self._context, words, count) or not count.value:
                return None
            return struct.pack(f"<{count.value}I", *words[: count.value])
        finally:
            if words:
                self._library.chromaprint_dealloc(words)
            self._library.chromaprint_free(self._context)
