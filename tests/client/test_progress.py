import io
import json
import re
import time

import pytest

from service.client.files import Found
from service.client.job import Job
from service.client.problems import Problem
from service.client.progress import Show, fit, shown, size_text


class Screen(io.StringIO):
    """A terminal, as far as our bars need one."""

    encoding = "utf-8"

    @property
    def lines(self):
        lines, row = [""], 0
        for text in re.split(r"(\x1b\[\d*[A-Za-z]|\n|\r)", self.getvalue()):
            if text == "\n":
                row += 1
                if row == len(lines):
                    lines.append("")
            elif match := re.fullmatch(r"\x1b\[(\d*)([A-Za-z])", text):
                if match[2] == "A":
                    row -= int(match[1])
                elif match[2] == "K":
                    lines[row] = ""
                elif match[2] == "J":
                    del lines[row + 1 :]
                    lines[row] = ""
            elif text != "\r":
                lines[row] += text
        return [line for line in lines if line]


def job_of(path="song.mp3", size=1_000_000):
    return Job(Found(path, size))


@pytest.fixture
def screen():
    return Screen()


def test_bars_are_drawn_over_themselves_below_what_was_told(screen):
    show = Show(screen, is_terminal=True)
    first, second = job_of("first.mp3"), job_of("second.mp3", 3_000_000)
    show.begin([first, second])
    for job in (first, second):
        job.start()
        show.start(job)
    second.hashed(1_500_000)
    show._bars.draw()
    first.stand(250_000)
    first.send(500_000)
    show._bars.draw()
    bars = screen.lines
    assert len(bars) == 3
    assert re.fullmatch(r"first\.mp3 +█{8}░{8}  50%  500\.0 kB of 1\.0 MB", bars[0])
    assert re.fullmatch(r"second\.mp3 +█{8}░{8}  50%  hashing", bars[1])
    assert bars[2].startswith("0/2 files ")
    assert "500.0 kB of 4.0 MB" in bars[2]

    first.end("uploaded", "T1")
    show.end(first)
    show.wait(second, "The connection broke off", 0.25)
    show._bars.draw()
    told, waits, *bars = screen.lines
    assert told.startswith("uploaded  first.mp3  1.0 MB in")
    assert waits == "second.mp3: The connection broke off; again in 0.2 s"
    assert len(bars) == 2
    assert bars[1].startswith("1/2 files ")

    second.fail(Problem("not-an-mp3", "This is text."))
    show.end(second)
    show.close()
    assert screen.lines[2:] == [
        "failed    second.mp3  This is text. (not-an-mp3)",
        screen.lines[-1],
    ]
    assert re.fullmatch(r"1 uploaded, 1 failed; 250\.0 kB sent in 0\.\d s", screen.lines[-1])


def test_more_files_than_rows_do_not_scroll(screen):
    show = Show(screen, is_terminal=True)
    jobs = [job_of(f"{number}.mp3") for number in range(64)]
    show.begin(jobs)
    for job in jobs:
        show.start(job)
    show._bars.draw()
    assert len(screen.lines) == 23  # of 24
    assert all(len(line) < 80 for line in screen.lines)


def test_without_a_terminal_there_are_lines_and_no_escapes(screen):
    show = Show(screen)
    job = job_of()
    show.begin([job])
    show.start(job)
    job.end("skipped", "T1")
    show.end(job)
    show.close()
    assert screen.getvalue().splitlines()[0] == "skipped   song.mp3  is there already"
    assert "\x1b" not in screen.getvalue()


def test_colours_are_a_choice(screen):
    for is_coloured in (True, False):
        show = Show(screen, is_coloured=is_coloured)
        job = job_of()
        job.end("uploaded", "T1")
        show.end(job)
    coloured, plain = screen.getvalue().splitlines()
    assert coloured.startswith("\x1b[32muploaded\x1b[0m")
    assert "\x1b" not in plain


def test_quiet_tells_of_failures_only(screen):
    show = Show(screen, is_quiet=True, is_terminal=True)
    good, bad = job_of("good.mp3"), job_of("bad.mp3")
    show.begin([good, bad])
    for job in (good, bad):
        show.start(job)
    show.wait(bad, "The connection broke off", 1)
    good.end("uploaded", "T1")
    bad.fail(Problem("too-large", "Too large"))
    show.end(good)
    show.end(bad)
    show.close()
    assert screen.getvalue() == "failed    bad.mp3  Too large (too-large)\n"


def test_json_has_a_line_for_every_file(screen):
    output = io.StringIO()
    show = Show(screen, output, is_json=True)
    good, bad = job_of("good\udce9.mp3"), job_of("bad.mp3")
    show.begin([good, bad])
    good.start()
    good.sha256 = "ab" * 32
    good.end("uploaded", "T1")
    bad.fail(Problem("too-large", "Too large"))
    for job in (good, bad):
        show.end(job)
    show.close()
    first, second = map(json.loads, output.getvalue().splitlines())
    assert first == {
        "path": "good\udce9.mp3",
        "status": "uploaded",
        "track": "T1",
        "sha256": "ab" * 32,
        "seconds": first["seconds"],
        "problem": None,
    }
    assert second["status"] == "failed"
    assert second["problem"] == {"code": "too-large", "detail": "Too large"}
    assert screen.getvalue() == "failed    bad.mp3  Too large (too-large)\n"


def test_interrupted_it_says_how_to_go_on(screen):
    show = Show(screen, is_terminal=True)
    jobs = [job_of("a.mp3"), job_of("b.mp3")]
    show.begin(jobs)
    jobs[0].end("uploaded", "T1")
    show.end(jobs[0])
    show.close(is_interrupted=True)
    assert screen.lines[-1] == "Interrupted: 1 of 2 files are there. The same command goes on from here."


def test_names_cannot_move_the_cursor():
    assert shown("a\x1b[2Jb\r\n\x07\u202ec\udce9.mp3") == "a?[2Jb????c?.mp3"


@pytest.mark.parametrize(
    ("text", "columns", "fitted"),
    [
        ("album/song.mp3", 20, "album/song.mp3"),
        ("album/song.mp3", 9, "…song.mp3"),
        ("音楽/歌.mp3", 8, "…/歌.mp3"),
        ("音楽/歌.mp3", 7, "…歌.mp3"),
        ("音楽/歌.mp3", 6, "….mp3"),
        ("e\u0301e\u0301.mp3", 6, "e\u0301e\u0301.mp3"),
    ],
)
def test_text_is_cut_to_columns_not_characters(text, columns, fitted):
    assert fit(text, columns) == fitted


def test_padding_fills_the_columns():
    assert fit("ab", 4, is_padded=True) == "ab  "
    assert fit("音楽/歌.mp3", 6, is_padded=True) == "….mp3 "


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (2 << 30, "2.15 GB")]
)
def test_sizes_read_well(size, text):
    assert size_text(size) == text


def test_the_line_for_all_tells_speed_and_time_left_of_what_is_sent(screen, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    show = Show(screen, is_terminal=True)
    job = job_of(size=11_000_000)
    show.begin([job])
    show.start(job)
    job.stand(1_000_000)
    show._bars.draw()
    now[0] += 2
    job.send(3_000_000)
    show._bars.draw()
    assert screen.lines[-1].startswith("0/1 files, 1.0 MB/s, 0:08 left ")
