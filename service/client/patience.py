"""When to try again: later and later, as the service asks, and not for ever without progress."""

from collections.abc import Callable
from random import SystemRandom

from service.client.problems import Problem, Trouble

FIRST_S = 0.25
MOST_S = 30.0

_chance = SystemRandom()


class Patience:
    """That of one file: `retries` failures in a row without progress, and it is over.

    `moves` counts whatever goes on in the whole run: what moves for nobody is not going to move for the next file.
    """

    def __init__(self, retries: int, moves: Callable[[], int]) -> None:
        self._retries = retries
        self._moves = moves
        self._failures = 0
        self._moves_then = 0
        self._best = -1

    def note(self, offset: int) -> None:
        """Where the upload is; further than ever is progress."""
        if offset > self._best:
            self._best = offset
            self._failures = 0

    def start_over(self) -> None:
        """The upload begins anew, and so does what counts as progress."""
        self._best = -1

    def wait_s(self, trouble: Trouble) -> float:
        """How long to wait before the next try, in seconds.

        Raises:
            Problem: there is no next try.
        """
        if self._failures == 0:
            self._moves_then = self._moves()
        if self._failures >= self._retries:
            raise Problem("given-up", trouble.detail, is_for_all=self._moves() == self._moves_then)
        wait_s = min(MOST_S, FIRST_S * 2.0**self._failures)
        self._failures += 1
        # Chance, so that the clients of a service that comes back do not all come at once.
        if trouble.retry_after is not None:
            return trouble.retry_after + _chance.uniform(0, FIRST_S)
        return _chance.uniform(wait_s / 2, wait_s)
