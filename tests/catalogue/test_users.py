import pytest

from service.catalogue import sessions, users
from service.catalogue.sessions import Session
from service.errors import Conflict, NotFound


def add(database, name="alice", user_id="u1", **more):
    return database.write(lambda connection: users.insert(connection, user_id, name, "hash", now=5, **more))


async def test_a_user_is_found_by_name_in_any_case(database):
    await add(database, quota_bytes=7)
    user = await users.get_by_name(database, "ALICE")
    assert user == await users.get(database, "u1")
    assert (user.name, user.is_admin, user.quota_bytes, user.used_bytes, user.created_at) == ("alice", False, 7, 0, 5)
    assert await users.find_for_login(database, "Alice") == (user, "hash")


async def test_a_name_is_taken_in_any_case(database):
    await add(database)
    with pytest.raises(Conflict):
        await add(database, "Alice", "u2")
    assert [each.name for each in await users.all_users(database)] == ["alice"]


async def test_nobody_is_not_found(database):
    assert await users.is_empty(database)
    assert await users.find_for_login(database, "nobody") is None
    with pytest.raises(NotFound):
        await users.get(database, "u1")
    with pytest.raises(NotFound):
        await users.get_by_name(database, "nobody")


async def test_the_first_user_is_the_first_only(database):
    def first(connection):
        return users.insert_first(connection, "u1", "admin", "hash", now=5)

    assert await database.write(first)
    assert not await database.write(first)
    assert (await users.get(database, "u1")).is_admin


async def test_disabling_twice_keeps_the_first_time(database):
    await add(database)
    for now in (10, 20):
        await database.write(lambda connection, now=now: users.disable(connection, "u1", now=now))
    assert (await users.get(database, "u1")).disabled_at == 10
    await database.write(lambda connection: users.enable(connection, "u1", now=30))
    assert (await users.get(database, "u1")).disabled_at is None


async def test_a_verified_hash_holds_until_it_changes_or_the_user_is_disabled(database):
    await add(database)

    def holds(connection):
        return users.has_password_hash(connection, "u1", "hash")

    assert await database.write(holds)
    await database.write(lambda connection: users.disable(connection, "u1", now=10))
    assert not await database.write(holds)
    await database.write(lambda connection: users.enable(connection, "u1", now=10))
    await database.write(lambda connection: users.set_password_hash(connection, "u1", "other", now=10))
    assert not await database.write(holds)


async def test_of_too_many_sessions_the_least_used_end(database, monkeypatch):
    monkeypatch.setattr(sessions, "MAX_PER_USER", 3)
    await add(database)
    await add(database, "bob", "u2")
    for number, user_id in enumerate(["u2", "u1", "u1", "u1", "u1"]):
        row = Session(f"s{number}", user_id, "", "", number, 100 - number, 1000)
        await database.write(lambda c, row=row: sessions.insert(c, row, row.session_id.encode()))
    found = await sessions.all_of_user(database, "u1", now=200, idle=1000)
    assert [each.session_id for each in found] == ["s3", "s2", "s1"]
    assert len(await sessions.all_of_user(database, "u2", now=200, idle=1000)) == 1


async def test_overdue_sessions_are_removed(database):
    await add(database)
    for name, seen_at, expires_at in [("alive", 900, 2000), ("idle", 400, 2000), ("over", 900, 1000)]:
        row = Session(name, "u1", "", "", 0, seen_at, expires_at)
        await database.write(lambda c, row=row: sessions.insert(c, row, row.session_id.encode()))
    assert await database.write(lambda connection: sessions.end_overdue(connection, now=1000, idle=500)) == 2
    assert [row[0] for row in await database.read("SELECT session_id FROM sessions")] == ["alive"]
