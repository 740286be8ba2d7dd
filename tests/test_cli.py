import io
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
from dataclasses import fields
from functools import partial

import pytest

from service.accounts.accounts import Accounts
from service.catalogue.database import Database
from service.catalogue.migrations import newest
from service.cli import main
from service.server import locked
from service.settings import Settings

GOOD = "correct horse battery"
OTHER = "another horse battery"


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("YARRR_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("YARRR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("YARRR_ARGON2_MEMORY_KIB", "8192")
    return tmp_path / "data"


@pytest.fixture
def run(data_dir, capfd, monkeypatch):
    """A function that runs the command line: exit code, standard output, standard error."""

    def run(*arguments, stdin=""):
        if arguments[:1] == ("serve",):  # it sets logging up, in a process of its own
            answer = yarrr(*arguments)
            assert "Traceback" not in answer.stderr
            return answer.returncode, answer.stdout, answer.stderr
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return caught.value.code, out, err

    return run


@pytest.fixture
def alice(run):
    assert run("user", "add", "alice", stdin=GOOD + "\n")[0] == 0


def asked(data_dir, question):
    """What `question` says about the accounts on the data directory."""
    import asyncio

    async def ask():
        settings = Settings(data_dir=data_dir, argon2_memory_kib=8192)
        database = await Database.open(data_dir / "catalogue.db")
        accounts = Accounts(database, settings)
        try:
            return await question(accounts)
        finally:
            await accounts.close()
            await database.close()

    return asyncio.run(ask())


def may_log_in(data_dir, name, password):
    async def question(accounts):
        try:
            await accounts.log_in(name, password, address="", user_agent="")
        except Exception:
            return False
        return True

    return asked(data_dir, question)


def yarrr(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments], capture_output=True, text=True, timeout=30, **more
    )


def test_help_tells_every_command_and_loads_little():
    answer = yarrr("--help")
    assert answer.returncode == 0
    for name in ("serve", "migrate", "settings", "user", "token"):
        assert re.search(rf"^  {name} ", answer.stdout, re.MULTILINE)
    heavy = {"aiohttp", "alembic", "aiosqlite", "marshmallow", "argon2"}
    code = f"import sys, service.cli; print({heavy} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


def test_version(run):
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("yarrr")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["user", "add"],
        ["user", "add", "../x"],
        ["user", "add", "é"],
        ["user", "add", "x" * 65],
        ["user", "add", "bob", "--quota", "-1"],
        ["token", "create", "alice"],
        ["token", "create", "alice", "--scope", "everything"],
        ["token", "create", "alice", "--scope", "read", "--expires", "0"],
        ["serve", "--port", "70000"],
    ],
)
def test_wrong_usage_is_exit_2(run, arguments):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err


def test_all_bad_settings_are_told_at_once_with_exit_2(run, monkeypatch):
    monkeypatch.setenv("YARRR_PORT", "many")
    monkeypatch.setenv("YARRR_LOG_LEVEL", "LOUD")
    monkeypatch.setenv("YARRR_FRONTEND_URL", "ftp://x")
    monkeypatch.setenv("YARRR_ADMIN_PASSWORD_FILE", "/nowhere/secret")
    for command in (["settings"], ["serve"], ["migrate"], ["user", "list"]):
        code, out, err = run(*command)
        assert (code, out) == (2, "")
        for name in ("YARRR_PORT", "YARRR_LOG_LEVEL", "YARRR_FRONTEND_URL", "YARRR_ADMIN_PASSWORD_FILE"):
            assert name in err


def test_settings_lists_every_one_and_masks_secrets(run, monkeypatch, data_dir):
    monkeypatch.setenv("YARRR_ADMIN_PASSWORD", "do not show me")
    monkeypatch.setenv("YARRR_CORS_ORIGINS", "https://a.example,https://b.example")
    code, out, err = run("settings", "--json")
    assert (code, err) == (0, "")
    found = {each["name"]: each for each in json.loads(out)}
    assert list(found) == [f"YARRR_{each.name.upper()}" for each in fields(Settings)]
    assert found["YARRR_DATA_DIR"]["value"] == str(data_dir)
    assert found["YARRR_DATA_DIR"]["default"] == "var"
    assert found["YARRR_PORT"]["value"] == 8080
    assert found["YARRR_CORS_ORIGINS"]["value"] == ["https://a.example", "https://b.example"]
    assert found["YARRR_ADMIN_PASSWORD"]["value"] == "********"
    assert all(each["help"] for each in found.values())
    _, table, _ = run("settings")
    assert "do not show me" not in out + table
    assert all(name in table for name in found)


