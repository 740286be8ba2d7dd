"""Plain curl: a file that breaks off is gone on with by its name, and the lines of README.md do what they say."""

import hashlib
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from tests import corpus
from tests.e2e.cutting import CuttingProxy

pytestmark = pytest.mark.e2e

README = Path(__file__).parents[2] / "README.md"
SIZE = 3_000_000


@pytest.fixture
def big(corpus_dir, tmp_path, request):
    """A file of its own name, so that no other test's upload is met."""
    path = tmp_path / f"{re.sub('[^a-z0-9]', '-', request.node.name)}.mp3"
    path.write_bytes(corpus.big(corpus_dir, SIZE).read_bytes())
    return path


def state(server, path):
    return server.curl(f"/spool/{path.name}", "-I")


def offset(server, path):
    answer = state(server, path)
    assert answer.status == 204, answer
    return int(answer.headers["upload-offset"])


def break_off(server, path, *arguments, seconds=1):
    """Send some of a file slowly, until curl gives up; how much it sent."""
    answer = server.curl("/spool/", "-T", path, "--limit-rate", "500k", "--max-time", str(seconds), *arguments)
    assert answer.exit_code == 28, answer
    return answer.sent_bytes


def resume(server, path, start, *arguments):
    return server.curl("/spool/", "-C", str(start), "-T", path, *arguments)


def check_track(server, path, answer):
    """The answer is the receipt of the file, its only track, and nothing unfinished is left."""
    content = path.read_bytes()
    assert (answer.status, answer.exit_code) == (201, 0), answer
    (track,) = server.get_json(f"/tracks?filename={path.name}")["items"]
    assert track["id"] == answer.json()["id"]
    assert track["sha256"] == hashlib.sha256(content).hexdigest()
    assert server.curl(track["url"]).body == content
    assert state(server, path).status == 404


def test_a_file_that_broke_off_is_gone_on_with(server, big):
    sent = break_off(server, big)
    start = offset(server, big)
    assert 0 < start <= sent
    answer = resume(server, big, start)
    assert answer.sent_bytes == SIZE - start
    check_track(server, big, answer)


def test_curl_may_be_killed(server, big):
    command = ["curl", "-sS", "-T", big, "--limit-rate", "1M", "-H", f"Authorization: Bearer {server.token}"]
    with subprocess.Popen([*command, f"{server.base_url}/spool/"], stdout=subprocess.DEVNULL) as process:
        time.sleep(1)
        process.kill()
    start = offset(server, big)
    assert start > 0
    check_track(server, big, resume(server, big, start))


def test_it_may_break_off_again_and_again(server, big):
    break_off(server, big)
    starts = [offset(server, big)]
    for _ in range(3):
        break_off(server, big, "-C", str(starts[-1]))
        starts.append(offset(server, big))
    assert starts == sorted(set(starts)), "each time some of it came"
    check_track(server, big, resume(server, big, starts[-1]))


