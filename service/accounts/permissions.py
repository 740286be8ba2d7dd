"""What an identity may do."""

from dataclasses import dataclass

from service.errors import Forbidden, InsufficientScope

SCOPES = ("upload", "read", "delete", "admin")
"""Scopes of an API token. A session has all of them; ``admin`` counts only for administrators."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, and by which credential: a browser's session or an API token."""

    user_id: str
    name: str
    is_admin: bool
    scopes: frozenset[str]
    credential: str  # "session" or "token"
    credential_id: str

    def require(self, scope: str) -> None:
        """Raise unless this identity has `scope`.

        Raises:
            InsufficientScope: the token was made without it.
            Forbidden: ``admin`` is asked of somebody who is none.
        """
        if scope not in self.scopes:
            raise InsufficientScope(f"This needs a token with the scope {scope!r}.", required_scope=scope)
        if scope == "admin" and not self.is_admin:
            raise Forbidden("Only administrators may do this.")
