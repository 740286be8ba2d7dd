import fcntl
import os
import stat
import subprocess
import sys
import time

import pytest

from service.client.memory import KEPT_S, Memory, sweep
from service.client.problems import Problem

SERVER = "https://music.example"
DIGEST = "ab" * 32
UPLOAD = "0123456789abcdef" * 2


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "state" / "yarrr"


def test_an_upload_is_remembered_for_its_server_and_content_only(directory):
    with Memory(directory, SERVER, DIGEST) as memory:
        assert memory.upload_id is None
        memory.keep(UPLOAD, path="song.mp3")
    with Memory(directory, SERVER, DIGEST) as memory:
        assert memory.upload_id == UPLOAD
    with Memory(directory, "https://other.example", DIGEST) as memory:
        assert memory.upload_id is None
    with Memory(directory, SERVER, "cd" * 32) as memory:
        assert memory.upload_id is None


def test_what_is_begun_anew_is_remembered(directory):
    with Memory(directory, SERVER, DIGEST) as memory:
        memory.keep("0" * 32, path="a-longer-name.mp3")
        memory.forget()
        memory.keep(UPLOAD)
        with pytest.raises(Problem):
            Memory(directory, SERVER, DIGEST)
    with Memory(directory, SERVER, DIGEST) as memory:
        assert memory.upload_id == UPLOAD


def test_a_file_that_its_owner_removes_meanwhile_is_not_held(directory, monkeypatch):
    """Else the next client would find no file there, make one, and think it has the upload for itself."""
    flock, owner = fcntl.flock, Memory(directory, SERVER, DIGEST)

    def end_first(*arguments):
        monkeypatch.undo()
        owner.close()
        flock(*arguments)

    monkeypatch.setattr(fcntl, "flock", end_first)
    with Memory(directory, SERVER, DIGEST), pytest.raises(Problem):
        Memory(directory, SERVER, DIGEST)


def test_nothing_is_left_of_what_was_forgotten_or_never_begun(directory):
    with Memory(directory, SERVER, DIGEST) as memory:
        memory.keep(UPLOAD)
        memory.forget()
    with Memory(directory, SERVER, "cd" * 32):
        pass
    assert list(directory.iterdir()) == []


def test_others_cannot_read_what_is_remembered(directory):
    with Memory(directory, SERVER, DIGEST) as memory:
        memory.keep(UPLOAD)
    (path,) = directory.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'{"upload": 5}', b'{"upload": "../x"}', b"\xff\xfe"])
def test_a_torn_memory_is_none(directory, text):
    with Memory(directory, SERVER, DIGEST) as memory:
        memory.keep(UPLOAD)
    (path,) = directory.iterdir()
    path.write_bytes(text)
    with Memory(directory, SERVER, DIGEST) as memory:
        assert memory.upload_id is None
        memory.keep(UPLOAD)
        assert memory.upload_id == UPLOAD


def test_a_shorter_memory_leaves_no_rest_of_a_longer_one(directory):
    with Memory(directory, SERVER, DIGEST) as memory:
        memory.keep("a" * 32, path="x" * 1000)
        memory.keep("b")
        assert memory.upload_id == "b"


def test_two_clients_do_not_fight_for_one_upload(directory):
    with Memory(directory, SERVER, DIGEST), pytest.raises(Problem) as caught:
        Memory(directory, SERVER, DIGEST)
    assert caught.value.code == "busy"
    Memory(directory, SERVER, DIGEST).close()


def test_a_killed_client_holds_nothing(directory):
    code = f"""
from pathlib import Path
from service.client.memory import Memory
memory = Memory(Path({str(directory)!r}), {SERVER!r}, {DIGEST!r})
memory.keep({UPLOAD!r})
print(flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(Problem):
            Memory(directory, SERVER, DIGEST)
        process.kill()
    with Memory(directory, SERVER, DIGEST) as memory:
        assert memory.upload_id == UPLOAD


def test_a_directory_that_cannot_be_is_a_problem(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Problem) as caught:
        Memory(tmp_path / "file" / "yarrr", SERVER, DIGEST)
    assert caught.value.code == "no-memory"


def test_what_no_service_keeps_any_more_is_swept(directory):
    for digest in (DIGEST, "cd" * 32):
        with Memory(directory, SERVER, digest) as memory:
            memory.keep(UPLOAD)
    old, young = directory.iterdir()
    then = time.time() - KEPT_S - 60
    os.utime(old, (then, then))
    sweep(directory)
    assert list(directory.iterdir()) == [young]
    sweep(directory / "missing")
