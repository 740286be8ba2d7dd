"""A migrated database and the accounts on it, below the app."""

import pytest

from service.accounts.accounts import Accounts
from service.catalogue import clock


@pytest.fixture
async def make_accounts(database, settings):
    """A function that opens the accounts with given settings; they are closed at the end."""
    opened = []

    def make(some_settings=settings):
        opened.append(Accounts(database, some_settings))
        return opened[-1]

    yield make
    for each in opened:
        await each.close()


@pytest.fixture
async def accounts(make_accounts, settings):
    made = make_accounts()
    await made.ensure_admin(settings.admin_password)
    return made


@pytest.fixture
def log_in(accounts, settings):
    """A function that logs the administrator in."""
    return lambda **given: accounts.log_in(
        **{"name": "admin", "password": settings.admin_password, "address": "10.0.0.1", "user_agent": "test", **given}
    )


@pytest.fixture
def time_travel(monkeypatch):
    """A function that moves the catalogue's clock ahead by so many days."""
    real = clock.now

    def travel(days: float) -> None:
        monkeypatch.setattr(clock, "now", lambda: real() + int(days * clock.DAY))

    return travel
