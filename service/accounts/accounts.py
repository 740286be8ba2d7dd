"""Who may come in: logins, sessions, API tokens, passwords. One object, made by the app."""

import hmac
import logging
import secrets
import sqlite3
from dataclasses import dataclass

from ulid import ULID

from service.accounts.attempts import Attempts
from service.accounts.identities import Identities
from service.accounts.passwords import Passwords, check, find_fault
from service.accounts.permissions import SCOPES, Identity
from service.accounts.sessions import digest, is_secret, new_secret
from service.accounts.tokens import new_token, parse
from service.accounts.touches import Touches
from service.catalogue import clock, sessions, tokens, users
from service.catalogue.database import Database
from service.catalogue.sessions import Session
from service.catalogue.tokens import Token
from service.catalogue.users import User
from service.errors import Forbidden, Invalid, NotFound, Unauthenticated
from service.settings import Settings

logger = logging.getLogger(__name__)

TOUCH_EVERY = 60 * clock.SECOND
MAX_USER_AGENT = 256
ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A new session. ``secret`` goes to the client, as a cookie or a Bearer token, and is stored nowhere."""

    user: User
    session: Session
    secret: str


class Accounts:
    """All that is asked and changed about users and their credentials. Close it before the database."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._passwords = Passwords(memory_kib=settings.argon2_memory_kib)
        self._attempts = Attempts(settings.login_attempts_per_minute)
        self._identities = Identities()
        self._touches = Touches(database)
        self.session_idle = int(settings.session_idle_days * clock.DAY)
        self.session_max = int(settings.session_max_days * clock.DAY)

    async def identity_of_token(self, token: str) -> Identity | None:
        """Who sends this Bearer token, an API token or the secret of a session; None for nobody."""
        if is_secret(token):
            return await self.identity_of_session(token)
        token_sha256 = digest(token)
        if (identity := self._identities.find(token_sha256)) is not None:
            return identity
        token_id = parse(token)
        if token_id is None:
            return None
        generation, now = self._identities.generation, clock.now()
        row = await tokens.find_with_user(self._database, token_id, now=now)
        if row is None or not hmac.compare_digest(row["secret_sha256"], token_sha256):
            return None
        identity = _identity(row, "token", token_id, frozenset(row["scopes"].split()))
        ends_at = now + clock.DAY if row["expires_at"] is None else row["expires_at"]
        self._met(token_sha256, identity, generation, now, ends_at, row["last_used_at"] or 0)
        return identity

    async def identity_of_session(self, secret: str) -> Identity | None:
        """Whose session this is; None for nobody's."""
        if not is_secret(secret):
            return None
        secret_sha256 = digest(secret)
        if (identity := self._identities.find(secret_sha256)) is not None:
            return identity
        generation, now = self._identities.generation, clock.now()
        row = await sessions.find_with_user(self._database, secret_sha256, now=now, idle=self.session_idle)
        if row is None:
            return None
        identity = _identity(row, "session", row["session_id"], frozenset(SCOPES))
        self._met(secret_sha256, identity, generation, now, row["expires_at"], row["last_seen_at"])
        return identity

    def _met(self, key: bytes, identity: Identity, generation: int, now: int, ends_at: int, last_at: int) -> None:
        lifetime_s = (ends_at - now) / clock.SECOND
        self._identities.remember(key, identity, generation=generation, lifetime_s=lifetime_s)
        if now - last_at >= TOUCH_EVERY:
            self._touches.note(identity, now)

    async def log_in(self, name: str, password: str, *, address: str, user_agent: str) -> LoggedIn:
        """Begin a session. A wrong name, a wrong password and a disabled user look the same and take the same time.

        Raises:
            Unauthenticated: no such user, or another password.
            RateLimited: too many failures of this name from this address, or of the address.
            Overloaded: too many logins wait for their hash.
        """
        take_back = self._attempts.begin(name, address)
        found = await users.find_for_login(self._database, name)
        user, password_hash = found or (None, None)
        is_right = await self._passwords.verify(password_hash, password)
        if user is None or password_hash is None or not is_right or user.disabled_at is not None:
            raise Unauthenticated("The name or the password is wrong.")
        take_back()
        new_hash = await self._passwords.hash(password) if self._passwords.is_outdated(password_hash) else None
        logged_in = self._new_session(user, address, user_agent)
        await self._database.write(lambda connection: _log_in(connection, logged_in, password_hash, new_hash))
        logger.info("user %s logged in", user.user_id)
        return logged_in

    def _new_session(self, user: User, address: str, user_agent: str) -> LoggedIn:
        now = clock.now()
        session = Session(
            session_id=str(ULID()),
            user_id=user.user_id,
            address=address,
            user_agent="".join(filter(str.isprintable, user_agent))[:MAX_USER_AGENT],
            created_at=now,
            last_seen_at=now,
            expires_at=now + self.session_max,
        )
        return LoggedIn(user, session, new_secret())

    async def change_password(
        self, identity: Identity, current: str, new: str, *, address: str, user_agent: str
    ) -> LoggedIn:
        """Replace the password of who asks from within a session. Every session ends; a new one takes this one's place.

        Raises:
            Forbidden: an API token asks.
            Invalid: the current password is another one, or the new one will not do.
            RateLimited, Overloaded: as `log_in`.
        """
        if identity.credential != "session":
            raise Forbidden("A password is changed within a session, not with an API token.")
        check(new, min_length=self._settings.min_password_length, name=identity.name)
        take_back = self._attempts.begin(identity.name, address)
        found = await users.find_for_login(self._database, identity.name)
        user, password_hash = found or (None, None)
        is_right = await self._passwords.verify(password_hash, current)
        if user is None or password_hash is None or not is_right:
            raise Invalid(errors=[{"pointer": "/current_password", "detail": "Is not your password."}])
        take_back()
        new_hash = await self._passwords.hash(new)
        logged_in = self._new_session(user, address, user_agent)
        await self._database.write(lambda connection: _change_password(connection, logged_in, password_hash, new_hash))
        self._identities.drop(user_id=user.user_id)
        logger.info("user %s changed the password", user.user_id)
        return logged_in

    async def end_session(self, user_id: str, session_id: str) -> None:
        """End one session of the user, on the server, at once.

        Raises:
            NotFound: there is none, or it is another user's.
        """
        done = await self._database.write(lambda connection: sessions.end(connection, user_id, session_id))
        self._identities.drop(credential_id=session_id)
        if not done:
            raise NotFound("There is no such session.")

    async def end_other_sessions(self, identity: Identity) -> int:
        """End every session of the user but the one that asks; how many."""
        but = identity.credential_id if identity.credential == "session" else ""
        count = await self._database.write(lambda connection: sessions.end_all(connection, identity.user_id, but=but))
        self._identities.drop(user_id=identity.user_id)
        return count

    async def create_token(
        self, identity: Identity, name: str, scopes: tuple[str, ...], expires_at: int | None
    ) -> tuple[Token, str]:
        """A new API token of who asks, and its text, which is stored nowhere.

        A token cannot make one that may more or lives longer than itself.

        Raises:
            Invalid: there is no such scope.
            InsufficientScope, Forbidden: who asks lacks one of the scopes.
            Conflict: the user has as many tokens as one may have.
        """
        if unknown := set(scopes) - set(SCOPES):
            raise Invalid(
                errors=[{"pointer": "/scopes", "detail": f"Unknown: {', '.join(sorted(unknown))}."}], allowed=SCOPES
            )
        for scope in scopes:
            identity.require(scope)
        maker = identity.credential_id if identity.credential == "token" else None
        token, text = await self._database.write(
            lambda connection: make_token(connection, identity.user_id, name, scopes, expires_at, maker=maker)
        )
        logger.info("user %s made token %s", identity.user_id, token.token_id)
        return token, text

    async def revoke_token(self, user_id: str, token_id: str) -> None:
        """End one API token of the user at once.

        Raises:
            NotFound: there is none, or it is another user's.
        """
        done = await self._database.write(lambda connection: tokens.delete(connection, token_id, user_id=user_id))
        self._identities.drop(credential_id=token_id)
        if not done:
            raise NotFound("There is no such token.")
        logger.info("user %s revoked token %s", user_id, token_id)

    async def ensure_admin(self, password: str | None) -> str | None:
        """Make the user ``admin`` when there are no users yet.

        Without a `password` a random one is made and returned, to be shown once; else, and when there are users, None.
        A password the operator has set is taken even when a user could not choose it, with a warning.
        """
        if not await users.is_empty(self._database):
            return None
        given = password or None
        if given and (fault := find_fault(given, min_length=self._settings.min_password_length, name=ADMIN)):
            logger.warning("YARRR_ADMIN_PASSWORD is a poor password: %s", fault)
        chosen = given or secrets.token_urlsafe(18)
        password_hash, user_id, now = await self._passwords.hash(chosen), str(ULID()), clock.now()
        is_new = await self._database.write(
            lambda connection: users.insert_first(connection, user_id, ADMIN, password_hash, now=now)
        )
        return chosen if is_new and not given else None

    async def close(self) -> None:
        """Write what is pending, end the threads."""
        await self._touches.close()
        await self._passwords.close()


