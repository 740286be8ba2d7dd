import asyncio
import logging

import pytest

from service.accounts import identities as identities_module
from service.catalogue import clock, sessions, tokens, users
from service.errors import Conflict, Forbidden, InsufficientScope, Invalid, NotFound, RateLimited, Unauthenticated

OTHER = "another horse battery"


def forget(accounts):
    """Let the next question go to the catalogue."""
    accounts._identities._entries.clear()


async def make_token(accounts, logged_in, scopes=("read",), expires_at=None):
    identity = await accounts.identity_of_session(logged_in.secret)
    return await accounts.create_token(identity, "test", scopes, expires_at)


async def test_a_first_start_makes_a_random_password_once(make_accounts, database):
    accounts = make_accounts()
    password = await accounts.ensure_admin(None)
    assert len(password) >= 20
    logged_in = await accounts.log_in("admin", password, address="", user_agent="")
    assert logged_in.user.is_admin
    assert await accounts.ensure_admin(None) is None
    assert len(await users.all_users(database)) == 1


async def test_a_first_start_takes_the_password_of_the_settings(make_accounts, caplog):
    accounts = make_accounts()
    assert await accounts.ensure_admin("correct horse battery") is None
    assert not caplog.records
    await accounts.log_in("admin", "correct horse battery", address="", user_agent="")


async def test_a_poor_password_of_the_settings_is_taken_with_a_warning(make_accounts, caplog):
    accounts = make_accounts()
    with caplog.at_level(logging.WARNING):
        assert await accounts.ensure_admin("short") is None
    assert "YARRR_ADMIN_PASSWORD" in caplog.text
    assert "short" not in caplog.text.replace("Must have at least 12 characters", "")
    await accounts.log_in("admin", "short", address="", user_agent="")


async def test_later_starts_leave_the_password_alone(accounts):
    await accounts.ensure_admin(OTHER)
    with pytest.raises(Unauthenticated):
        await accounts.log_in("admin", OTHER, address="", user_agent="")


async def test_a_session_has_all_scopes_and_its_own_id(accounts, log_in):
    logged_in = await log_in()
    identity = await accounts.identity_of_session(logged_in.secret)
    assert identity == await accounts.identity_of_token(logged_in.secret)
    assert (identity.name, identity.credential, identity.credential_id) == (
        "admin",
        "session",
        logged_in.session.session_id,
    )
    assert identity.scopes == {"upload", "read", "delete", "admin"}


async def test_no_secret_is_in_the_database(accounts, log_in, tmp_path, database):
    logged_in = await log_in()
    _, text = await make_token(accounts, logged_in)
    await database.close()
    stored = (tmp_path / "catalogue.db").read_bytes()
    for secret in (logged_in.secret, text, text[13:], "correct horse battery"):
        assert secret.encode() not in stored


async def test_every_login_has_a_new_secret(log_in):
    assert (await log_in()).secret != (await log_in()).secret


async def test_names_have_no_case(log_in):
    assert (await log_in(name="ADMIN")).user.name == "admin"


async def test_wrong_name_and_wrong_password_are_the_same_error(log_in):
    errors = []
    for given in ({"name": "nobody"}, {"password": OTHER}):
        with pytest.raises(Unauthenticated) as caught:
            await log_in(**given)
        errors.append((caught.value.detail, caught.value.facts))
    assert errors[0] == errors[1]


async def test_a_limited_name_costs_no_hash_and_the_owner_gets_in_elsewhere(make_accounts, change_settings, settings):
    accounts = make_accounts(change_settings(login_attempts_per_minute=3))
    await accounts.ensure_admin(settings.admin_password)
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await accounts.log_in("admin", OTHER, address="10.0.0.1", user_agent="")
    await accounts._passwords.close()  # from here on a hash would be an error
    with pytest.raises(RateLimited):
        await accounts.log_in("admin", settings.admin_password, address="10.0.0.1", user_agent="")
    with pytest.raises(RuntimeError):
        await accounts.log_in("admin", settings.admin_password, address="10.0.0.2", user_agent="")


async def test_parallel_guesses_do_not_slip_through(make_accounts, change_settings, settings):
    accounts = make_accounts(change_settings(login_attempts_per_minute=5))
    await accounts.ensure_admin(settings.admin_password)
    results = await asyncio.gather(
        *(accounts.log_in("admin", f"guess {n}", address="a", user_agent="") for n in range(30)), return_exceptions=True
    )
    assert [type(each) for each in results].count(Unauthenticated) == 5
    assert [type(each) for each in results].count(RateLimited) == 25


async def test_a_login_brings_an_old_hash_up_to_date(make_accounts, change_settings, database, settings):
    await make_accounts().ensure_admin(settings.admin_password)
    accounts = make_accounts(change_settings(argon2_memory_kib=9000))
    await accounts.log_in("admin", settings.admin_password, address="", user_agent="")
    _, encoded = await users.find_for_login(database, "admin")
    assert "m=9000," in encoded
    await accounts.log_in("admin", settings.admin_password, address="", user_agent="")


