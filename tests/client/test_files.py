import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from service.client.files import Found, Source, find
from service.client.problems import Problem


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "song.mp3"
    path.write_bytes(os.urandom(9_000_000))
    return path


def opened(path, **options):
    return Source(Found(str(path), path.stat().st_size, **options))


async def content_of(source, offset=0):
    return b"".join([chunk async for chunk in source.chunks(offset)])


def test_a_folder_is_searched_for_mp3_files_to_its_bottom_in_order(tmp_path):
    for name in ("b.mp3", "a.MP3", "notes.txt", "._b.mp3", "deep/er/c.mp3", "deep/d.mp3", "x.mp3/inside.mp3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    found = list(find([str(tmp_path)]))
    names = [os.path.relpath(each.path, tmp_path) for each in found]
    assert names == ["a.MP3", "b.mp3", "deep/d.mp3", "deep/er/c.mp3", "x.mp3/inside.mp3"]
    assert {each.size for each in found} == {5}
    assert not any(each.problem for each in found)


def test_a_folder_deeper_than_calls_may_nest_is_searched(tmp_path):
    deepest = f"{tmp_path}/top" + "/d" * 1200
    subprocess.run(["mkdir", "-p", deepest], check=True)
    Path(deepest, "song.mp3").touch()
    try:
        (found,) = find([f"{tmp_path}/top"])
        assert found.path == f"{deepest}/song.mp3"
    finally:
        subprocess.run(["rm", "-r", f"{tmp_path}/top"], check=True)


def test_no_link_in_a_folder_is_followed(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    folder.mkdir()
    (outside / "secret.mp3").write_bytes(b"1")
    (folder / "file.mp3").symlink_to(outside / "secret.mp3")
    (folder / "loop").symlink_to(folder)
    (folder / "away").symlink_to(outside)
    assert list(find([str(folder)])) == []


def test_a_link_that_is_named_is_followed(tmp_path, song):
    link = tmp_path / "link.mp3"
    link.symlink_to(song)
    (found,) = find([str(link)])
    with Source(found) as source:
        assert source.size == 9_000_000


def test_a_file_that_became_a_link_after_the_search_is_not_followed(tmp_path, song):
    link = tmp_path / "link.mp3"
    link.symlink_to(song)
    with pytest.raises(Problem) as caught:
        Source(Found(str(link), is_named=False))
    assert caught.value.code == "unreadable"


def test_a_file_that_is_named_may_have_any_name(tmp_path):
    path = tmp_path / "recording.bin"
    path.write_bytes(b"1")
    assert [each.path for each in find([str(path)])] == [str(path)]


@pytest.mark.parametrize("name", ["missing.mp3", "nul\0.mp3", "long" * 1000])
def test_what_is_not_there_is_found_as_a_problem(tmp_path, name):
    (found,) = find([f"{tmp_path}/{name}"])
    assert found.problem
    assert str(tmp_path) not in found.problem


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_a_problem_and_no_silence(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    assert [each.problem for each in find([str(tmp_path)])] == ["Permission denied"]


def test_a_pipe_is_no_file_and_nobody_waits_for_its_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp3")
    (found,) = find([str(tmp_path / "pipe.mp3")])
    with pytest.raises(Problem, match="Not a regular file"):
        Source(found)


async def test_the_digest_is_that_of_all_bytes_and_progress_is_told(song):
    told = []
    with opened(song) as source:
        assert await source.digest(told.append) == hashlib.sha256(song.read_bytes()).hexdigest()
    assert told == [4 << 20, 8 << 20, 9_000_000]


@pytest.mark.parametrize("offset", [0, 1, 262_144, 8_999_999, 9_000_000])
async def test_chunks_are_the_content_from_an_offset(song, offset):
    with opened(song) as source:
        assert await content_of(source, offset) == song.read_bytes()[offset:]


async def test_a_file_that_grows_is_sent_up_to_where_it_ended_and_is_not_taken_for_the_same(song):
    with opened(song) as source:
        before = song.read_bytes()
        with song.open("ab") as file:
            file.write(b"more")
        assert await content_of(source) == before
        with pytest.raises(Problem) as caught:
            source.check_unchanged()
    assert caught.value.code == "file-changed"


async def test_a_file_that_is_cut_while_it_is_sent_is_a_changed_one(song):
    with opened(song) as source:
        os.truncate(song, 100)
        with pytest.raises(Problem) as caught:
            await content_of(source)
    assert caught.value.code == "file-changed"


async def test_a_file_that_changes_while_it_is_hashed_has_no_digest(song):
    def touch(_offset):
        os.utime(song)

    with opened(song) as source, pytest.raises(Problem) as caught:
        await source.digest(touch)
    assert caught.value.code == "file-changed"


def test_a_name_that_is_no_text_becomes_one(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.mp3")
    path.touch()
    (found,) = find([str(path)])
    with Source(found) as source:
        assert source.name == "caf�.mp3"
