"""Files that lie at the top of a checkout and inside the installed package."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def packed(name: str) -> Path:
    """Where `name` is: below ``service/_data`` in a wheel, else next to the package."""
    path = PACKAGE / "_data" / name
    return path if path.exists() else PACKAGE.parent / name
