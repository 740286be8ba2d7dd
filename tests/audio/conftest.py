"""Files of the corpus, made once for all tests and workers of a run."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from service.audio.inspector import Inspector, Verdict
from tests import corpus


@pytest.fixture(scope="session")
def corpus_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "corpus"
    directory.mkdir(exist_ok=True)
    return directory


@pytest.fixture(scope="session")
def path_of(corpus_dir: Path) -> Callable[[str], Path]:
    return lambda name: corpus.make(corpus_dir, name)


@pytest.fixture(scope="session")
def content_of(path_of: Callable[[str], Path]) -> Callable[[str], bytes]:
    return lambda name: path_of(name).read_bytes()


@pytest.fixture(scope="session")
def inspect() -> Callable[..., Verdict]:
    def inspect(content: bytes, step: int = 256 * 1024) -> Verdict:
        inspector = Inspector()
        for at in range(0, len(content), step):
            inspector.feed(content[at : at + step])
        return inspector.finish()

    return inspect