def test_migrate_tells_what_it_did(run, data_dir):
    code, out, _ = run("migrate")
    assert code == 0
    assert f"created with schema {newest()}" in out
    code, out, _ = run("migrate")
    assert code == 0
    assert "nothing to do" in out


def test_another_applications_database_is_left_alone(run, data_dir, monkeypatch):
    import sqlite3

    monkeypatch.setenv("YARRR_PORT", "0")  # on the usual one a service may be running
    data_dir.mkdir()
    connection = sqlite3.connect(data_dir / "catalogue.db")
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    before = (data_dir / "catalogue.db").read_bytes()
    for command in (["migrate"], ["serve"], ["user", "list"], ["user", "add", "bob"]):
        code, _, err = run(*command, stdin=GOOD)
        assert code == 1
        assert "not a yarrr database" in err
    assert (data_dir / "catalogue.db").read_bytes() == before


def test_an_older_schema_asks_for_migrate(run, alice, data_dir):
    import sqlite3

    connection = sqlite3.connect(data_dir / "catalogue.db")
    connection.execute("UPDATE alembic_version SET version_num = '0000'")
    connection.commit()
    connection.close()
    code, _, err = run("user", "list")
    assert code == 1
    assert "yarrr migrate" in err


def test_without_a_database_there_is_nothing_to_list(run, data_dir):
    code, out, err = run("user", "list")
    assert (code, out) == (1, "")
    assert "no database" in err
    assert not data_dir.exists()


def test_a_user_is_added_and_may_log_in(run, data_dir):
    code, out, err = run("user", "add", "alice", "--admin", "--quota", "1000", stdin=GOOD + "\n")
    assert (code, err) == (0, "")
    assert "alice" in out
    assert GOOD not in out
    assert may_log_in(data_dir, "alice", GOOD)
    code, out, _ = run("user", "list", "--json")
    assert code == 0
    (user,) = json.loads(out)
    assert (user["name"], user["is_admin"], user["quota_bytes"], user["disabled_at"]) == ("alice", True, 1000, None)
    assert "password_hash" not in user
    assert "alice" in run("user", "list")[1]


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_the_password_is_one_line_of_standard_input(run, data_dir, ending):
    assert run("user", "add", "bob", stdin=f"  {GOOD} {ending}")[0] == 0
    assert may_log_in(data_dir, "bob", f"  {GOOD} ")


@pytest.mark.parametrize(
    ("password", "words"), [("", "at least 12"), ("short", "at least 12"), ("password1234", "first")]
)
def test_a_poor_password_is_refused_in_one_line(run, password, words):
    code, out, err = run("user", "add", "bob", stdin=password + "\n")
    assert (code, out) == (1, "")
    assert words in err
    assert len(err.splitlines()) == 1


def test_a_taken_name_is_refused(run, alice):
    code, _, err = run("user", "add", "ALICE", stdin=GOOD)
    assert code == 1
    assert "already" in err


def test_a_new_password_ends_all_sessions(run, alice, data_dir):
    async def begin(accounts):
        return (await accounts.log_in("alice", GOOD, address="", user_agent="")).secret

    secret = asked(data_dir, begin)
    assert asked(data_dir, lambda accounts: accounts.identity_of_session(secret)) is not None
    assert run("user", "passwd", "alice", stdin=OTHER)[0] == 0
    assert asked(data_dir, lambda accounts: accounts.identity_of_session(secret)) is None
    assert not may_log_in(data_dir, "alice", GOOD)
    assert may_log_in(data_dir, "alice", OTHER)


def test_a_disabled_user_is_out_until_enabled(run, alice, data_dir):
    assert run("user", "disable", "alice")[0] == 0
    assert not may_log_in(data_dir, "alice", GOOD)
    assert run("user", "enable", "alice")[0] == 0
    assert may_log_in(data_dir, "alice", GOOD)


@pytest.mark.parametrize(
    "arguments",
    [
        ["user", "passwd", "nobody"],
        ["user", "disable", "nobody"],
        ["user", "enable", "nobody"],
        ["user", "passwd", "\udcff"],
        ["token", "list", "nobody"],
        ["token", "create", "nobody", "--scope", "read"],
        ["token", "revoke", "AAAAAA"],
        ["token", "create", "alice", "--scope", "admin"],
    ],
)
def test_what_is_not_there_is_one_line_and_exit_1(run, alice, arguments):
    code, out, err = run(*arguments, stdin=OTHER)
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1


def test_a_token_is_alone_on_standard_output(run, alice, data_dir):
    code, out, err = run("token", "create", "alice", "--scope", "upload", "--scope", "read", "--name", "phone")
    assert code == 0
    text = out.strip()
    assert re.fullmatch(r"yarrr_\S+", text)
    assert text not in err
    identity = asked(data_dir, lambda accounts: accounts.identity_of_token(text))
    assert (identity.name, identity.scopes) == ("alice", {"upload", "read"})


