from service.wire.m3u8 import playlist


def test_a_playlist():
    text = playlist("Müsli", [("../tracks/a/audio", 187.4, "Nina - Ökonomie"), ("../tracks/b/audio", 0.6, "x")])
    assert text == (
        "#EXTM3U\n#PLAYLIST:Müsli\n#EXTINF:187,Nina - Ökonomie\n../tracks/a/audio\n#EXTINF:1,x\n../tracks/b/audio\n"
    )


def test_an_empty_playlist():
    assert playlist("x", []) == "#EXTM3U\n#PLAYLIST:x\n"


def test_no_word_begins_a_line_of_its_own():
    evil = "".join(
        f"a{end}#EXTINF:1,b{end}file:///etc/passwd"
        for end in ("\n", "\r", "\r\n", "\v", "\f", "\x1c", "\x85", "\u2028")
    )
    lines = playlist(evil, [("u", 1, evil)]).splitlines()
    assert len(lines) == 4
    assert (lines[0], lines[3]) == ("#EXTM3U", "u")
    assert lines[1].startswith("#PLAYLIST:a #EXTINF:1,b file:///etc/passwda ")
    assert lines[2].startswith("#EXTINF:1,a #EXTINF:1,b ")