async def test_a_disabled_user_is_nobody(accounts, log_in, database):
    logged_in = await log_in()
    _, text = await make_token(accounts, logged_in)
    await database.write(lambda connection: users.disable(connection, logged_in.user.user_id, now=clock.now()))
    accounts._identities.drop(user_id=logged_in.user.user_id)
    assert await accounts.identity_of_session(logged_in.secret) is None
    assert await accounts.identity_of_token(text) is None
    with pytest.raises(Unauthenticated):
        await log_in()
    await database.write(lambda connection: users.enable(connection, logged_in.user.user_id, now=clock.now()))
    assert await accounts.identity_of_session(logged_in.secret) is None  # that session is over
    assert await accounts.identity_of_token(text) is not None


async def test_the_right_password_of_a_disabled_user_is_a_failed_try(
    make_accounts, change_settings, settings, database
):
    accounts = make_accounts(change_settings(login_attempts_per_minute=2))
    await accounts.ensure_admin(settings.admin_password)
    user = await users.get_by_name(database, "admin")
    await database.write(lambda connection: users.disable(connection, user.user_id, now=clock.now()))
    for error in (Unauthenticated, Unauthenticated, RateLimited):
        with pytest.raises(error):
            await accounts.log_in("admin", settings.admin_password, address="", user_agent="")


@pytest.mark.parametrize("change", ["disable", "password"])
async def test_a_login_that_overlaps_a_change_does_not_get_in(accounts, log_in, database, change, monkeypatch):
    verify = accounts._passwords.verify

    async def verify_then_change(encoded, password):
        result = await verify(encoded, password)
        user = await users.get_by_name(database, "admin")
        if change == "disable":
            await database.write(lambda connection: users.disable(connection, user.user_id, now=clock.now()))
        else:
            await database.write(lambda c: users.set_password_hash(c, user.user_id, "$argon2id$", now=clock.now()))
        return result

    monkeypatch.setattr(accounts._passwords, "verify", verify_then_change)
    with pytest.raises(Unauthenticated):
        await log_in()
    assert await database.read("SELECT * FROM sessions") == []


async def test_a_change_by_another_process_is_seen_within_the_time_of_the_cache(
    accounts, log_in, database, monkeypatch
):
    monkeypatch.setattr(identities_module, "FRESH_S", 0.2)
    logged_in = await log_in()
    assert await accounts.identity_of_session(logged_in.secret) is not None
    await database.write(lambda connection: sessions.end_all(connection, logged_in.user.user_id))
    assert await accounts.identity_of_session(logged_in.secret) is not None
    await asyncio.sleep(0.25)
    assert await accounts.identity_of_session(logged_in.secret) is None


async def test_a_session_ends_when_unused_and_at_last_in_any_case(make_accounts, change_settings, time_travel):
    accounts = make_accounts(change_settings(session_idle_days=2, session_max_days=5))
    await accounts.ensure_admin("correct horse battery")
    used, unused = [
        (await accounts.log_in("admin", "correct horse battery", address="", user_agent="")).secret for _ in range(2)
    ]

    async def is_alive(secret):
        forget(accounts)
        identity = await accounts.identity_of_session(secret)
        await accounts._touches.close()
        return identity is not None

    time_travel(1.5)
    assert await is_alive(used)
    time_travel(3)
    assert await is_alive(used)
    assert not await is_alive(unused)
    time_travel(4.9)
    assert await is_alive(used)
    time_travel(5.1)
    assert not await is_alive(used)


async def test_last_seen_is_written_at_most_once_a_minute(accounts, log_in, database, time_travel):
    logged_in = await log_in()

    async def seen_after(seconds):
        time_travel(seconds / 86_400)
        forget(accounts)
        await accounts.identity_of_session(logged_in.secret)
        await accounts._touches.close()
        return (await database.find("SELECT last_seen_at FROM sessions"))[0] - logged_in.session.created_at

    assert await seen_after(50) == 0
    first = await seen_after(70)
    assert 69 * clock.SECOND < first < 80 * clock.SECOND
    assert await seen_after(100) == first
    assert await seen_after(140) > first


async def test_a_password_change_ends_all_sessions_and_begins_one(accounts, log_in):
    here, there = await log_in(), await log_in()
    identity = await accounts.identity_of_session(here.secret)
    assert await accounts.identity_of_session(there.secret) is not None
    changed = await accounts.change_password(
        identity, "correct horse battery", OTHER, address="10.0.0.1", user_agent="test"
    )
    assert await accounts.identity_of_session(here.secret) is None
    assert await accounts.identity_of_session(there.secret) is None
    assert await accounts.identity_of_session(changed.secret) is not None
    with pytest.raises(Unauthenticated):
        await log_in()
    await log_in(password=OTHER)


