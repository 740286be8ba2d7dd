"""What goes wrong for a client: what waiting may cure, and what it will not."""


class Trouble(Exception):
    """Something passing: the network, a busy or restarting service. ``retry_after`` is its wish in seconds."""

    def __init__(self, detail: str, *, retry_after: float | None = None, is_queue: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after = retry_after
        self.is_queue = is_queue
        """The service has as many uploads at once as it takes."""


class Problem(Exception):
    """Something final, in the words of the service if it said it; ``code`` as in its ``/problems/{code}``.

    With `is_for_all` no other file would fare better.
    """

    def __init__(self, code: str, detail: str, *, is_for_all: bool = False) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.is_for_all = is_for_all


class Gone(Exception):
    """The service does not have the upload any more; `reason` is there if it refused the content."""

    def __init__(self, reason: Problem | None = None) -> None:
        super().__init__("The service does not have the upload any more.")
        self.reason = reason
