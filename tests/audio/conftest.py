"""The inspector as a function of bytes."""

from collections.abc import Callable

import pytest

from service.audio.inspector import Inspector, Verdict


@pytest.fixture(scope="session")
def inspect() -> Callable[..., Verdict]:
    def inspect(content: bytes, step: int = 256 * 1024) -> Verdict:
        inspector = Inspector()
        for at in range(0, len(content), step):
            inspector.feed(content[at : at + step])
        return inspector.finish()

    return inspect