async def test_a_password_change_needs_the_password_and_a_session(accounts, log_in):
    logged_in = await log_in()
    identity = await accounts.identity_of_session(logged_in.secret)
    _, text = await make_token(accounts, logged_in, ("admin",))
    for who, current, new, error in [
        (identity, "wrong horse battery", OTHER, Invalid),
        (identity, "correct horse battery", "short", Invalid),
        (await accounts.identity_of_token(text), "correct horse battery", OTHER, Forbidden),
    ]:
        with pytest.raises(error):
            await accounts.change_password(who, current, new, address="", user_agent="")
    assert await accounts.identity_of_session(logged_in.secret) is not None
    await log_in()


async def test_an_ended_session_is_over_at_once(accounts, log_in):
    first, second = await log_in(), await log_in()
    for each in (first, second):
        assert await accounts.identity_of_session(each.secret) is not None
    await accounts.end_session(first.user.user_id, first.session.session_id)
    assert await accounts.identity_of_session(first.secret) is None
    assert await accounts.identity_of_session(second.secret) is not None
    with pytest.raises(NotFound):
        await accounts.end_session(first.user.user_id, first.session.session_id)
    with pytest.raises(NotFound):
        await accounts.end_session("somebody else", second.session.session_id)
    assert await accounts.identity_of_session(second.secret) is not None


async def test_ending_the_others_leaves_the_own_session(accounts, log_in):
    logged_in = [await log_in() for _ in range(3)]
    identities = [await accounts.identity_of_session(each.secret) for each in logged_in]
    assert await accounts.end_other_sessions(identities[1]) == 2
    found = [await accounts.identity_of_session(each.secret) for each in logged_in]
    assert found == [None, identities[1], None]


async def test_a_token_is_its_owner_with_its_scopes(accounts, log_in):
    token, text = await make_token(accounts, await log_in(), ("upload", "read"))
    identity = await accounts.identity_of_token(text)
    assert (identity.name, identity.credential, identity.credential_id) == ("admin", "token", token.token_id)
    assert identity.scopes == {"upload", "read"}


async def test_a_token_is_no_session(accounts, log_in):
    _, text = await make_token(accounts, await log_in())
    assert await accounts.identity_of_token(text) is not None
    assert await accounts.identity_of_session(text) is None


async def test_another_secret_with_a_known_id_is_nobody(accounts, log_in):
    from service.accounts.tokens import checksum

    _, text = await make_token(accounts, await log_in())
    forged = text[:13] + "A" * 43
    assert await accounts.identity_of_token(forged + checksum(forged)) is None


async def test_a_revoked_token_is_nobody_at_once(accounts, log_in):
    logged_in = await log_in()
    token, text = await make_token(accounts, logged_in)
    assert await accounts.identity_of_token(text) is not None
    with pytest.raises(NotFound):
        await accounts.revoke_token("somebody else", token.token_id)
    assert await accounts.identity_of_token(text) is not None
    await accounts.revoke_token(logged_in.user.user_id, token.token_id)
    assert await accounts.identity_of_token(text) is None


async def test_a_token_expires(accounts, log_in, time_travel):
    _, text = await make_token(accounts, await log_in(), expires_at=clock.now() + clock.DAY)
    assert await accounts.identity_of_token(text) is not None
    time_travel(1.01)
    forget(accounts)
    assert await accounts.identity_of_token(text) is None


async def test_the_use_of_a_token_is_noted_coarsely(accounts, log_in, database):
    token, text = await make_token(accounts, await log_in())
    await accounts.identity_of_token(text)
    await accounts._touches.close()
    first = (await tokens.get_of_user(database, token.token_id, token.user_id)).last_used_at
    assert first is not None
    forget(accounts)
    await accounts.identity_of_token(text)
    await accounts._touches.close()
    assert (await tokens.get_of_user(database, token.token_id, token.user_id)).last_used_at == first


async def test_a_token_makes_none_that_may_more_or_lives_longer(accounts, log_in):
    end = clock.now() + clock.DAY
    _, text = await make_token(accounts, await log_in(), ("read", "admin"), end)
    identity = await accounts.identity_of_token(text)
    with pytest.raises(InsufficientScope):
        await accounts.create_token(identity, "x", ("read", "upload"), None)
    child, _ = await accounts.create_token(identity, "x", ("read",), None)
    assert child.expires_at == end
    child, _ = await accounts.create_token(identity, "x", ("read",), end + 1)
    assert child.expires_at == end
    child, _ = await accounts.create_token(identity, "x", ("read",), end - 1)
    assert child.expires_at == end - 1


async def test_tokens_have_known_scopes_and_a_number(accounts, log_in, monkeypatch):
    logged_in = await log_in()
    with pytest.raises(Invalid):
        await make_token(accounts, logged_in, ("read", "everything"))
    monkeypatch.setattr(tokens, "MAX_PER_USER", 2)
    await make_token(accounts, logged_in)
    await make_token(accounts, logged_in)
    with pytest.raises(Conflict):
        await make_token(accounts, logged_in)


async def test_the_user_agent_is_cut_and_cleaned(log_in):
    logged_in = await log_in(user_agent="evil\n\x1b[31m\udcff" + "x" * 1000)
    assert logged_in.session.user_agent == ("evil[31m" + "x" * 1000)[:256]