def test_a_network_may_break_20_times_in_a_row(server, big):
    with CuttingProxy(server.port, cuts=20, after=100_000) as proxy:
        url = f"http://127.0.0.1:{proxy.port}/spool/"
        start, answers = 0, 0
        while (answers := answers + 1) < 100:
            arguments = ["-C", str(start)] if start else []
            command = ["curl", "-sS", "-w", "%{http_code}", "-o", "/dev/null", *arguments, "-T", big]
            done = subprocess.run(
                [*command, "-H", f"Authorization: Bearer {server.token}", url],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            if done.stdout == "201":
                break
            if (answer := state(server, big)).status == 204:
                start = int(answer.headers["upload-offset"])
        assert proxy.done == 20
    (track,) = server.get_json(f"/tracks?filename={big.name}")["items"]
    assert server.curl(track["url"]).body == big.read_bytes()


def test_the_server_may_be_killed(make_server, big):
    server = make_server()
    command = ["curl", "-sS", "-T", big, "--limit-rate", "1M", "-H", f"Authorization: Bearer {server.token}"]
    with subprocess.Popen([*command, f"{server.base_url}/spool/"], stderr=subprocess.DEVNULL) as process:
        time.sleep(1)
        server.restart(kill=True)
        process.wait(20)
    start = offset(server, big)
    assert start > 0
    check_track(server, big, resume(server, big, start))


@pytest.mark.parametrize("start", ["1", "2999999"])
def test_a_wrong_offset_is_refused_with_the_right_one_before_the_body(server, big, start):
    break_off(server, big)
    right = offset(server, big)
    answer = resume(server, big, start, "-H", "Expect: 100-continue")
    assert (answer.status, answer.sent_bytes) == (409, 0)
    assert answer.headers["upload-offset"] == str(right)
    assert answer.json()["expected_offset"] == right
    check_track(server, big, resume(server, big, right))


def test_an_offset_of_a_file_that_was_never_begun_is_refused_before_the_body(server, big):
    answer = resume(server, big, 1000)
    assert (answer.status, answer.sent_bytes, answer.headers["upload-offset"]) == (409, 0, "0")


def test_another_file_of_that_name_is_refused(server, big):
    break_off(server, big)
    start = offset(server, big)
    content = big.read_bytes()
    big.write_bytes(content + b"more")
    answer = resume(server, big, start)
    assert (answer.status, answer.json()["type"]) == (400, "/problems/inconsistent-upload-length")
    big.write_bytes(content)
    check_track(server, big, resume(server, big, start))


def test_curl_that_shall_find_the_offset_itself_sends_everything_and_nothing_is_corrupted(server, big):
    """``-C -`` with an upload: curl cannot ask, and sends the whole file as ``bytes 0-…``."""
    break_off(server, big)
    answer = server.curl("/spool/", "-C", "-", "-T", big)
    assert (answer.status, answer.sent_bytes) == (201, SIZE)
    check_track(server, big, answer)


def test_a_stream_that_broke_off_is_gone_on_with_from_a_file(server, big):
    answer = server.curl(
        f"/spool/{big.name}", "-T", "-", "--limit-rate", "500k", "--max-time", "1", input=big.read_bytes()
    )
    assert answer.exit_code == 28
    assert "upload-length" not in state(server, big).headers
    check_track(server, big, resume(server, big, offset(server, big)))


def test_a_range_of_a_stream_is_refused(server, big):
    break_off(server, big)
    start = offset(server, big)
    answer = server.curl(f"/spool/{big.name}", "-C", str(start), "-T", "-", input=big.read_bytes())
    assert answer.status == 400
    assert offset(server, big) == start


def test_a_form_that_broke_off_is_gone_on_with(server, big):
    answer = server.curl("/tracks", "-F", f"mp3=@{big}", "--limit-rate", "500k", "--max-time", "1")
    assert answer.exit_code == 28
    check_track(server, big, resume(server, big, offset(server, big)))


def test_asking_for_the_offset_ends_a_curl_that_is_still_sending(server, big):
    command = ["curl", "-sS", "-T", big, "--limit-rate", "500k", "-H", f"Authorization: Bearer {server.token}"]
    with subprocess.Popen([*command, f"{server.base_url}/spool/"], stderr=subprocess.DEVNULL) as process:
        time.sleep(1)
        start = offset(server, big)
        assert process.wait(10) != 0
    check_track(server, big, resume(server, big, start))


def test_an_unfinished_file_can_be_given_up(server, big):
    break_off(server, big)
    assert server.curl(f"/spool/{big.name}", "-X", "DELETE").status == 204
    assert state(server, big).status == 404
    assert server.curl(f"/spool/{big.name}", "-X", "DELETE").status == 404


# README.md


def blocks():
    """The lines of shell in the section about resuming."""
    section = README.read_text().split("### Resume an upload\n", 1)[1].split("\n### ", 1)[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def run_shell(server, directory, text):
    script = "set -eu\n" + text.replace("http://127.0.0.1:8080", server.base_url)
    environment = {**os.environ, "TOKEN": server.token}
    done = subprocess.run(
        ["bash", "-c", script], cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (script, done.stderr)
    return done.stdout


@pytest.mark.parametrize("number", range(2))
def test_the_lines_of_the_readme_work(server, corpus_dir, tmp_path, number):
    """The first block goes on by name, the second by the address of the upload."""
    name = f"readme-{number}.mp3"
    big = tmp_path / name
    big.write_bytes(corpus.big(corpus_dir, SIZE).read_bytes())
    break_off(server, big)
    printed = run_shell(server, tmp_path, blocks()[number].replace("song.mp3", name))
    assert hashlib.sha256(big.read_bytes()).hexdigest() in printed
    (track,) = server.get_json(f"/tracks?filename={name}")["items"]
    assert server.curl(track["url"]).body == big.read_bytes()


def test_the_readme_has_no_other_lines():
    assert len(blocks()) == 2