def test_tokens_are_listed_without_their_secret(run, alice):
    made = json.loads(run("token", "create", "alice", "--scope", "read", "--expires", "30", "--json")[1])
    code, out, _ = run("token", "list", "alice", "--json")
    assert code == 0
    (listed,) = json.loads(out)
    assert {**listed, "token": made["token"]} == made
    assert listed["expires_at"] is not None
    assert made["id"] in run("token", "list", "alice")[1]
    assert made["token"] not in out


@pytest.mark.parametrize("key", ["id", "token"])
def test_a_token_is_revoked_by_its_id_or_itself(run, alice, data_dir, key):
    made = json.loads(run("token", "create", "alice", "--scope", "read", "--json")[1])
    code, out, _ = run("token", "revoke", made[key])
    assert code == 0
    assert made["token"] not in out
    assert asked(data_dir, lambda accounts: accounts.identity_of_token(made["token"])) is None
    assert run("token", "list", "alice", "--json")[1].strip() == "[]"


def test_accounts_are_changed_beside_a_running_service_but_the_schema_is_not(run, alice, data_dir):
    with locked(Settings(data_dir=data_dir)):
        assert run("user", "add", "bob", stdin=GOOD)[0] == 0
        assert run("token", "create", "bob", "--scope", "read")[0] == 0
        assert run("migrate")[0] == 0  # nothing to do
        code, _, err = run("serve")
        assert code == 1
        assert "running" in err
        (data_dir / "catalogue.db").unlink()
        code, _, err = run("migrate")
        assert code == 1
        assert "running" in err


def test_commands_leave_folding_the_log_to_the_service(run, alice, data_dir):
    import sqlite3

    held = sqlite3.connect(data_dir / "catalogue.db")  # as the service holds it
    held.execute("SELECT * FROM users").fetchall()
    before = (data_dir / "catalogue.db").read_bytes()
    for number in range(3):
        assert run("user", "add", f"bob{number}", stdin=GOOD)[0] == 0
    assert (data_dir / "catalogue.db").read_bytes() == before
    assert held.execute("SELECT count(*) FROM users").fetchone()[0] == 4
    held.close()


def test_a_data_directory_that_cannot_be_made_is_one_line(run, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("YARRR_DATA_DIR", str(tmp_path / "file" / "data"))
    for command in (["migrate"], ["user", "add", "bob"], ["serve"]):
        code, out, err = run(*command, stdin=GOOD)
        assert (code, out) == (1, "")
        assert len(err.splitlines()) == 1


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, *arguments):
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execv(sys.executable, [sys.executable, "-m", "service", *arguments])
        self.seen = b""

    def wait_for(self, words):
        """Read until `words` come anew; None waits for the end."""
        start = len(self.seen)
        while words is None or words not in self.seen[start:]:
            assert select.select([self.descriptor], [], [], 20)[0], self.seen
            try:
                self.seen += os.read(self.descriptor, 1024)
            except OSError:  # how Linux tells that the other end is closed
                assert words is None, self.seen
                return

    def answer(self, prompt, line):
        self.wait_for(prompt)
        os.write(self.descriptor, line)

    def end(self):
        """Everything that was shown, and the exit code."""
        self.wait_for(None)
        os.close(self.descriptor)
        return self.seen, os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_on_a_terminal_the_password_is_asked_twice_and_not_shown(data_dir):
    terminal = Terminal("user", "add", "carol")
    for password in ("typo typo typo", GOOD):
        terminal.answer(b"Password: ", GOOD.encode() + b"\n")
        terminal.answer(b"Once more: ", password.encode() + b"\n")
    seen, code = terminal.end()
    assert code == 0
    assert b"Added" in seen
    assert GOOD.encode() not in seen
    assert may_log_in(data_dir, "carol", GOOD)


@pytest.mark.parametrize("key", [b"\x03", b"\x04"])
def test_an_interrupted_prompt_is_exit_130(data_dir, key):
    terminal = Terminal("user", "add", "carol")
    terminal.answer(b"Password: ", key)
    seen, code = terminal.end()
    assert code == 130
    assert b"Interrupted." in seen
    assert b"Traceback" not in seen


def test_serve_listens_where_it_is_told_and_ends_with_0(data_dir):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "serve", "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr:
            if f"http://127.0.0.1:{port}" in line:
                break
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, err
    assert out.count("Created the user admin") == 1


