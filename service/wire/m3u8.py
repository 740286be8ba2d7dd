"""Extended M3U playlists in UTF-8: a list of addresses, each with its seconds and a line of words.

There is no standard of it but RFC 8216, which made it into something else. This is what players have read since Winamp.
"""

from collections.abc import Iterable

CONTENT_TYPE = "audio/x-mpegurl"
"""As desktops and players know it. ``application/vnd.apple.mpegurl`` promises segments of one stream (RFC 8216): who
believes that, such as Safari, refuses a list of songs."""


def playlist(name: str, entries: Iterable[tuple[str, float, str]]) -> str:
    """The playlist of that name; each entry has a URL, seconds and words, which make one line whatever they contain."""
    lines = ["#EXTM3U", f"#PLAYLIST:{_line(name)}"]
    for url, seconds, words in entries:
        lines += [f"#EXTINF:{round(seconds)},{_line(words)}", url]
    return "\n".join([*lines, ""])


def _line(text: str) -> str:
    # This splits at every line break that Unicode knows, as some readers do.
    return " ".join(text.split())
