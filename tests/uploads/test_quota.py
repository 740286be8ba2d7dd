"""Limits that are known before the database is asked."""

import pytest

from service.errors import Overloaded, StorageFull, TooManyUploads
from service.storage.spool import Spool
from service.uploads.quota import FreeSpace, Running


def test_a_user_may_run_so_many_uploads():
    running = Running(per_user=2, overall=10)
    with running.slot("anne"), running.slot("anne"):
        with pytest.raises(TooManyUploads) as caught, running.slot("anne"):
            pass
        assert caught.value.facts["limit"] == 2
        assert caught.value.facts["retry_after"] > 0
        with running.slot("bonny"):
            assert running.count == 3
    assert running.count == 0
    running.check("anne")


def test_all_users_together_may_run_so_many():
    running = Running(per_user=2, overall=3)
    with running.slot("anne"), running.slot("bonny"), running.slot("bonny"):
        with pytest.raises(Overloaded) as caught, running.slot("calico"):
            pass
        assert caught.value.facts["retry_after"] > 0
    running.check("calico")


def test_a_slot_is_free_again_after_an_error():
    running = Running(per_user=1, overall=1)
    with pytest.raises(ValueError), running.slot("anne"):
        raise ValueError
    running.check("anne")
    assert running._of_user == {}, "users who have gone must not fill the memory"


def test_the_reserve_is_kept_to_the_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(Spool, "free_bytes", lambda self: 1000)
    space = FreeSpace(Spool(tmp_path / "spool"), 400)
    space.check(600)
    with pytest.raises(StorageFull):
        space.check(601)


def test_the_disk_is_asked_again_soon(tmp_path, monkeypatch):
    free = [1000]
    monkeypatch.setattr(Spool, "free_bytes", lambda self: free[0])
    space = FreeSpace(Spool(tmp_path / "spool"), 400)
    space.check()
    free[0] = 0
    space.check()
    space._asked_at -= 1.0
    with pytest.raises(StorageFull):
        space.check()


def test_what_was_just_admitted_counts_as_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(Spool, "free_bytes", lambda self: 1000)
    space = FreeSpace(Spool(tmp_path / "spool"), 400)
    space.check(500)
    space.note(500)
    space.check(100)
    with pytest.raises(StorageFull):
        space.check(101)
