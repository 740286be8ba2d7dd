import re

import jinja2
import pytest

from service.web.pages import TEMPLATES, duration, environment, moment, prose, size, spoken_duration, static_files

SCRIPT = "<script>alert(1)</script>"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_951, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (4_240_000, "4.2 MB"),
        (2 << 30, "2.1 GB"),
        (10**16, "10000 TB"),
    ],
)
def test_sizes_have_three_digits_and_a_decimal_unit(count, text):
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text", "spoken"),
    [
        (0, "0:00", "PT0S"),
        (59.4, "0:59", "PT59S"),
        (59.6, "1:00", "PT1M0S"),
        (187.2, "3:07", "PT3M7S"),
        (3753, "1:02:33", "PT1H2M33S"),
        (360_000, "100:00:00", "PT100H0S"),
    ],
)
def test_durations_look_like_a_clock(seconds, text, spoken):
    assert duration(seconds) == text
    assert spoken_duration(seconds) == spoken


def test_moments_are_told_in_utc():
    assert moment("2026-11-02T06:10:00.123456Z") == "2 Nov 2026, 06:10 UTC"
    assert moment("2026-11-02T06:10:00+02:00") == "2 Nov 2026, 04:10 UTC"


def test_prose_marks_code_and_escapes_all():
    assert prose("Send `a<b` & go") == "Send <code>a&lt;b</code> &amp; go"
    assert prose(f"one ` only {SCRIPT}") == "one ` only &lt;script&gt;alert(1)&lt;/script&gt;"


def test_templates_escape_what_they_show():
    assert environment().from_string("{{ x }}").render(x=SCRIPT) == "&lt;script&gt;alert(1)&lt;/script&gt;"


def test_a_name_that_is_not_passed_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        environment().from_string("{{ missing }}").render()


@pytest.mark.parametrize("path", sorted(TEMPLATES.glob("*.html")), ids=lambda path: path.name)
def test_no_template_has_script_or_style_of_its_own_or_switches_escaping_off(path):
    text = path.read_text()
    assert "<style" not in text
    assert " style=" not in text
    assert re.search(r"\son\w+=", text) is None
    assert "|safe" not in text.replace(" ", "")
    assert "autoescape" not in text
    for start in [at for at in range(len(text)) if text.startswith("<script", at)]:
        assert " src=" in text[start : text.index(">", start)]
    assert "http://" not in text
    assert "https://" not in text


def test_every_static_file_has_a_version():
    files = static_files()
    assert {"yarrr.css", "page.js", "icon.svg"} <= files.keys()
    assert all(len(version) == 16 for version in files.values())
