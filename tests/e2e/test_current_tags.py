"""A file is uploaded, analysed, renamed, and downloaded with its new name in it, from the real process by curl."""

import shutil
import subprocess
import time

import mutagen.id3
from PIL import Image
from tinytag import TinyTag

from service.audio.frames import scan
from tests import corpus

MB = 1_000_000
START_S = 0.05


def upload(server, path):
    """The track, when it has been described."""
    answer = server.curl("/spool/", "-T", path)
    assert answer.status == 201, answer
    track, deadline = answer.json(), time.monotonic() + 60
    while track["metadata"] == "pending":
        assert time.monotonic() < deadline
        time.sleep(0.05)
        track = server.get_json(f"/tracks/{track['id']}")
    return track


def rename(server, track, title):
    fields = ("If-Match: *", "Content-Type: application/merge-patch+json")
    headers = [argument for field in fields for argument in ("-H", field)]
    answer = server.curl(f"/tracks/{track['id']}", "-X", "PATCH", *headers, "-d", f'{{"title": "{title}"}}')
    assert answer.status == 200, answer


def test_a_renamed_track_comes_with_its_new_name_and_the_same_music(server, path_of, tmp_path):
    path, current = tmp_path / "song.mp3", tmp_path / "current.mp3"
    path.write_bytes(path_of("vbr").read_bytes() + corpus.id3v1())
    Image.frombytes("RGB", (600, 600), corpus.noise(1_080_000)).save(tmp_path / "cover.png")
    tags = mutagen.id3.ID3()
    tags.add(mutagen.id3.TIT2(encoding=3, text="Old name"))
    tags.add(mutagen.id3.TPE1(encoding=1, text="Sigur Rós"))
    tags.add(mutagen.id3.APIC(mime="image/png", type=3, data=(tmp_path / "cover.png").read_bytes()))
    tags.save(path, v2_version=3)
    track = upload(server, path)
    rename(server, track, "New name")
    answer = server.curl(f"/tracks/{track['id']}/audio?tags=current", "-o", current)
    assert (answer.status, answer.headers["content-length"]) == (200, str(current.stat().st_size))

    assert scan(current).sha256 == scan(path).sha256
    read = mutagen.id3.ID3(current)
    assert (read["TIT2"].text, read["TPE1"].text) == (["New name"], ["Sigur Rós"])
    found = TinyTag.get(current, image=True)
    assert (found.title, found.artist) == ("New name", "Sigur Rós")
    assert found.images.front_cover.data.startswith(b"\xff\xd8\xff")
    played = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", current, "-map", "0:a", "-f", "null", "-"], capture_output=True, check=True
    )
    assert played.stderr == b""
    again = server.curl(f"/tracks/{track['id']}/audio")
    assert again.body == path.read_bytes()

    copy = upload(server, current)  # what was downloaded says what was known
    assert (copy["title"], copy["artist"], copy["cover"] is not None) == ("New name", "Sigur Rós", True)


def test_a_player_that_resumes_in_the_tag_gets_the_rest(server, path_of, tmp_path):
    track = upload(server, path_of("id3v23"))
    url = f"/tracks/{track['id']}/audio?tags=current"
    whole = server.curl(url).body
    rest = tmp_path / "rest.mp3"
    for size in (5, 11, len(whole) // 2):
        rest.write_bytes(whole[:size])
        answer = server.curl(url, "-C", "-", "-o", rest)
        assert (answer.status, rest.read_bytes()) == (206, whole)


def test_half_a_gigabyte_begins_in_moments(make_server, corpus_dir):
    server, path = make_server(), corpus.big(corpus_dir, 500 * MB)
    track = upload(server, path)
    path.unlink()
    rename(server, track, "New name")
    url = f"{server.base_url}/tracks/{track['id']}/audio?tags=current"
    command = ["curl", "-s", "-H", f"Authorization: Bearer {server.token}", "-o", "/dev/null"]
    times = []
    for _ in range(5):
        told = "%{time_starttransfer} %{size_download} %{http_code}"
        done = subprocess.run([*command, "-w", told, url], capture_output=True, text=True, check=True)
        seconds, size, status = done.stdout.split()
        assert (status, int(size) > 499 * MB) == ("200", True)
        times.append(float(seconds))
    server.stop()
    shutil.rmtree(server.data_dir)
    assert min(times) < START_S, times