@pytest.fixture
def tracks(alice, data_dir, tmp_path):
    """Two tracks of alice's, with their files, both analysed before; their ids."""
    import asyncio
    import shutil

    from service.storage.local import LocalBlobs
    from tests import corpus
    from tests.rows import add_track

    async def add():
        database = await Database.open(data_dir / "catalogue.db")
        blobs = LocalBlobs(data_dir / "blobs", durable=False)
        user_id = (await database.find("SELECT user_id FROM users"))[0]
        try:
            for number in (1, 2):
                song = corpus.make(tmp_path, "id3v23")
                add = partial(add_track, number=number, user_id=user_id, size=song.stat().st_size)
                shutil.copy(song, blobs.path((await database.write(add))["key"]))
        finally:
            await database.close()

    asyncio.run(add())
    return [f"{number:026d}" for number in (1, 2)]


def queued(run):
    code, out, _ = run("jobs", "--json")
    assert code == 0
    return [(each["track"], each["kind"], each["state"]) for each in json.loads(out)]


def test_beside_a_running_service_tracks_are_queued_for_it(run, tracks, data_dir):
    with locked(Settings(data_dir=data_dir)):
        assert run("analyse", tracks[1])[:2] == (0, "Queued 1 tracks.\n")
        assert queued(run) == [(tracks[1], "describe", "waiting")]
        assert run("analyse", "--all")[:2] == (0, "Queued 2 tracks.\n")
        assert sorted(queued(run)) == [(track_id, "describe", "waiting") for track_id in tracks]
        assert len(json.loads(run("jobs", "--json", "--limit", "1")[1])) == 1
    code, out, _ = run("jobs")
    assert code == 0
    assert "song 1.mp3" in out
    assert "alice" in out


def test_without_a_service_tracks_are_analysed_by_the_command(run, tracks, data_dir):
    assert run("analyse", tracks[0])[:2] == (0, "Analysed 1 tracks.\n")
    assert queued(run) == []

    async def titles(accounts):
        rows = await accounts._database.read("SELECT title, metadata FROM tracks ORDER BY track_id")
        return [tuple(row) for row in rows]

    found = asked(data_dir, titles)
    assert found == [("Sea Song", "available"), ("song 2", "pending")]


def test_analysing_nothing_and_what_is_not_there(run, tracks):
    assert run("analyse")[0] == 2
    assert run("analyse", "--all", tracks[0])[0] == 2
    code, _, err = run("analyse", tracks[0], "nothing")
    assert code == 1
    assert "no such track" in err
    assert queued(run) == [], "all of them or none"
    code, out, err = run("jobs")
    assert (code, out, err) == (0, "", "None.\n")


def test_a_backup_says_what_it_did_and_what_was_wrong(run, tracks, data_dir, tmp_path):
    target = tmp_path / "backup"
    code, out, err = run("backup", str(target))  # the files are not what their rows say
    assert (code, out) == (1, f"{target}: 2 files; 0 copied now (0.0 MB), 0 removed.\n")
    assert err.count("Error: blob ") == 2
    assert run("fsck", "--quick")[:2] == (0, "")
    code, out, err = run("fsck")
    assert (code, out.count("has the SHA-256"), err) == (1, 2, f"{data_dir}: 2 faults.\n")
    code, out, _ = run("fsck", str(target))
    assert (code, out.count("has no file")) == (1, 2)


def test_a_good_backup_is_exit_0(run, alice, tmp_path):
    target = tmp_path / "backup"
    assert run("backup", str(target))[:2] == (0, f"{target}: 0 files; 0 copied now (0.0 MB), 0 removed.\n")
    assert json.loads(run("backup", str(target), "--json")[1]) == {
        "blobs": 0,
        "copied": 0,
        "copied_bytes": 0,
        "removed": 0,
        "faults": [],
    }
    assert run("fsck", str(target)) == (0, "", f"{target}: no faults.\n")


def test_a_backup_needs_a_place_of_its_own(run, alice, data_dir, tmp_path):
    target = tmp_path / "backup"
    assert "lie in each other" in run("backup", str(data_dir / "backup"))[2]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    assert "neither empty nor a backup" in run("backup", str(tmp_path / "other"))[2]
    assert run("backup", str(target))[0] == 0
    with locked(Settings(data_dir=target)):
        code, _, err = run("backup", str(target))
    assert (code, err) == (1, f"Error: {target} is in use: by another backup, or a service.\n")


def test_there_is_nothing_to_back_up_or_to_check(run, data_dir, tmp_path):
    code, _, err = run("backup", str(tmp_path / "backup"))
    assert (code, err) == (1, f"Error: There is no catalogue in {data_dir}.\n")
    assert not (tmp_path / "backup").exists()
    code, _, err = run("fsck")
    assert code == 1
    assert "has schema None" in err