def make_token(
    connection: sqlite3.Connection,
    user_id: str,
    name: str,
    scopes: tuple[str, ...],
    expires_at: int | None,
    *,
    maker: str | None = None,
) -> tuple[Token, str]:
    """Store a new token and return it with its text; it ends when the token `maker` does, if not before.

    Raises:
        Conflict: the user has as many tokens as one may have.
        NotFound: the maker has just been revoked.
    """
    if maker is not None and (end := tokens.expiry(connection, maker)) is not None:
        expires_at = end if expires_at is None else min(expires_at, end)
    token_id, text = new_token()
    while tokens.is_taken(connection, token_id):
        token_id, text = new_token()
    token = Token(token_id, user_id, name, scopes, clock.now(), expires_at)
    tokens.insert(connection, token, digest(text))
    return token, text


def _identity(row: sqlite3.Row, credential: str, credential_id: str, scopes: frozenset[str]) -> Identity:
    return Identity(row["user_id"], row["name"], bool(row["is_admin"]), scopes, credential, credential_id)


def _log_in(connection: sqlite3.Connection, logged_in: LoggedIn, verified_hash: str, new_hash: str | None) -> None:
    user_id, now = logged_in.user.user_id, logged_in.session.created_at
    if not users.has_password_hash(connection, user_id, verified_hash):
        raise Unauthenticated("The name or the password is wrong.")  # changed, or disabled, while it was verified
    if new_hash is not None:
        users.set_password_hash(connection, user_id, new_hash, now=now)
    sessions.insert(connection, logged_in.session, digest(logged_in.secret))


def _change_password(connection: sqlite3.Connection, logged_in: LoggedIn, verified_hash: str, new_hash: str) -> None:
    user_id = logged_in.user.user_id
    if not users.has_password_hash(connection, user_id, verified_hash):
        raise Unauthenticated("The password was changed in the meantime.")
    sessions.end_all(connection, user_id)
    users.set_password_hash(connection, user_id, new_hash, now=logged_in.session.created_at)
    sessions.insert(connection, logged_in.session, digest(logged_in.secret))
